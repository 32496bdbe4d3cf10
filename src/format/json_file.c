/* JSON files, read and written whole. */
#include "format/json_file.h"

#include "base/draft.h"
#include "base/files.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *json_text(const json_t *json, size_t flags) {
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    bool whole = file && json_dumpf(json, file, flags) == 0 && !ferror(file); /* dumpf's own 0 does not say so */
    if (file && fclose(file) != 0) whole = false;
    if (whole) return text;
    free(text);
    return NULL;
}

int json_file_write(const char *path, const json_t *json, struct error *err) {
    return json_file_write_guarded(path, json, NULL, err);
}

int json_file_write_guarded(const char *path, const json_t *json, const struct file_guard *guard, struct error *err) {
    char *text = json_text(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return error_set(err, CODE_INTERNAL, "cannot write %s: no JSON object or array, or out of memory", path);
    size_t length = strlen(text);
    text[length] = '\n'; /* in the NUL's place: the file has no NUL */
    int rc = file_write_guarded(path, text, length + 1, guard, err);
    free(text);
    return rc;
}

/* What an editor puts before the text, and nobody sees in a message; NULL: nothing. */
static const char *mark_of(const char *data, size_t size) {
    if (size == 0) return "the file is empty";
    if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
        return "it begins with a byte-order mark: save it as UTF-8 without one";
    if (size >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0))
        return "it is UTF-16: save it as UTF-8";
    return NULL;
}

/* Frees data. */
static int parse(json_t **json, char *data, size_t size, const char *path, struct error *err) {
    json_error_t at;
    const char *mark = mark_of(data, size);
    *json = json_loadb(data, size, JSON_REJECT_DUPLICATES, &at);
    free(data);
    if (!*json && json_error_code(&at) == json_error_out_of_memory) return error_memory(err);
    if (!*json && mark) return error_set(err, CODE_DATA, "%s: not JSON: %s", path, mark);
    return *json ? 0 : error_set(err, CODE_DATA, "%s:%d:%d: not JSON: %s", path, at.line, at.column, at.text);
}

int json_file_read(json_t **json, const char *path, struct error *err) {
    char *data;
    size_t size;
    *json = NULL;
    return file_read(path, &data, &size, err) == 0 ? parse(json, data, size, path, err) : -1;
}

int json_file_read_if_there(json_t **json, const char *path, struct error *err) {
    char *data;
    size_t size;
    *json = NULL;
    if (file_read_if_there(path, &data, &size, err) != 0) return -1;
    return data ? parse(json, data, size, path, err) : 0;
}

json_t *json_whole_copy(const json_t *object) {
    json_t *copy = json_copy((json_t *)object);
    if (json_object_size(copy) == json_object_size(object)) return copy;
    json_decref(copy);
    return NULL;
}

json_t *json_whole_deep_copy(const json_t *json) {
    json_t *copy = json_deep_copy(json);
    if (copy && json_equal(copy, json)) return copy;
    json_decref(copy);
    return NULL;
}

/* The 17 digits of size = digits * 10^(*exponent - 16), rounded as printf does. size = mantissa * 2^binary in
 * [1e-4, 1e15), so times 10^power it is mantissa * 5^power * 2^(binary + power), a fraction of integers of 128 bits. */
static uint64_t digits_of(double size, int *exponent) {
    int binary;
    uint64_t mantissa = (uint64_t)ldexp(frexp(size, &binary), 53), digits = UINT64_MAX;
    binary -= 53;
    *exponent = ((binary + 52) * 78913 >> 18) - 1; /* by log10(2): the next is right or too low by one */
    while (digits >= 100000000000000000) {
        int power = 16 - ++*exponent, shift = -(binary + power);
        uint64_t five = 1;
        for (int i = 0; i < power; i++) five *= 5;
        unsigned __int128 product = (unsigned __int128)mantissa * five, half = (unsigned __int128)1 << (shift - 1);
        unsigned __int128 rest = product & (2 * half - 1);
        digits = (uint64_t)(product >> shift);
        digits += rest > half || (rest == half && digits % 2);
    }
    return digits;
}

size_t json_number(char text[JSON_NUMBER], double value) {
    char digits[4 + 17] = "0000", *end = digits + sizeof digits, *from = digits + 4, *to = text;
    int exponent;
    if (!(fabs(value) >= 1e-4 && fabs(value) < 1e15)) {
        json_t *real = json_real(value);
        size_t length = json_dumpb(real, text, JSON_NUMBER, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        json_decref(real);
        return length;
    }
    uint64_t rest = digits_of(fabs(value), &exponent);
    for (char *digit = end; digit > from; rest /= 10) *--digit = (char)('0' + rest % 10);
    if (value < 0) *to++ = '-';
    if (exponent < 0) from += exponent;
    size_t whole = exponent < 0 ? 1 : (size_t)exponent + 1;
    while (end > from + whole + 1 && end[-1] == '0') end--;
    to = mempcpy(to, from, whole);
    *to++ = '.';
    to = mempcpy(to, from + whole, (size_t)(end - from) - whole);
    return (size_t)(to - text);
}

json_t *json_finite(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* rc: of what was tried with *json. */
static void keep_whole(json_t **json, int rc) {
    if (rc == 0) return;
    json_decref(*json);
    *json = NULL;
}

void json_list_add(json_t **list, json_t *value) {
    keep_whole(list, json_array_append_new(*list, value));
}

void json_map_add(json_t **map, const char *key, json_t *value) {
    keep_whole(map, json_object_set_new(*map, key, value));
}

void json_map_add_once(json_t **map, const char *key, json_t *value) {
    json_t *there = json_object_get(*map, key), *list, *known;
    size_t i;
    bool found = false;
    json_array_foreach(there, i, known) found |= value && json_equal(known, value);
    list = there ? json_incref(there) : json_array();
    if (found) json_decref(value);
    else json_list_add(&list, value);
    json_map_add(map, key, list);
}

json_t *json_member(const json_t *object, const char *outer, const char *inner) {
    return json_object_get(json_object_get(object, outer), inner);
}

int json_refuse(struct error *err, const char *where, const char *expected, const json_t *value) {
    char *found = value ? json_text(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (value && !found) return error_memory(err);
    error_set(err, CODE_DATA, "%s: expected %s, found %.60s", where, expected, found ? found : "none");
    free(found);
    return -1;
}
