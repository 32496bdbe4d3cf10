#include "base/text.h"

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
    if (needed < 0)
        text->failed = true;
    else if (text_reserve(text, text->length + (size_t)needed))
        text->length += (size_t)vsnprintf(text->data + text->length, (size_t)needed + 1, format, again);
    va_end(again);
}

void text_free(struct text *text) {
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
    return *s && consumed(s, end);
}

bool text_to_double(const char *s, double *value) {
    char *end;
    errno = 0;
    *value = strtod(s, &end);
    return *s && consumed(s, end);
}

void text_add_range(struct text *list, uint64_t *ranges, uint64_t first, uint64_t last) {
    const char *comma = *ranges ? ", " : "";
    if (*ranges == 10) text_add(list, ", ...");
    else if (*ranges < 10 && last > first) text_add(list, "%s%" PRIu64 "-%" PRIu64, comma, first, last);
    else if (*ranges < 10) text_add(list, "%s%" PRIu64, comma, first);
    ++*ranges;
}

/* The length of the UTF-8 sequence at s (RFC 3629, table in section 4), of `left` bytes at most; 0: none. */
static size_t utf8_length(const unsigned char *s, size_t left) {
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80, high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (length > left) return 0;
    if (length > 1 && (s[1] < low || s[1] > high)) return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return length;
}

bool text_is_utf8(const char *s, size_t size) {
    size_t at = 0;
    for (size_t length = 1; at < size && length > 0; at += length) length = utf8_length((const unsigned char *)s + at, size - at);
    return at == size;
}

void text_make_utf8(char *s) {
    while (*s) {
        size_t length = utf8_length((const unsigned char *)s, 4); /* none goes on behind the end's zero byte */
        if (length == 0) *s = '?';
        s += length ? length : 1;
    }
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
