/* The kinds of values that several tables share; see keys.h. */
#include "base/files.h"
#include "base/text.h"
#include "config/expand.h"
#include "config/keys.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

static int read_string(KEY_READ_ARGUMENTS) {
    const char *text = json_string_value(value);
    if (!text || !*text) return key_fail(reader, path, key->expected, value);
    char *copy = strdup(text);
    if (!copy) return error_memory(reader->err);
    free(*(char **)member);
    *(char **)member = copy;
    return 0;
}

static json_t *write_string(const struct key *key, const void *member) {
    (void)key;
    const char *text = *(char *const *)member;
    return text ? json_string(text) : json_null();
}

/* run.json names the absolute path. */
static int check_absolute(const struct key_reader *reader, const char *path, const char *file) {
    char *absolute = path_absolute(file);
    int rc = !absolute ? error_memory(reader->err)
             : text_is_utf8(absolute, strlen(absolute))
                 ? 0
                 : key_error(reader, path,
                             "expected a path in UTF-8, found %s, which has other bytes: rename the folder", absolute);
    free(absolute);
    return rc;
}

static int read_folder(KEY_READ_ARGUMENTS) {
    struct error why;
    char *expanded;
    if (read_string(reader, key, path, value, member) != 0) return -1;
    if (!reader->folder) return 0;
    if (path_expand(&expanded, json_string_value(value), &why) != 0)
        return why.code == CODE_DATA ? key_error(reader, path, "%s", why.message) : error_memory(reader->err);
    free(*(char **)member);
    *(char **)member = expanded;
    return 0;
}

/* given: relative to reader->folder as `joined`. A path as a shell completes it is relative to somewhere else. */
static int check_folder(const struct key_reader *reader, const char *path, const char *given, const char *joined) {
    bool there = true, here = false;
    char *file = strndup(given, strcspn(given, "#")), *whole = strndup(joined, strcspn(joined, "#"));
    int rc = !file || !whole                                 ? error_memory(reader->err)
             : file_exists(joined, &there, reader->err) != 0 ? -1
             : there                                         ? 0
                                                             : file_exists(whole, &there, reader->err);
    if (rc == 0 && !there) rc = file_exists(file, &here, reader->err);
    if (rc == 0 && here)
        rc = key_error(reader, path,
                       "%s: there is none at %s, but one in the working directory: a job's paths, those of --set too, "
                       "are relative to the job's folder: say %s=\"$PWD/%s\"",
                       given, joined, path, given);
    free(file);
    free(whole);
    return rc;
}

static int read_path(KEY_READ_ARGUMENTS) {
    if (read_folder(reader, key, path, value, member) != 0) return -1;
    if (!reader->folder) return 0;
    char *joined = path_join(reader->folder, *(char **)member);
    if (!joined) return error_memory(reader->err);
    if (check_folder(reader, path, *(char **)member, joined) != 0) {
        free(joined);
        return -1;
    }
    free(*(char **)member);
    *(char **)member = joined;
    return check_absolute(reader, path, joined);
}

static json_t *write_path(const struct key *key, const void *member) {
    (void)key;
    if (!*(char *const *)member) return json_null();
    char *absolute = path_absolute(*(char *const *)member);
    json_t *value = absolute ? json_string(absolute) : NULL;
    free(absolute);
    return value;
}

/* ---- numbers ---- */

static bool whole_in_range(const struct key *key, const json_t *value) {
    return json_is_integer(value) && (double)json_integer_value(value) >= key->low &&
           (double)json_integer_value(value) <= key->high;
}

static int read_int(KEY_READ_ARGUMENTS) {
    if (!whole_in_range(key, value)) return key_fail(reader, path, key->expected, value);
    *(int *)member = (int)json_integer_value(value);
    return 0;
}

static int read_int64(KEY_READ_ARGUMENTS) {
    if (!whole_in_range(key, value)) return key_fail(reader, path, key->expected, value);
    *(int64_t *)member = json_integer_value(value);
    return 0;
}

static json_t *whole_or_unset(const struct key *key, int64_t value) {
    return (double)value < key->low || (double)value > key->high ? json_null() : json_integer(value);
}

static json_t *write_int(const struct key *key, const void *member) {
    return whole_or_unset(key, *(const int *)member);
}

static json_t *write_int64(const struct key *key, const void *member) {
    return whole_or_unset(key, *(const int64_t *)member);
}

static int read_number(KEY_READ_ARGUMENTS) {
    const char *text = json_string_value(value);
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (text && strcasecmp(text + (*text == '+'), ".inf") == 0) number = INFINITY;
    if (!(number >= key->low && number <= key->high)) return key_fail(reader, path, key->expected, value);
    *(double *)member = number;
    return 0;
}

static json_t *write_number(const struct key *key, const void *member) {
    (void)key;
    double number = *(const double *)member;
    if (isnan(number)) return json_null();
    return isinf(number) ? json_string(".inf") : json_real(number);
}

static int read_pair(KEY_READ_ARGUMENTS) {
    const json_t *low = json_array_get(value, 0), *high = json_array_get(value, 1);
    double *pair = member;
    if (json_array_size(value) != 2 || !json_is_number(low) || !json_is_number(high) ||
        !(json_number_value(low) < json_number_value(high)))
        return key_fail(reader, path, key->expected, value);
    pair[0] = json_number_value(low);
    pair[1] = json_number_value(high);
    return 0;
}

static json_t *write_pair(const struct key *key, const void *member) {
    (void)key;
    const double *pair = member;
    return json_pack("[ff]", pair[0], pair[1]);
}

/* ---- choices ---- */

static int read_bool(KEY_READ_ARGUMENTS) {
    if (!json_is_boolean(value)) return key_fail(reader, path, key->expected, value);
    *(bool *)member = json_is_true(value);
    return 0;
}

static json_t *write_bool(const struct key *key, const void *member) {
    (void)key;
    return json_boolean(*(const bool *)member);
}

static int read_name(KEY_READ_ARGUMENTS) {
    const char *name = json_string_value(value);
    for (int i = key->names[0] ? 0 : 1; name && key->names[i]; i++) {
        if (strcmp(name, key->names[i]) != 0) continue;
        *(int *)member = i;
        return 0;
    }
    char *expected = key_expected(key);
    const char *nearest = name ? text_nearest(name, key->names + (key->names[0] ? 0 : 1)) : NULL;
    int rc = expected ? key_fail_name(reader, path, expected, value, nearest) : error_memory(reader->err);
    free(expected);
    return rc;
}

static json_t *write_name(const struct key *key, const void *member) {
    const char *name = key->names[*(const int *)member];
    return name ? json_string(name) : json_null();
}

/* ---- maps, and what is not there yet ---- */

static int read_table(KEY_READ_ARGUMENTS) {
    return keys_read(reader, key->table, path, value, member);
}

static json_t *write_table(const struct key *key, const void *member) {
    return keys_write(key->table, member);
}

const struct key_kind KEY_STRING = {read_string, write_string}, KEY_PATH = {read_path, write_path},
                      KEY_FOLDER = {read_folder, write_path}, KEY_INT = {read_int, write_int},
                      KEY_INT64 = {read_int64, write_int64}, KEY_NUMBER = {read_number, write_number},
                      KEY_BOOL = {read_bool, write_bool}, KEY_NAME = {read_name, write_name},
                      KEY_PAIR = {read_pair, write_pair}, KEY_TABLE_OF = {read_table, write_table};
