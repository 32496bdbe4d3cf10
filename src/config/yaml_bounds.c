/* How large a YAML text may become, found before anything is built. */
#include "config/yaml_bounds.h"

#include <libfyaml.h>
#include <stdbool.h>
#include <string.h>

enum {
    SIZE_MOST = 4 << 20,
    NODES_MOST = 100000,
    LINES_MOST = 1000,
    KEYS_MOST = 200,
    KEY_MOST = 64,
    DEPTH_MOST = 12,
    ALIASES_MOST = 1000,
    ANCHORS_MOST = 200,
    ANCHOR_MOST = 64,
    DIRECTIVES_MOST = 20
};

struct anchor {
    char name[ANCHOR_MOST];
    size_t nodes; /* of what it stands for, its own aliases counted as copies; 0: not read to its end */
    int height;
};

struct level {       /* a list or map that is being read */
    bool map, merge; /* merge: the next value is that of << */
    size_t before;   /* nodes before it */
    size_t children; /* of a map: its keys and values */
    size_t keys;     /* nodes in its keys, and in what is merged into it */
    int height;
    struct anchor *anchor;
};

struct count {
    size_t nodes;
    int depth, anchors_count, aliases, lines; /* lines: that values go on for */
    struct level levels[DEPTH_MOST + 1];      /* [0]: around the root */
    struct anchor anchors[ANCHORS_MOST];
    const char *excess;
};

/* The latest of that name, for it may be given anew. */
static struct anchor *find_anchor(struct count *count, const char *name, size_t length) {
    for (int i = count->anchors_count; i-- > 0;) {
        struct anchor *anchor = &count->anchors[i];
        if (strlen(anchor->name) == length && memcmp(anchor->name, name, length) == 0) return anchor;
    }
    return NULL;
}

static struct anchor *add_anchor(struct count *count, struct fy_token *token) {
    size_t length;
    const char *name = token ? fy_token_get_text(token, &length) : NULL;
    if (!name) return NULL;
    if (length >= ANCHOR_MOST) count->excess = "an anchor of at most 63 bytes";
    else if (count->anchors_count == ANCHORS_MOST) count->excess = "at most 200 anchors";
    if (count->excess) return NULL;
    struct anchor *anchor = &count->anchors[count->anchors_count++];
    *anchor = (struct anchor){.nodes = 0};
    memcpy(anchor->name, name, length);
    return anchor;
}

/* A node with all below it was counted. */
static void end_node(struct count *count, struct anchor *anchor, size_t nodes, int height) {
    struct level *around = &count->levels[count->depth];
    bool key = around->map && around->children++ % 2 == 0;
    if (anchor) anchor->nodes = nodes, anchor->height = height;
    if (key || around->merge) around->keys += nodes;
    if (!key) around->merge = false;
    if (around->height < height + 1) around->height = height + 1;
    if (count->depth + height > DEPTH_MOST) count->excess = "at most 12 levels of lists and maps";
    else if (count->nodes > NODES_MOST)
        count->excess = "at most 100,000 values, each alias counted as what it stands for";
    else if (around->keys > KEYS_MOST) count->excess = "at most 200 keys in a map";
}

static void add_scalar(struct count *count, struct fy_token *value, struct anchor *anchor) {
    struct level *around = &count->levels[count->depth];
    size_t length = 0;
    bool key = around->map && around->children % 2 == 0;
    const char *text = value && key ? fy_token_get_text(value, &length) : NULL;
    if (text && length > KEY_MOST) count->excess = "a key of at most 64 bytes";
    const struct fy_mark *start = value ? fy_token_start_mark(value) : NULL;
    const struct fy_mark *end = value ? fy_token_end_mark(value) : NULL;
    if (start && end) count->lines += end->line - start->line;
    if (count->lines > LINES_MOST) count->excess = "at most 1,000 lines of text within values";
    count->nodes++;
    if (!count->excess) end_node(count, anchor, 1, 0);
    if (text && length == 2 && memcmp(text, "<<", 2) == 0) around->merge = true;
}

/* An alias in what it stands for, or for nothing, is the parser's to refuse. */
static void add_alias(struct count *count, struct fy_token *token) {
    size_t length;
    const char *name = token ? fy_token_get_text(token, &length) : NULL;
    const struct anchor *anchor = name ? find_anchor(count, name, length) : NULL;
    size_t nodes = anchor && anchor->nodes ? anchor->nodes : 1;
    count->nodes += nodes;
    if (++count->aliases > ALIASES_MOST) count->excess = "at most 1,000 aliases";
    else end_node(count, NULL, nodes, anchor ? anchor->height : 0);
}

static void begin_level(struct count *count, bool map, struct anchor *anchor) {
    if (count->depth == DEPTH_MOST) count->excess = "at most 12 levels of lists and maps";
    else count->levels[++count->depth] = (struct level){.map = map, .before = count->nodes++, .anchor = anchor};
}

static void end_level(struct count *count) {
    const struct level level = count->levels[count->depth--];
    end_node(count, level.anchor, count->nodes - level.before, level.height);
}

static void add_event(struct count *count, struct fy_event *event) {
    struct anchor *anchor = event->type == FYET_ALIAS ? NULL : add_anchor(count, fy_event_get_anchor_token(event));
    if (count->excess) return;
    switch (event->type) {
        case FYET_DOCUMENT_START: count->depth = 0; break;
        case FYET_SCALAR: add_scalar(count, event->scalar.value, anchor); break;
        case FYET_ALIAS: add_alias(count, event->alias.anchor); break;
        case FYET_MAPPING_START:
        case FYET_SEQUENCE_START: begin_level(count, event->type == FYET_MAPPING_START, anchor); break;
        case FYET_MAPPING_END:
        case FYET_SEQUENCE_END: end_level(count); break;
        default: break;
    }
}

/* Of lines that begin with a %: 0, or the line that is one too many. */
static int directives(const char *text, size_t size) {
    int line = 1, found = 0;
    for (const char *at = text; at; line++) {
        if (at < text + size && *at == '%' && ++found > DIRECTIVES_MOST) return line;
        at = memchr(at, '\n', size - (size_t)(at - text));
        if (at) at++;
    }
    return 0;
}

static void discard(struct fy_diag *diag, void *user, const char *text, size_t length) {
    (void)diag, (void)user, (void)text, (void)length;
}

struct fy_diag *yaml_silent_diag(void) {
    struct fy_diag_cfg setup;
    fy_diag_cfg_default(&setup);
    setup.fp = NULL;
    setup.output_fn = discard;
    return fy_diag_create(&setup);
}

const char *yaml_excess(const char *text, size_t size, int *line, int *column) {
    struct count count = {0};
    *line = *column = 1;
    if (size > SIZE_MOST) return "at most 4 MiB of text";
    int directive = directives(text, size);
    if (directive > 0) return *line = directive, "at most 20 directives";
    struct fy_diag *diag = yaml_silent_diag();
    struct fy_parse_cfg setup = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG, .diag = diag};
    struct fy_parser *parser = diag ? fy_parser_create(&setup) : NULL;
    struct fy_event *event;
    bool ready = parser && fy_parser_set_string(parser, text, size) == 0;
    while (ready && !count.excess && (event = fy_parser_parse(parser))) {
        const struct fy_mark *mark = fy_event_start_mark(event);
        add_event(&count, event);
        if (mark) *line = mark->line + 1, *column = mark->column + 1;
        fy_parser_event_free(parser, event);
    }
    if (parser) fy_parser_destroy(parser);
    if (diag) fy_diag_destroy(diag);
    return count.excess;
}
