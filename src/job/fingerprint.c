/* What determines a sample, as canonical JSON and its SHA-256. */
#include "job/fingerprint.h"

#include "format/json_file.h"
#include "job/decoder.h"

#include <stdlib.h>
#include <string.h>

enum { CANONICAL = JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17) };

/* The rule, and for a file its content. */
static json_t *label_keys(const struct job *job, const char *sha256) {
    const char *rule = label_rule_names[job->labels.rule];
    if (job->labels.rule == LABELS_CONSTANT) return json_pack("{ss sI}", "rule", rule, "label", job->labels.constant);
    if (job->labels.rule == LABELS_FILE) return json_pack("{ss ss?}", "rule", rule, "sha256", sha256);
    return json_pack("{ss}", "rule", rule);
}

/* A file is what it holds, wherever it is. */
static bool name_by_digest(json_t *keys, const char *key, const char *sha256) {
    return !json_object_get(keys, key) || json_object_set_new(keys, key, json_pack("{ss?}", "sha256", sha256)) == 0;
}

static json_t *sampler_keys_of(const struct sampler *sampler, const struct file_digests *files) {
    json_t *keys = sampler_to_json(sampler), *guidance = json_object_get(keys, "guidance");
    json_t *table = json_object_get(keys, "table"); /* is its numbers, whoever made them */
    if (json_object_get(table, "made") &&
        json_object_set_new(keys, "table",
                            json_pack("{sO sO}", "times", json_object_get(table, "times"), "steps",
                                      json_object_get(table, "steps"))) != 0) {
        json_decref(keys);
        return NULL;
    }
    if (name_by_digest(guidance, "model", files->guide) && name_by_digest(keys, "plan", files->plan) &&
        (!sampler->guidance.scale_rows || name_by_digest(guidance, "scale", files->scales)))
        return keys;
    json_decref(keys);
    return NULL;
}

/* What its file holds, how many latents it is given at once, on which kernels may depend, and whether they are rounded
 * to half precision before. */
static json_t *decode_keys(const struct job *job, const struct card *card, const char *sha256) {
    const char *latents = job->output.latents == LATENTS_FLOAT16 ? latents_names[LATENTS_FLOAT16] : NULL;
    return json_pack("{ss? si ss*}", "sha256", sha256, "batch", decoder_batch(card->decoder, job), "latents", latents);
}

/* What they are, and who gets which row. */
static json_t *condition_keys(const struct job *job, const json_t *about) {
    json_t *keys = json_whole_copy(about);
    json_map_add(&keys, "rows", json_string(rows_rule_names[job->conditions.rule]));
    return keys;
}

int fingerprint_make(struct fingerprint *fingerprint, const struct job *job, const struct card *card,
                     const struct sampler *sampler, const struct file_digests *files, int plan_version,
                     struct error *err) {
    *fingerprint = (struct fingerprint){0};
    /* What a job does not have is not said, so that older runs stay what they are; nor is what has no meaning: a
     * rounding rule for float samples. */
    json_t *row_dependent = job->model.row_dependent ? json_true() : NULL;
    const char *rounding = job->output.dtype == SAMPLE_UINT8 ? rounding_names[job->output.rounding] : NULL;
    fingerprint->keys = json_pack("{s{ss? so*} sO so so ss si ss ss? s{ss ss?} si}", "model", "sha256", files->model,
                                  "row_dependent", row_dependent, "card", card->json, "sampler",
                                  sampler_keys_of(sampler, files), "labels", label_keys(job, files->labels), "noise",
                                  noise_names[job->noise], "batch", job->batch, "precision",
                                  precision_names[job->precision], "initial", files->initial, "output", "dtype",
                                  sample_dtype_names[job->output.dtype], "rounding", rounding, "plan_version",
                                  plan_version);
    if (card->decoder) json_map_add(&fingerprint->keys, "decode", decode_keys(job, card, files->decoder));
    if (files->conditions) json_map_add(&fingerprint->keys, "conditions", condition_keys(job, files->conditions));
    if (fingerprint->keys && fingerprint_digest(fingerprint->keys, fingerprint->hex, err) == 0) return 0;
    fingerprint_release(fingerprint);
    return error_memory(err);
}

