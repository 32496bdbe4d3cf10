/* Rows of a job's conditions, and of nulls, for a batch. */
#include "sample/conditions.h"

#include "base/digests.h"
#include "base/text.h"
#include "format/captions.h"
#include "format/floats.h"
#include "format/row_file.h"
#include "sample/labels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct input_source {             /* of one input */
    struct row_file *file, *null; /* null NULL: zeros */
};

struct conditions {
    const struct card *card;
    struct input_source sources[INPUTS_MOST];
    uint64_t rows;
};

/* The path of an input's nulls; NULL: there are none, or they are zeros. */
static const char *null_file(const struct card_input *input) {
    return input->null && strcmp(input->null, INPUT_ZEROS) != 0 ? input->null : NULL;
}

static size_t elements_of(const struct card_input *input) {
    size_t elements = 1;
    for (int i = 0; i < input->rank; i++) elements *= input->shape[i];
    return elements;
}

static size_t item_of(const struct card_input *input) {
    static const size_t items[] = {[INPUT_FLOAT32] = sizeof(float), [INPUT_INT64] = sizeof(int64_t), [INPUT_BOOL] = 1};
    return items[input->dtype];
}

/* Can the network's type be had of the file's? */
static bool converts(enum input_dtype dtype, enum npy_type type) {
    switch (dtype) {
        case INPUT_FLOAT32: return type == NPY_FLOAT16 || type == NPY_FLOAT32 || type == NPY_FLOAT64;
        case INPUT_INT64: return type == NPY_INT64;
        case INPUT_BOOL: return type == NPY_BOOL || type == NPY_UINT8;
    }
    return false;
}

static int open_file(struct row_file **file, const char *path, const struct card_input *input, struct error *err) {
    if (row_file_open(file, path, err) != 0) return error_prefix(err, "conditions.%s", input->name);
    const struct npy *npy = row_file_npy(*file);
    bool fits = npy->rank == input->rank + 1 && converts(input->dtype, npy->type);
    for (int i = 0; fits && i < input->rank; i++) fits = npy->shape[i + 1] == input->shape[i];
    if (fits) return 0;
    struct text shape = {0};
    char found[NPY_TEXT];
    npy_text(npy, found);
    for (int i = 0; i < input->rank; i++) text_add(&shape, ", %zu", input->shape[i]);
    error_set(err, CODE_DATA, "conditions.%s: %s: expected %s of shape [rows%s], as the model card says, found %s",
              input->name, path, input_dtype_names[input->dtype], shape.data ? shape.data : "", found);
    text_release(&shape);
    return -1;
}

static int check_rows(const struct conditions *conditions, const struct card_input *input, const char *path,
                      uint64_t rows, bool null, struct error *err) {
    if (rows == conditions->rows || (null && rows == 1)) return 0;
    return error_set(err, CODE_DATA,
                     "conditions.%s: %s: expected %" PRIu64 " rows, as in the first file%s, found %" PRIu64,
                     input->name, path, conditions->rows, null ? ", or one for all" : "", rows);
}

static int open_source(struct conditions *conditions, size_t index, const struct job *job, struct error *err) {
    const struct card_input *input = &conditions->card->inputs[index];
    const struct condition_file *from = job_condition(job, input->name);
    struct input_source *source = &conditions->sources[index];
    if (!from)
        return error_set(err, CODE_DATA, "conditions.%s: missing: the model's card names it as an input", input->name);
    if (open_file(&source->file, from->path, input, err) != 0) return -1;
    uint64_t rows = row_file_npy(source->file)->shape[0];
    if (index == 0) conditions->rows = rows;
    if (check_rows(conditions, input, from->path, rows, false, err) != 0) return -1;
    if (!null_file(input)) return 0;
    if (open_file(&source->null, input->null, input, err) != 0) return -1;
    return check_rows(conditions, input, input->null, row_file_npy(source->null)->shape[0], true, err);
}

int conditions_open(struct conditions **conditions, const struct card *card, const struct job *job, struct error *err) {
    *conditions = NULL;
    for (size_t i = 0; i < job->conditions.count; i++) {
        size_t known = 0;
        while (known < card->inputs_count && strcmp(card->inputs[known].name, job->conditions.files[i].name) != 0)
            known++;
        if (known == card->inputs_count)
            return error_set(err, CODE_DATA, "conditions.%s: the model's card names no such input: leave it out",
                             job->conditions.files[i].name);
    }
    if (card->inputs_count == 0) return 0;
    struct conditions *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->card = card;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < card->inputs_count; i++) rc = open_source(made, i, job, err);
    if (rc == 0) *conditions = made;
    else conditions_close(made);
    return rc;
}

void conditions_close(struct conditions *conditions) {
    if (!conditions) return;
    for (size_t i = 0; i < INPUTS_MOST; i++) {
        row_file_close(conditions->sources[i].file);
        row_file_close(conditions->sources[i].null);
    }
    free(conditions);
}

