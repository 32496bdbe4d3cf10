/* Strings, numbers, UTF-8, paths. */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_reserve(struct text *text, size_t length) {
    if (length < text->capacity) return true;
    size_t capacity = 2 * length + 64;
    char *data = realloc(text->data, capacity);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void text_add(struct text *text, const char *format, ...) {
    if (text->failed) return;
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int needed = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (needed < 0) text->failed = true;
    else if (text_reserve(text, text->length + (size_t)needed))
        text->length += (size_t)vsnprintf(text->data + text->length, (size_t)needed + 1, format, again);
    va_end(again);
}

void text_add_word(struct text *command, const char *word) {
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
    text_add(command, command->length ? " " : "");
    if (*word && strspn(word, safe) == strlen(word)) {
        text_add(command, "%s", word);
        return;
    }
    text_add(command, "'");
    for (; *word; word++) text_add(command, *word == '\'' ? "'\\''" : "%c", *word);
    text_add(command, "'");
}

void text_release(struct text *text) {
    free(text->data);
    *text = (struct text){0};
}

/* True when s starts like a number and strto* consumed all of it without overflow. */
static bool consumed(const char *s, const char *end) {
    return end != s && *end == '\0' && errno == 0 && strchr(" \t\n\v\f\r", *s) == NULL;
}

bool text_to_u64(const char *s, uint64_t *value) {
    char *end;
    if (*s < '0' || *s > '9') return false; /* strtoull would take "-1" */
    errno = 0;
    *value = strtoull(s, &end, 10);
    return consumed(s, end);
}

bool text_to_i64(const char *s, int64_t *value) {
    char *end;
    errno = 0;
    *value = strtoll(s, &end, 10);
    return consumed(s, end);
}

bool text_to_double(const char *s, double *value) {
    char *end;
    errno = 0;
    *value = strtod(s, &end);
    return consumed(s, end);
}

void text_add_range(struct text *list, uint64_t *ranges, uint64_t first, uint64_t last) {
    const char *comma = *ranges ? ", " : "";
    if (*ranges == 10) text_add(list, ", ...");
    else if (*ranges < 10 && last > first) text_add(list, "%s%" PRIu64 "-%" PRIu64, comma, first, last);
    else if (*ranges < 10) text_add(list, "%s%" PRIu64, comma, first);
    ++*ranges;
}

int text_compare_natural(const char *a, const char *b) {
    static const char digits[] = "0123456789";
    while (*a && *b) {
        size_t m = strspn(a, digits), n = strspn(b, digits);
        if (m == 0 || n == 0) {
            if (*a != *b) break;
            a++, b++;
            continue;
        }
        size_t zeros_a = strspn(a, "0"), zeros_b = strspn(b, "0");
        size_t long_a = m - zeros_a, long_b = n - zeros_b; /* the longer number is the greater one */
        int order = long_a != long_b ? (long_a > long_b) - (long_a < long_b) : memcmp(a + zeros_a, b + zeros_b, long_a);
        if (order != 0) return order;
        a += m;
        b += n;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

static bool alike(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Levenshtein's distance without regard to case, where two neighbours that changed places count as one slip (optimal
 * string alignment); over 10 for names that are far too long. */
static size_t edit_distance(const char *a, const char *b) {
    enum { LONGEST = 40 };
    size_t rows[3][LONGEST + 1], width = strlen(b), *above = rows[0], *row = rows[1], *further = rows[2];
    if (strlen(a) > LONGEST || width > LONGEST) return LONGEST;
    for (size_t j = 0; j <= width; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t *oldest = further;
        further = above, above = row, row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= width; j++) {
            size_t replaced = above[j - 1] + !alike(a[i - 1], b[j - 1]);
            size_t moved = (above[j] < row[j - 1] ? above[j] : row[j - 1]) + 1;
            row[j] = replaced < moved ? replaced : moved;
            bool swapped = i > 1 && j > 1 && alike(a[i - 1], b[j - 2]) && alike(a[i - 2], b[j - 1]);
            if (swapped && further[j - 2] + 1 < row[j]) row[j] = further[j - 2] + 1;
        }
    }
    return row[width];
}

/* Is `word` one of the words of a name such as v_prediction or epsilon-pred? */
static bool has_word(const char *name, const char *word) {
    static const char between[] = "_- ";
    for (size_t length; *name; name += length + strspn(name + length, between)) {
        length = strcspn(name, between);
        if (length == strlen(word) && strncasecmp(name, word, length) == 0) return true;
    }
    return false;
}

void text_add_names(struct text *text, const char *const *names, const char *between, const char *last) {
    for (size_t i = 0; names[i]; i++) text_add(text, "%s%s", i == 0 ? "" : names[i + 1] ? between : last, names[i]);
}

bool text_ends_in(const char *name, const char *extension) {
    size_t length = strlen(name), end = strlen(extension);
    return length > end && strcasecmp(name + length - end, extension) == 0;
}

int text_find(const char *name, const char *const *names) {
    for (int i = 0; name && names[i]; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

const char *text_nearest(const char *name, const char *const *names) {
    const char *nearest = NULL;
    size_t length = strlen(name), best = length < 2 ? length : length < 4 ? 2 : 3; /* a slip of the pen is nearer */
    for (size_t i = 0; names[i]; i++) {
        size_t distance = edit_distance(name, names[i]);
        if (distance >= best || (length < 4 && !alike(*name, *names[i]))) continue; /* a gpu is no cpu */
        best = distance;
        nearest = names[i];
    }
    for (size_t i = 0; names[i] && !nearest; i++)
        if (has_word(name, names[i])) nearest = names[i];
    return nearest;
}

/* The length of the UTF-8 sequence at s (RFC 3629, table in section 4), of `left` bytes at most; 0: none. */
static size_t utf8_length(const unsigned char *s, size_t left) {
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (length > left) return 0;
    if (length > 1 && (s[1] < low || s[1] > high)) return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return length;
}

bool text_is_utf8(const char *s, size_t size) {
    size_t at = 0;
    for (size_t length = 1; at < size && length > 0; at += length)
        length = utf8_length((const unsigned char *)s + at, size - at);
    return at == size;
}

int path_check_utf8(const char *path, struct error *err) {
    if (text_is_utf8(path, strlen(path))) return 0;
    return error_set(
        err, CODE_DATA,
        "%s: expected a path in UTF-8, found other bytes (in another encoding perhaps): rename the folder or file",
        path);
}

void text_make_utf8(char *s) {
    while (*s) {
        size_t length = utf8_length((const unsigned char *)s, 4); /* none goes on behind the end's zero byte */
        if (length == 0) *s = '?';
        s += length ? length : 1;
    }
}

static uint32_t code_point(const unsigned char *s, size_t length) {
    uint32_t code = length > 1 ? s[0] & (0x7f >> length) : s[0];
    for (size_t i = 1; i < length; i++) code = code << 6 | (s[i] & 0x3f);
    return code;
}

/* As s[0], or as its code where it is UTF-8. */
static uint32_t character(const char *s, size_t *length, bool *plain) {
    static const struct {
        uint32_t first, last;
    } hidden[] = {{0, 0x1f}, {0x7f, 0x9f}, {0x61c, 0x61c}, {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};
    const unsigned char *bytes = (const unsigned char *)s;
    *length = utf8_length(bytes, 4);
    *plain = *length > 0;
    if (*length == 0) *length = 1;
    uint32_t code = code_point(bytes, *length);
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        *plain &= code < hidden[i].first || code > hidden[i].last;
    return code;
}

size_t text_character(const char *s, bool *plain) {
    size_t length;
    character(s, &length, plain);
    return length;
}

bool text_is_plain(const char *s) {
    bool plain = true;
    while (*s && plain) s += text_character(s, &plain);
    return plain;
}

void text_make_visible(char *out, size_t capacity, const char *s, const char *keep) {
    static const char named[] = "\n\t\r", names[] = "ntr";
    for (size_t length, used; *s && capacity > 1; s += length, out += used, capacity -= used) {
        bool plain;
        char piece[12];
        uint32_t code = character(s, &length, &plain);
        bool byte = length == 1 && code > 0x7f; /* no UTF-8 */
        const char *name = code < 0x20 ? strchr(named, (int)code) : NULL, *from = piece;
        used = length;
        if (plain || (code < 0x80 && strchr(keep, (int)code))) from = s;
        else if (name) used = (size_t)snprintf(piece, sizeof piece, "\\%c", names[name - named]);
        else used = (size_t)snprintf(piece, sizeof piece, byte || code < 0x7f ? "\\x%02x" : "\\u%04x", (unsigned)code);
        if (used >= capacity) break;
        memcpy(out, from, used);
    }
    if (capacity > 0) *out = '\0';
}

bool text_is_name(const char *s) {
    return *s && !strchr(s, '/') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && text_is_plain(s);
}

char *text_new(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) text = NULL;
    va_end(arguments);
    return text;
}

char *path_join(const char *base, const char *path) {
    if (path[0] == '/' || strcmp(base, ".") == 0) return strdup(path);
    return text_new("%s/%s", base, path);
}

char *path_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}