int fingerprint_digest(const json_t *keys, char hex[SHA256_HEX], struct error *err) {
    char *text = json_text(keys, CANONICAL);
    if (!text) return error_memory(err);
    sha256_bytes(text, strlen(text), hex);
    free(text);
    return 0;
}

int fingerprint_of_latents(const json_t *keys, char hex[SHA256_HEX], struct error *err) {
    json_t *copy = json_whole_copy(keys);
    int rc = copy ? 0 : error_memory(err);
    if (rc == 0) {
        json_object_del(copy, "decode");
        json_object_del(copy, "output");
        rc = fingerprint_digest(copy, hex, err);
    }
    json_decref(copy);
    return rc;
}

void fingerprint_release(struct fingerprint *fingerprint) {
    json_decref(fingerprint->keys);
    *fingerprint = (struct fingerprint){0};
}

/* Appends what differs below `path` in the order of the sorted keys. */
static int list_differences(json_t *list, const char *path, const json_t *there, const json_t *here,
                            struct error *err) {
    if (json_equal((json_t *)there, (json_t *)here)) return 0;
    if (!json_is_object(there) || !json_is_object(here)) {
        json_t *one = json_pack("{s:s, s:O*, s:O*}", "key", path, "there", there, "here", here);
        return one && json_array_append_new(list, one) == 0 ? 0 : error_memory(err);
    }
    json_t *all = json_object(); /* the keys of both */
    int rc = all && json_object_update(all, (json_t *)there) == 0 && json_object_update(all, (json_t *)here) == 0
                 ? 0
                 : error_memory(err);
    for (const char *name = NULL, *next; rc == 0; name = next) { /* in order: the next greater one */
        const char *other;
        json_t *value;
        next = NULL;
        json_object_foreach(all, other, value) if ((!name || strcmp(other, name) > 0) &&
                                                   (!next || strcmp(other, next) < 0)) next = other;
        if (!next) break;
        char *below = text_new("%s%s%s", path, *path ? "." : "", next);
        rc = below ? list_differences(list, below, json_object_get(there, next), json_object_get(here, next), err)
                   : error_memory(err);
        free(below);
    }
    json_decref(all);
    return rc;
}

int fingerprint_differences(json_t **list, const json_t *there, const json_t *here, struct error *err) {
    *list = json_array();
    if (*list && list_differences(*list, "", there, here, err) == 0) return 0;
    if (!*list) return error_memory(err);
    json_decref(*list);
    *list = NULL;
    return -1;
}

static int report_difference(const json_t *difference, const char *folder, struct error *err) {
    const char *path = json_string_value(json_object_get(difference, "key"));
    char *old = fingerprint_text(json_object_get(difference, "there"));
    char *new = fingerprint_text(json_object_get(difference, "here"));
    bool file = strstr(path, "sha256") != NULL;
    bool list = strcmp(path, "conditions.rows_sha256") == 0 || strcmp(path, "labels.sha256") == 0;
    int rc = !old || !new
                 ? error_memory(err)
                 : error_set(err, CODE_DATA,
                             "%s was made with %s = %.200s, this job has %.200s: choose another output.dir, "
                             "or %s to continue that run%s",
                             folder, path, old, new, file ? "put the file back that it had" : "set the key back",
                             list ? " (more seeds than its file had numbers are a run of their own: list them alone, "
                                    "with a file of theirs, in another output.dir)"
                                  : "");
    free(old);
    free(new);
    return rc;
}

char *fingerprint_text(const json_t *value) {
    return value ? json_text(value, CANONICAL) : strdup("nothing");
}

void fingerprint_tell(struct text *out, const json_t *difference) {
    char *there = fingerprint_text(json_object_get(difference, "there"));
    char *here = fingerprint_text(json_object_get(difference, "here"));
    text_add(out, "%s = %.200s, this job has %.200s", json_string_value(json_object_get(difference, "key")),
             there ? there : "?", here ? here : "?");
    free(there);
    free(here);
}

int fingerprint_compare(const json_t *there, const json_t *here, const char *folder, struct error *err) {
    json_t *list;
    if (fingerprint_differences(&list, there, here, err) != 0) return -1;
    int rc = json_array_size(list) > 0 ? report_difference(json_array_get(list, 0), folder, err) : 0;
    json_decref(list);
    return rc;
}
