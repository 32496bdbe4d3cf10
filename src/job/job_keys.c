/* The table of a job file's keys. */
#include "base/files.h"
#include "base/text.h"
#include "job/job.h"
#include "job/job_conditions.h"
#include "job/job_decode.h"
#include "job/job_evaluate.h"
#include "config/keys.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char *const label_rule_names[] = {"none", "balanced", "random", "edm", "constant", "file", NULL};
const char *const rows_rule_names[] = {"cycle", "each", "file", NULL};
const char *const rounding_names[] = {"edm", "adm", "diffusers", NULL};
const char *const sample_dtype_names[] = {"uint8", "float32", "float16", NULL};
const char *const latents_names[] = {"false", "float32", "float16", NULL};
const char *const device_names[] = {"auto", "cpu", "cuda", NULL};
const char *const precision_names[] = {"fp32", "tf32", NULL};
const char *const noise_names[] = {"philox", "torch-cpu", "torch-cuda", NULL};

#define AT(member) offsetof(struct job, member)

/* ---- name: it becomes a folder ---- */

static int read_job_name(KEY_READ_ARGUMENTS) {
    const char *name = json_string_value(value);
    if (name && (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
        return key_fail(reader, path, key->expected, value);
    return KEY_STRING.read(reader, key, path, value, member);
}

static json_t *write_job_name(const struct key *key, const void *member) {
    return KEY_STRING.write(key, member);
}

/* ---- model: a path, or {path, card, row_dependent} ---- */

static int read_card(KEY_READ_ARGUMENTS) { /* a part of one, over that of the file */
    json_t **card = member;
    (void)key;
    if (card_check_part(reader, path, value) != 0) return -1;
    json_decref(*card);
    *card = json_deep_copy(value);
    return json_equal(*card, value) ? 0 : error_memory(reader->err); /* it may leave members out */
}

static json_t *write_card(const struct key *key, const void *member) {
    (void)key;
    json_t *card = *(json_t *const *)member;
    return card ? json_incref(card) : json_null();
}

static const struct key_kind CARD = {read_card, write_card};
static const struct key model_rows[] = {
    {"path", &KEY_PATH, AT(model.path), .expected = "a path"},
    {"card", &CARD, AT(model.card), .expected = "a model card, or some of its keys"},
    {"row_dependent", &KEY_BOOL, AT(model.row_dependent), .expected = "true or false"},
};
static const struct key_table model_table = KEY_TABLE(model_rows);

static int read_model(KEY_READ_ARGUMENTS) { /* the member is the job */
    struct job *job = member;
    if (json_is_string(value)) return KEY_PATH.read(reader, key, path, value, &job->model.path);
    if (!json_is_object(value)) return key_fail(reader, path, key->expected, value);
    if (keys_read(reader, &model_table, path, value, member) != 0) return -1;
    if (job->model.path) return 0;
    if (!job->model.card) return key_fail(reader, path, key->expected, value);
    struct card card; /* without a file it has to be a whole one; said here, where its lines are known */
    if (card_from(&card, reader, "model.card", job->model.card) != 0) return -1;
    card_release(&card);
    return 0;
}

static json_t *write_model(const struct key *key, const void *member) {
    (void)key;
    return keys_write(&model_table, member);
}

/* ---- seeds: "0-9999,20000", one number, or a list of these ---- */

static int add_seeds(struct text *text, const json_t *value) {
    if (json_is_integer(value))
        text_add(text, "%s%" JSON_INTEGER_FORMAT, text->length ? "," : "", json_integer_value(value));
    else if (json_is_string(value)) text_add(text, "%s%s", text->length ? "," : "", json_string_value(value));
    return json_is_integer(value) || json_is_string(value) ? 0 : -1;
}

static int read_seeds(KEY_READ_ARGUMENTS) {
    struct text text = {0};
    int rc = 0;
    if (json_array_size(value) == 0) rc = add_seeds(&text, value);
    for (size_t i = 0; rc == 0 && i < json_array_size(value); i++) rc = add_seeds(&text, json_array_get(value, i));
    if (rc) {
        rc = key_fail(reader, path, key->expected, value);
    } else if (text.failed) {
        rc = error_memory(reader->err);
    } else {
        struct error why;
        seeds_release(member);
        rc = seeds_parse(member, text.data ? text.data : "", &why);
        if (rc && why.code == CODE_DATA) key_error(reader, path, "%s", why.message);
        if (rc && why.code != CODE_DATA) *reader->err = why;
    }
    text_release(&text);
    return rc;
}

static json_t *write_seeds(const struct key *key, const void *member) {
    (void)key;
    char *text = seeds_text(member);
    json_t *value = text ? json_string(text) : NULL;
    free(text);
    return value;
}

/* ---- labels: a rule, a number, or else a path ---- */

static int read_labels(KEY_READ_ARGUMENTS) { /* the member is the job */
    struct job *job = member;
    if (json_is_integer(value)) {
        job->labels.rule = LABELS_CONSTANT;
        return KEY_INT64.read(reader, key, path, value, &job->labels.constant);
    }
    int rule = text_find(json_string_value(value), label_rule_names);
    bool named = rule >= 0 && rule <= LABELS_EDM; /* "constant" and "file" are paths like any other */
    job->labels.rule = named ? (enum label_rule)rule : LABELS_FILE;
    return named ? 0 : KEY_PATH.read(reader, key, path, value, &job->labels.path);
}

static json_t *write_labels(const struct key *key, const void *member) {
    const struct job *job = member;
    if (job->labels.rule == LABELS_CONSTANT) return json_integer(job->labels.constant);
    if (job->labels.rule == LABELS_FILE) return KEY_PATH.write(key, &job->labels.path);
    return json_string(label_rule_names[job->labels.rule]);
}

/* ---- batch, workers: a number, or auto ---- */

static int read_count(KEY_READ_ARGUMENTS) {
    const char *text = json_string_value(value);
    if (!text || strcmp(text, "auto") != 0) return KEY_INT.read(reader, key, path, value, member);
    *(int *)member = JOB_AUTO;
    return 0;
}

static json_t *write_count(const struct key *key, const void *member) {
    return *(const int *)member == JOB_AUTO ? json_string("auto") : KEY_INT.write(key, member);
}

static const struct key_kind COUNT = {read_count, write_count};

/* ---- sweep: sweep.h reads it; one cell has none ---- */

static int read_sweep(KEY_READ_ARGUMENTS) {
    (void)member;
    return json_is_object(value) || json_is_array(value) ? 0 : key_fail(reader, path, key->expected, value);
}

static json_t *write_sweep(const struct key *key, const void *member) {
    (void)key, (void)member;
    return json_null();
}

/* ---- output.latents: true is float32 ---- */

static int read_latents(KEY_READ_ARGUMENTS) {
    if (!json_is_boolean(value)) return KEY_NAME.read(reader, key, path, value, member);
    *(enum latents_kind *)member = json_is_true(value) ? LATENTS_FLOAT32 : LATENTS_NONE;
    return 0;
}

static json_t *write_latents(const struct key *key, const void *member) {
    return *(const enum latents_kind *)member == LATENTS_NONE ? json_null() : KEY_NAME.write(key, member);
}

/* ---- the table; conditions, decode and evaluate have files of their own ---- */

static const struct key_kind JOB_NAME = {read_job_name, write_job_name}, MODEL = {read_model, write_model},
                             SEEDS = {read_seeds, write_seeds}, LABELS = {read_labels, write_labels},
                             CONDITIONS = {job_read_conditions, job_write_conditions},
                             DECODE = {job_read_decode, job_write_decode},
                             EVALUATE = {job_read_evaluate, job_write_evaluate}, SWEEP = {read_sweep, write_sweep},
                             LATENTS_KEPT = {read_latents, write_latents};
static const struct key output_rows[] = {
    {"dir", &KEY_FOLDER, AT(output.dir), .expected = "a folder"},
    {"samples_per_shard", &KEY_INT64, AT(output.samples_per_shard), .expected = "a whole number from 1 to 2147483647",
     KEY_RANGE(1, INT_MAX)},
    {"level", &KEY_INT, AT(output.level), .expected = "a zstd level from 1 to 22", KEY_RANGE(1, 22)},
    {"rounding", &KEY_NAME, AT(output.rounding), .names = rounding_names},
    {"dtype", &KEY_NAME, AT(output.dtype), .names = sample_dtype_names},
    {"latents", &LATENTS_KEPT, AT(output.latents), .expected = "true, false, float32 or float16",
     .names = latents_names},
};
static const struct key_table output_table = KEY_TABLE(output_rows);

static const struct key rows[] = {
    {"name", &JOB_NAME, AT(name), .expected = "a name without /"},
    {"model", &MODEL, 0, .expected = "a path, or a map with path, card or both", .required = true},
    {"seeds", &SEEDS, AT(seeds), .expected = "seeds such as 0-9999 or 0-99,200", .required = true},
    {"labels", &LABELS, 0, .expected = "none, balanced, random, edm, a label from 0 to 9e15, or a path",
     KEY_RANGE(0, 9e15)},
    {"batch", &COUNT, AT(batch), .expected = "a whole number from 1 to 2147483647, or auto", KEY_RANGE(1, INT_MAX)},
    {"sampler", &KEY_TABLE_OF, AT(sampler), .table = &sampler_keys},
    {"conditions", &CONDITIONS, 0, .expected = "a map of the model's inputs to files, rows and captions"},
    {"decode", &DECODE, 0, .expected = "a map with path and batch, or a list of 1 to 16 of them"},
    {"output", &KEY_TABLE_OF, 0, .table = &output_table},
    {"evaluate", &EVALUATE, 0, .expected = "a map with features and reference"},
    {"device", &KEY_NAME, AT(device), .names = device_names},
    {"share_device", &KEY_BOOL, AT(share_device), .expected = "true or false"},
    {"cuda_graphs", &KEY_BOOL, AT(cuda_graphs), .expected = "true or false"},
    {"workers", &COUNT, AT(workers), .expected = "a whole number from 1 to 4096, or auto", KEY_RANGE(1, WORKERS_MOST)},
    {"precision", &KEY_NAME, AT(precision), .names = precision_names},
    {"noise", &KEY_NAME, AT(noise), .names = noise_names},
    {"initial", &KEY_PATH, AT(initial), .expected = "a path (.npy)"},
    {"sweep", &SWEEP, 0, .expected = "a map of key: [values], or a list of such maps"},
};
const struct key_table job_keys = KEY_TABLE(rows);
