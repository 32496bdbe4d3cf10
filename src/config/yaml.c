/* YAML as JSON values that remember where they stood. */
#include "config/yaml.h"

#include "base/text.h"
#include "config/yaml_bounds.h"

#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

struct walk { /* from libfyaml's nodes to JSON */
    const char *name;
    json_t *places; /* NULL: not wanted, and messages name no lines */
    struct error *err;
};

/* "file:line:column", or the name alone for text without lines of its own (an override); new. */
static char *place_at(const struct walk *walk, int line, int column) {
    return walk->places ? text_new("%s:%d:%d", walk->name, line, column) : strdup(walk->name);
}

/* The place of a scalar, or a copy of `otherwise` for what has no place of its own; new. */
static char *node_place(const struct walk *walk, struct fy_node *node, const char *otherwise) {
    struct fy_token *token = node && fy_node_is_scalar(node) ? fy_node_get_scalar_token(node) : NULL;
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    if (!mark) return strdup(otherwise);
    enum fy_node_style style = fy_node_get_style(node);
    /* A value that was left out: since libfyaml 0.8 it has a mark, behind the colon. */
    if (style == FYNS_PLAIN && fy_token_get_text_length(token) == 0) return strdup(otherwise);
    bool quoted = style == FYNS_SINGLE_QUOTED || style == FYNS_DOUBLE_QUOTED; /* the mark is behind the quote */
    return place_at(walk, mark->line + 1, mark->column + (quoted ? 0 : 1));
}

static json_t *plain_to_json(const char *text) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const bools[] = {"false", "False", "FALSE", "true", "True", "TRUE"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        if (strcmp(text, nulls[i]) == 0) return json_null();
    for (size_t i = 0; i < sizeof bools / sizeof *bools; i++)
        if (strcmp(text, bools[i]) == 0) return json_boolean(i >= 3);
    int64_t whole;
    double number;
    size_t length = strlen(text);
    if (strspn(text, "+-0123456789") == length && text_to_i64(text, &whole)) return json_integer(whole);
    bool decimal = strspn(text, "+-0123456789") < length && strspn(text, "+-.eE0123456789") == length;
    return decimal && text_to_double(text, &number) ? json_real(number) : json_string(text);
}

static json_t *scalar_to_json(const struct walk *walk, struct fy_node *node, const char *place) {
    size_t length = 0;
    const char *text = fy_node_get_scalar(node, &length);
    if (length && memchr(text, '\0', length)) {
        error_set(walk->err, CODE_DATA, "%s: expected text, found a zero byte", place);
        return NULL;
    }
    char *copy = strndup(text ? text : "", length);
    if (!copy) {
        error_memory(walk->err);
        return NULL;
    }
    json_t *value = fy_node_get_style(node) == FYNS_PLAIN ? plain_to_json(copy) : json_string(copy);
    if (!value && text_is_utf8(copy, length)) error_memory(walk->err);
    else if (!value) error_set(walk->err, CODE_DATA, "%s: expected UTF-8 text, found other bytes", place);
    free(copy);
    return value;
}

static json_t *node_to_json(const struct walk *walk, struct fy_node *node, const char *path, const char *place);

/* Converts one member of a map or list, notes its place and puts it into `parent` (name NULL: appends). */
static int member_to_json(const struct walk *walk, json_t *parent, const char *name, const char *path,
                          struct fy_node *node, const char *key_place) {
    char *place = node_place(walk, node, key_place);
    bool noted = place && path &&
                 (!walk->places || json_object_set_new(walk->places, path, json_pack("[ss]", key_place, place)) == 0);
    json_t *value = noted ? node_to_json(walk, node, path, place) : NULL;
    int rc = !value ? -1 : name ? json_object_set_new(parent, name, value) : json_array_append_new(parent, value);
    if (!noted || (value && rc != 0)) error_memory(walk->err);
    free(place);
    return rc;
}

static int list_to_json(const struct walk *walk, struct fy_node *node, json_t *list, const char *path,
                        const char *place) {
    void *state = NULL;
    for (struct fy_node *item; (item = fy_node_sequence_iterate(node, &state));) {
        char *item_path = text_new("%s[%zu]", path, json_array_size(list));
        int rc = member_to_json(walk, list, NULL, item_path, item, place);
        free(item_path);
        if (rc) return -1;
    }
    return 0;
}

