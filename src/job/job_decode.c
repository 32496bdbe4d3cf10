/* The key `decode` of a job. */
#include "job/job_decode.h"

#include "base/text.h"
#include "format/json_file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { DECODER_NAME_MOST = 64 };

#define PATH .expected = "a decoder's path", .required = true
#define BATCH .expected = "a whole number from 1 to 2147483647", KEY_RANGE(1, INT_MAX)
static const struct key first_rows[] = {
    {"path", &KEY_PATH, offsetof(struct job, decode.path), PATH},
    {"batch", &KEY_INT, offsetof(struct job, decode.batch), BATCH},
};
static const struct key other_rows[] = {
    {"path", &KEY_PATH, offsetof(struct other_decoder, path), PATH},
    {"batch", &KEY_INT, offsetof(struct other_decoder, batch), BATCH},
    {"name", &KEY_STRING, offsetof(struct other_decoder, name), .expected = "a name of letters, digits, -, _ and ."},
};
static const struct key_table first_table = KEY_TABLE(first_rows), other_table = KEY_TABLE(other_rows);

/* Of the file's name without its extension, where the job gives none. It becomes a folder's. */
static int name_decoder(const struct key_reader *reader, const char *path, struct job *job,
                        struct other_decoder *other) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    const char *file = strrchr(other->path, '/') ? strrchr(other->path, '/') + 1 : other->path,
               *dot = strrchr(file, '.');
    if (!other->name) other->name = dot && dot > file ? strndup(file, (size_t)(dot - file)) : strdup(file);
    if (!other->name) return error_memory(reader->err);
    if (!*other->name || *other->name == '.' || strspn(other->name, letters) != strlen(other->name))
        return key_error(reader, path, "name: expected letters, digits, -, _ and ., for a folder; found \"%s\"",
                         other->name);
    if (strlen(other->name) > DECODER_NAME_MOST)
        return key_error(reader, path,
                         "name: expected at most %d characters, for a folder; found %zu: \"%s\": give it "
                         "a shorter one (name: ...)",
                         DECODER_NAME_MOST, strlen(other->name), other->name);
    for (size_t i = 0; &job->decode.others[i] != other; i++)
        if (strcmp(job->decode.others[i].name, other->name) == 0)
            return key_error(reader, path, "the name \"%s\" is another decoder's in this list: give it one (name: ...)",
                             other->name);
    return 0;
}

static int read_list(const struct key_reader *reader, const char *path, const json_t *list, struct job *job) {
    json_t *entry;
    size_t i;
    int rc = 0;
    json_array_foreach(list, i, entry) {
        char *below = text_new("%s[%zu]", path, i);
        struct other_decoder *other = i > 0 ? &job->decode.others[i - 1] : NULL;
        if (!below) return error_memory(reader->err);
        if (!json_is_object(entry)) rc = key_fail(reader, below, "a map with path, batch and name", entry);
        else rc = keys_read(reader, other ? &other_table : &first_table, below, entry, other ? (void *)other : job);
        if (other) job->decode.others_count = i; /* to be released, whole or not */
        if (rc == 0 && other) rc = name_decoder(reader, below, job, other);
        free(below);
        if (rc != 0) return -1;
    }
    return 0;
}

int job_read_decode(KEY_READ_ARGUMENTS) {
    struct job *job = member;
    size_t count = json_array_size(value);
    if (!json_is_array(value)) return keys_read(reader, &first_table, path, value, job);
    if (count < 1 || count > 1 + OTHER_DECODERS_MOST) return key_fail(reader, path, key->expected, value);
    return read_list(reader, path, value, job);
}

json_t *job_write_decode(const struct key *key, const void *member) {
    const struct job *job = member;
    (void)key;
    if (!job->decode.path) return json_null();
    json_t *first = keys_write(&first_table, job);
    if (job->decode.others_count == 0) return first;
    json_t *list = json_array();
    json_list_add(&list, first);
    for (size_t i = 0; i < job->decode.others_count; i++)
        json_list_add(&list, keys_write(&other_table, &job->decode.others[i]));
    return list;
}

void job_release_decode(struct job *job) {
    free(job->decode.path);
    for (size_t i = 0; i < job->decode.others_count; i++) {
        free(job->decode.others[i].path);
        free(job->decode.others[i].name);
    }
}