uint64_t conditions_rows(const struct conditions *conditions) {
    return conditions->rows;
}

int condition_values_new(struct condition_values *made, const struct card *card, size_t batch, struct error *err) {
    *made = (struct condition_values){0};
    for (size_t i = 0; i < card->inputs_count; i++)
        if (!(made->values[i] = calloc(batch * elements_of(&card->inputs[i]), item_of(&card->inputs[i]))))
            return error_memory(err);
    return 0;
}

struct condition_values condition_values_from(const struct condition_values *values, const struct card *card,
                                              size_t row) {
    struct condition_values from = {0};
    for (size_t i = 0; i < card->inputs_count; i++)
        from.values[i] = (char *)values->values[i] + row * elements_of(&card->inputs[i]) * item_of(&card->inputs[i]);
    return from;
}

void condition_values_release(struct condition_values *values) {
    for (size_t i = 0; i < INPUTS_MOST; i++) free(values->values[i]);
    *values = (struct condition_values){0};
}

/* A row as the file has it to the network's type. */
static void convert(const struct card_input *input, enum npy_type type, const void *row, char *out) {
    size_t elements = elements_of(input);
    if (input->dtype != INPUT_FLOAT32 || type == NPY_FLOAT32) memcpy(out, row, elements * item_of(input));
    else
        for (size_t i = 0; i < elements; i++) floats_put(out, NPY_FLOAT32, i, floats_at(row, type, i));
    for (size_t i = 0; input->dtype == INPUT_BOOL && i < elements; i++) out[i] = out[i] != 0;
}

/* A network makes NaN of what is not finite, and nobody sees of what. */
static int check_finite(const struct card_input *input, const char *values, uint64_t row, bool null,
                        struct error *err) {
    for (size_t i = 0; input->dtype == INPUT_FLOAT32 && i < elements_of(input); i++) {
        double value = floats_at(values, NPY_FLOAT32, i);
        if (!isfinite(value))
            return error_set(err, CODE_DATA,
                             "conditions.%s%s: row %" PRIu64 ": expected finite numbers within float32, found %g as "
                             "its element %zu (both counted from 0)",
                             input->name, null ? ".null" : "", row, value, i);
    }
    return 0;
}

int conditions_read(const struct conditions *conditions, uint64_t row, bool null, struct condition_values *values,
                    size_t place, struct error *err) {
    for (size_t i = 0; i < conditions->card->inputs_count; i++) {
        const struct card_input *input = &conditions->card->inputs[i];
        const struct input_source *source = &conditions->sources[i];
        const struct row_file *file = null ? source->null : source->file;
        size_t bytes = elements_of(input) * item_of(input);
        char *out = (char *)values->values[i] + place * bytes;
        if (!file) {
            memset(out, 0, bytes);
            continue;
        }
        const struct npy *npy = row_file_npy(file);
        uint64_t number = npy->shape[0] == 1 ? 0 : row;
        void *stored = malloc(npy_row_bytes(npy));
        int rc = stored ? row_file_read(file, number, stored, err) : error_memory(err);
        if (rc == 0) convert(input, npy->type, stored, out);
        if (rc == 0) rc = check_finite(input, out, number, null, err);
        free(stored);
        if (rc != 0) return -1;
    }
    return 0;
}

struct shim_condition condition_at(const struct card *card, double time) {
    return (struct shim_condition){.time = time,
                                   .integer_time = card_takes_steps(card),
                                   .channels = card->learned_variance ? 2 * card->channels : 0};
}

bool conditions_nullable(const struct card *card) {
    for (size_t i = 0; i < card->inputs_count; i++)
        if (!card->inputs[i].null) return false;
    return card->inputs_count > 0;
}

int condition_inputs(const struct card *card, const struct condition_values *values,
                     struct shim_input inputs[INPUTS_MOST]) {
    static const int types[] = {[INPUT_FLOAT32] = SHIM_FLOAT32, [INPUT_INT64] = SHIM_INT64, [INPUT_BOOL] = SHIM_BOOL};
    for (size_t i = 0; i < card->inputs_count; i++) {
        const struct card_input *input = &card->inputs[i];
        inputs[i] = (struct shim_input){input->name, values->values[i], types[input->dtype], input->rank, {0}};
        for (int k = 0; k < input->rank; k++) inputs[i].shape[k] = (int64_t)input->shape[k];
    }
    return (int)card->inputs_count;
}

/* ---- what they are, for the fingerprint ---- */

/* {"sha256", "key"} of a file, or "zeros"; new. */
static int describe_file(json_t **about, const char *path, struct error *err) {
    char sha256[SHA256_HEX], *name = row_file_name(path);
    int rc = name ? digest_file(name, sha256, err) : error_memory(err);
    bool keyed = rc == 0 && strlen(name) < strlen(path);
    *about = rc == 0 ? json_pack("{s:s, s:s*}", "sha256", sha256, "key", keyed ? path + strlen(name) + 1 : NULL) : NULL;
    free(name);
    return rc != 0 || *about ? rc : error_memory(err);
}