static int map_to_json(const struct walk *walk, struct fy_node *node, json_t *map, const char *path,
                       const char *place) {
    void *state = NULL;
    for (struct fy_node_pair *pair; (pair = fy_node_mapping_iterate(node, &state));) {
        struct fy_node *key = fy_node_pair_key(pair);
        size_t length = 0;
        const char *text = key && fy_node_is_scalar(key) ? fy_node_get_scalar(key, &length) : NULL;
        if (!text || (length && memchr(text, '\0', length)))
            return error_set(walk->err, CODE_DATA, "%s: expected a key that is a word, found something else", place);
        char *name = strndup(text, length), *key_place = node_place(walk, key, place);
        char *key_path = name ? text_new("%s%s%s", path, *path ? "." : "", name) : NULL;
        int rc = !name || !key_place ? error_memory(walk->err)
                                     : member_to_json(walk, map, name, key_path, fy_node_pair_value(pair), key_place);
        free(key_path);
        free(key_place);
        free(name);
        if (rc) return -1;
    }
    return 0;
}

/* New, or NULL with the error set. */
static json_t *node_to_json(const struct walk *walk, struct fy_node *node, const char *path, const char *place) {
    size_t length;
    if (!node) return json_null();
    const char *tag = fy_node_get_tag(node, &length);
    if (tag) {
        error_set(walk->err, CODE_DATA, "%s: expected a value without a tag, found %.*s", place, (int)length, tag);
        return NULL;
    }
    if (fy_node_is_scalar(node)) return scalar_to_json(walk, node, place);
    bool list = fy_node_is_sequence(node);
    json_t *value = list ? json_array() : json_object();
    if (!value) {
        error_memory(walk->err);
        return NULL;
    }
    if ((list ? list_to_json : map_to_json)(walk, node, value, path, place) != 0) {
        json_decref(value);
        return NULL;
    }
    return value;
}

static int fail_at(const struct walk *walk, int line, int column, const char *expected, const char *found) {
    char *place = place_at(walk, line, column);
    error_set(walk->err, CODE_DATA, "%s: expected %s, found %s", place ? place : walk->name, expected, found);
    free(place);
    return -1;
}

/* The first error libfyaml met. */
static int yaml_error(const struct walk *walk, struct fy_diag *diag) {
    void *state = NULL;
    struct fy_diag_error *first = fy_diag_errors_iterate(diag, &state);
    return first ? fail_at(walk, first->line, first->column, "YAML", first->msg)
                 : fail_at(walk, 1, 1, "YAML", "something unreadable");
}

/* libfyaml 0.7 loops for ever over bytes that are no UTF-8 behind a '%': they must not reach it. */
static int check_utf8(const struct walk *walk, const char *text, size_t size) {
    int line = 1;
    for (size_t at = 0, length; at < size; at += length + 1, line++) {
        const char *end = memchr(text + at, '\n', size - at);
        length = end ? (size_t)(end - text) - at : size - at;
        if (!text_is_utf8(text + at, length)) return fail_at(walk, line, 1, "UTF-8 text", "other bytes in this line");
    }
    return 0;
}

static int check_bounds(const struct walk *walk, const char *text, size_t size) {
    int line, column;
    const char *expected = yaml_excess(text, size, &line, &column);
    return expected ? fail_at(walk, line, column, expected, "more") : 0;
}

int yaml_parse(json_t **value, json_t *places, const char *text, size_t size, const char *name, struct error *err) {
    *value = NULL;
    struct walk walk = {name, places, err};
    if (check_utf8(&walk, text, size) != 0 || check_bounds(&walk, text, size) != 0) return -1;
    struct fy_document *document = NULL, *second = NULL;
    struct fy_parser *parser = NULL;
    char *place = place_at(&walk, 1, 1);
    struct fy_diag *diag = yaml_silent_diag();
    if (!diag || !place) {
        error_memory(err);
        goto out;
    }
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg setup = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_RESOLVE_DOCUMENT, .diag = diag};
    parser = fy_parser_create(&setup);
    if (!parser || fy_parser_set_string(parser, text, size) != 0) {
        error_memory(err);
        goto out;
    }
    document = fy_parse_load_document(parser);
    second = document ? fy_parse_load_document(parser) : NULL;
    struct fy_node *root = document ? fy_document_root(document) : NULL;
    if (fy_parser_get_stream_error(parser) || fy_diag_got_error(diag)) yaml_error(&walk, diag);
    else if (second) fail_at(&walk, 1, 1, "one YAML document", "several");
    else if (!root) fail_at(&walk, 1, 1, "YAML", "nothing");
    else *value = node_to_json(&walk, root, "", place);
out:
    if (second) fy_parse_document_destroy(parser, second);
    if (document) fy_parse_document_destroy(parser, document);
    if (parser) fy_parser_destroy(parser);
    if (diag) fy_diag_destroy(diag);
    free(place);
    return *value ? 0 : -1;
}
