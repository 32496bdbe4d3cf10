/* The key `conditions` of a job. */
#include "job/job_conditions.h"

#include "base/files.h"
#include "base/text.h"
#include "format/json_file.h"

#include <stdlib.h>
#include <string.h>

static const struct key path_key = {
    .name = "path", .kind = &KEY_PATH, .expected = "a path (.npy or FILE.safetensors#KEY)"};

#define AT(member) offsetof(struct condition_file, member)
static const struct key file_rows[] = {
    {"path", &KEY_PATH, AT(path), .expected = "a path (.npy or FILE.safetensors#KEY)", .required = true},
    {"null", &KEY_PATH, AT(null), .expected = "a path (.npy or FILE.safetensors#KEY) of one row, or one for each"},
};
static const struct key_table file_table = KEY_TABLE(file_rows);

static int read_rows(const struct key_reader *reader, const char *path, const json_t *value, struct job *job) {
    int rule = text_find(json_string_value(value), rows_rule_names);
    bool named = rule >= 0 && rule <= ROWS_EACH; /* "file" is a path like any other */
    if (!json_is_string(value))
        return key_fail(reader, path, "cycle, each, or the path of a file of row numbers", value);
    job->conditions.rule = named ? (enum rows_rule)rule : ROWS_FILE;
    return named ? 0 : KEY_PATH.read(reader, &path_key, path, value, &job->conditions.rows);
}

static int read_file(const struct key_reader *reader, const char *path, const char *name, const json_t *value,
                     struct job *job) {
    if (job->conditions.count == INPUTS_MOST)
        return key_error(reader, path, "expected at most %d inputs, found more", INPUTS_MOST);
    struct condition_file *file = &job->conditions.files[job->conditions.count++];
    if (!(file->name = strdup(name))) return error_memory(reader->err);
    if (json_is_object(value)) return keys_read(reader, &file_table, path, value, file);
    return KEY_PATH.read(reader, &path_key, path, value, &file->path);
}

int job_read_conditions(KEY_READ_ARGUMENTS) {
    struct job *job = member;
    const char *name;
    json_t *entry;
    if (!json_is_object(value)) return key_fail(reader, path, key->expected, value);
    json_object_foreach((json_t *)value, name, entry) {
        char *below = text_new("%s.%s", path, name);
        int rc = !below                      ? error_memory(reader->err)
                 : strcmp(name, "rows") == 0 ? read_rows(reader, below, entry, job)
                 : strcmp(name, "captions") == 0
                     ? KEY_PATH.read(reader, &path_key, below, entry, &job->conditions.captions)
                     : read_file(reader, below, name, entry, job);
        free(below);
        if (rc != 0) return -1;
    }
    return job->conditions.count > 0 ? 0 : key_fail(reader, path, key->expected, value);
}

json_t *job_write_conditions(const struct key *key, const void *member) {
    const struct job *job = member;
    (void)key;
    if (job->conditions.count == 0) return json_null();
    json_t *map = json_object();
    for (size_t i = 0; i < job->conditions.count; i++)
        json_map_add(&map, job->conditions.files[i].name, keys_write(&file_table, &job->conditions.files[i]));
    json_t *rows = job->conditions.rule == ROWS_FILE ? KEY_PATH.write(&path_key, &job->conditions.rows)
                                                     : json_string(rows_rule_names[job->conditions.rule]);
    json_map_add(&map, "rows", rows);
    if (job->conditions.captions) json_map_add(&map, "captions", KEY_PATH.write(&path_key, &job->conditions.captions));
    return map;
}

void job_release_conditions(struct job *job) {
    for (size_t i = 0; i < job->conditions.count; i++) {
        free(job->conditions.files[i].name);
        free(job->conditions.files[i].path);
        free(job->conditions.files[i].null);
    }
    free(job->conditions.rows);
    free(job->conditions.captions);
}

const struct condition_file *job_condition(const struct job *job, const char *name) {
    for (size_t i = 0; i < job->conditions.count; i++)
        if (strcmp(job->conditions.files[i].name, name) == 0) return &job->conditions.files[i];
    return NULL;
}

/* A model's null file is beside it. */
static char *beside_model(const struct job *job, const char *path) {
    char *folder = job->model.path ? path_folder(job->model.path) : NULL;
    char *joined = folder && path[0] != '/' ? path_join(folder, path) : strdup(path);
    free(folder);
    return joined;
}

int job_add_nulls(const struct job *job, struct card *card, struct error *err) {
    for (size_t i = 0; i < card->inputs_count; i++) {
        struct card_input *input = &card->inputs[i];
        const struct condition_file *file = job_condition(job, input->name);
        bool own = file && file->null, zeros = !own && (!input->null || strcmp(input->null, INPUT_ZEROS) == 0);
        if (zeros) continue;
        char *path = own ? strdup(file->null) : beside_model(job, input->null);
        if (!path) return error_memory(err);
        free(input->null);
        input->null = path;
    }
    return 0;
}
