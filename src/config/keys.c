/* Maps of keys read by table. */
#include "config/keys.h"

#include "base/text.h"
#include "format/json_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages ---- */

/* Where path stands, or the nearest map around it. part 0: its key, 1: its value. */
static const char *key_place(const struct key_reader *reader, const char *path, size_t part) {
    char *shorter = reader->places ? strdup(path) : NULL;
    const json_t *place = NULL;
    while (shorter && !(place = json_object_get(reader->places, shorter)) && *shorter) {
        char *dot = strrchr(shorter, '.'), *bracket = strrchr(shorter, '[');
        char *end = dot > bracket ? dot : bracket;
        *(end ? end : shorter) = '\0';
        part = 0;
    }
    free(shorter);
    return place ? json_string_value(json_array_get(place, part)) : reader->where;
}

static int key_message(const struct key_reader *reader, const char *path, size_t part, const char *message) {
    error_set(reader->err, CODE_DATA, "%s", message);
    if (*path) error_prefix(reader->err, "%s", path);
    return error_prefix(reader->err, "%s", key_place(reader, path, part));
}

int key_error(const struct key_reader *reader, const char *path, const char *format, ...) {
    char message[sizeof reader->err->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return key_message(reader, path, 1, message);
}

int key_fail(const struct key_reader *reader, const char *path, const char *expected, const json_t *value) {
    char *found = json_text(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    if (!found) return error_memory(reader->err);
    int rc = key_error(reader, path, "expected %s, found %.120s%s", expected, found, strlen(found) > 120 ? "..." : "");
    free(found);
    return rc;
}

int key_fail_name(const struct key_reader *reader, const char *path, const char *expected, const json_t *value,
                  const char *nearest) {
    key_fail(reader, path, expected, value);
    if (nearest) error_suffix(reader->err, "; did you mean \"%s\"?", nearest);
    return -1;
}

int key_fail_item(const struct key_reader *reader, const char *path, size_t index, const char *expected,
                  const json_t *value) {
    char *item = text_new("%s[%zu]", path, index);
    int rc = item ? key_fail(reader, item, expected, value) : error_memory(reader->err);
    free(item);
    return rc;
}

char *key_expected(const struct key *key) {
    struct text text = {0};
    if (key->expected) return strdup(key->expected);
    for (int i = key->names[0] ? 0 : 1; key->names[i]; i++)
        text_add(&text, "%s%s", text.length ? ", " : "one of ", key->names[i]);
    if (text.failed) text_release(&text);
    return text.data;
}

static void list_names(struct text *text, const struct key_table *table) {
    for (size_t i = 0; i < table->count; i++) text_add(text, "%s%s", i ? ", " : "", table->keys[i].name);
}

static int unknown_key(const struct key_reader *reader, const struct key_table *table, const char *path,
                       const char *name) {
    const char *known[table->count + 1];
    for (size_t i = 0; i < table->count; i++) known[i] = table->keys[i].name;
    known[table->count] = NULL;
    const char *nearest = text_nearest(name, known);
    struct text message = {0};
    if (nearest) text_add(&message, "unknown key; did you mean \"%s\"?", nearest);
    else text_add(&message, "unknown key; expected one of "), list_names(&message, table);
    int rc = key_message(reader, path, 0, message.data ? message.data : "unknown key");
    text_release(&message);
    return rc;
}

/* ---- the walk ---- */

static const struct key *find_key(const struct key_table *table, const char *name) {
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->keys[i].name, name) == 0) return &table->keys[i];
    return NULL;
}

static char *path_below(const char *path, const char *name) {
    return text_new("%s%s%s", path, *path ? "." : "", name);
}

static int read_key(const struct key_reader *reader, const struct key_table *table, const char *path, const char *name,
                    const json_t *value, void *target) {
    char *below = path_below(path, name);
    if (!below) return error_memory(reader->err);
    const struct key *key = find_key(table, name);
    int rc = 0;
    if (!key) rc = unknown_key(reader, table, below, name);
    else if (!json_is_null(value) || !key->nullable)
        rc = key->kind->read(reader, key, below, value, (char *)target + key->offset);
    free(below);
    return rc;
}

int keys_read(const struct key_reader *reader, const struct key_table *table, const char *path, const json_t *map,
              void *target) {
    if (!json_is_object(map)) {
        struct text expected = {0};
        text_add(&expected, "a map of ");
        list_names(&expected, table);
        int rc = key_fail(reader, path, expected.data ? expected.data : "a map", map);
        text_release(&expected);
        return rc;
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value) {
        if (read_key(reader, table, path, name, value, target) != 0) return -1;
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct key *key = &table->keys[i];
        if (!key->required || reader->partial || json_object_get(map, key->name)) continue;
        char *below = path_below(path, key->name), *expected = key_expected(key);
        int rc = !below || !expected ? error_memory(reader->err)
                                     : key_error(reader, below, "missing; expected %s", expected);
        free(expected);
        free(below);
        return rc;
    }
    return 0;
}

json_t *keys_write(const struct key_table *table, const void *target) {
    json_t *map = json_object();
    for (size_t i = 0; map && i < table->count; i++) {
        const struct key *key = &table->keys[i];
        json_t *value = key->kind->write(key, (const char *)target + key->offset);
        bool failed = !value || (!json_is_null(value) && json_object_set(map, key->name, value) != 0);
        json_decref(value);
        if (failed) {
            json_decref(map);
            map = NULL;
        }
    }
    return map;
}

int key_numbers(const struct key_reader *reader, const char *path, const json_t *list, const char *expected,
                double **numbers, size_t *count) {
    *numbers = NULL;
    *count = json_array_size(list);
    if (*count == 0) return key_fail(reader, path, expected, list);
    *numbers = malloc(*count * sizeof **numbers);
    if (!*numbers) return error_memory(reader->err);
    for (size_t i = 0; i < *count; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_number(item)) {
            free(*numbers);
            *numbers = NULL;
            return key_fail_item(reader, path, i, expected, item);
        }
        (*numbers)[i] = json_number_value(item);
    }
    return 0;
}