static int describe_input(json_t *inputs, const struct card_input *input, const struct job *job, struct error *err) {
    const struct condition_file *file = job_condition(job, input->name);
    json_t *about = NULL, *null = NULL;
    int rc = file ? describe_file(&about, file->path, err)
                  : error_set(err, CODE_INTERNAL, "the conditions were not opened before they are described");
    if (rc == 0 && null_file(input)) rc = describe_file(&null, null_file(input), err);
    if (rc == 0 && input->null && !null && !(null = json_string(INPUT_ZEROS))) rc = error_memory(err);
    if (rc == 0 && null && json_object_set(about, "null", null) != 0) rc = error_memory(err);
    if (rc == 0 && json_object_set(inputs, input->name, about) != 0) rc = error_memory(err);
    json_decref(null);
    json_decref(about);
    return rc;
}

/* *inputs is new, also after a failure. */
static int describe_inputs(json_t **inputs, const struct conditions *conditions, const struct job *job,
                           struct error *err) {
    int rc = (*inputs = json_object()) ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < conditions->card->inputs_count; i++)
        rc = describe_input(*inputs, &conditions->card->inputs[i], job, err);
    return rc;
}

static int describe(json_t **about, const struct conditions *conditions, const struct job *job, struct error *err) {
    json_t *inputs;
    char rows[SHA256_HEX] = "";
    *about = NULL;
    int rc = describe_inputs(&inputs, conditions, job, err);
    if (rc == 0 && job->conditions.rows) rc = digest_file(job->conditions.rows, rows, err);
    if (rc == 0 && !(*about = json_pack("{s:I, s:O, s:s*}", "count", (json_int_t)conditions->rows, "inputs", inputs,
                                        "rows_sha256", rows[0] ? rows : NULL)))
        rc = error_memory(err);
    json_decref(inputs);
    return rc;
}

int conditions_look(json_t **about, const struct card *card, const struct job *job, struct error *err) {
    struct conditions *conditions;
    int64_t *rows = NULL;
    *about = NULL;
    if (conditions_open(&conditions, card, job, err) != 0) return -1;
    if (!conditions) return 0;
    uint64_t count = conditions_rows(conditions);
    int rc = describe(about, conditions, job, err);
    if (rc == 0 && job->conditions.rule == ROWS_EACH && count != job->seeds.count)
        rc = error_set(
            err, CODE_DATA,
            "conditions.rows: each: expected a row for each of the %llu seeds, found %llu rows: say cycle, or "
            "name a file of row numbers",
            (unsigned long long)job->seeds.count, (unsigned long long)count);
    if (rc == 0 && job->conditions.rows &&
        (rc = labels_read(&rows, job->conditions.rows, NULL, job->seeds.count, (int64_t)count, err)) != 0)
        error_prefix(err, "conditions.rows");
    struct captions captions = {0};
    if (rc == 0 && job->conditions.captions &&
        (rc = captions_read(&captions, job->conditions.captions, count, err)) != 0)
        error_prefix(err, "conditions.captions");
    captions_release(&captions);
    free(rows);
    conditions_close(conditions);
    if (rc != 0) json_decref(*about), *about = NULL;
    return rc;
}

static int add_name(json_t *names, const char *path, struct error *err) {
    char *name = row_file_name(path);
    int rc = name && json_object_set_new(names, name, json_true()) == 0 ? 0 : error_memory(err);
    free(name);
    return rc;
}

int conditions_names(json_t *names, const struct card *card, const struct job *job, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < card->inputs_count; i++) {
        const struct condition_file *file = job_condition(job, card->inputs[i].name);
        if (file) rc = add_name(names, file->path, err);
        if (rc == 0 && null_file(&card->inputs[i])) rc = add_name(names, card->inputs[i].null, err);
    }
    return rc;
}

int conditions_expect(const struct conditions *conditions, const struct job *job, const json_t *keys,
                      struct error *err) {
    json_t *inputs;
    const json_t *wanted = json_object_get(keys, "inputs");
    int rc = describe_inputs(&inputs, conditions, job, err);
    for (size_t i = 0; rc == 0 && i < conditions->card->inputs_count; i++) {
        const char *name = conditions->card->inputs[i].name;
        const json_t *found = json_object_get(inputs, name), *expected = json_object_get(wanted, name);
        const json_t *null = json_object_get(found, "null"), *other = json_object_get(expected, "null");
        rc = sha256_expect(job_condition(job, name)->path, json_string_value(json_object_get(found, "sha256")),
                           json_string_value(json_object_get(expected, "sha256")), err);
        if (rc == 0 && json_is_object(null))
            rc = sha256_expect(conditions->card->inputs[i].null, json_string_value(json_object_get(null, "sha256")),
                               json_string_value(json_object_get(other, "sha256")), err);
    }
    json_decref(inputs);
    return rc;
}
