/* A job file as a value. */
#include "job/job.h"

#include "base/files.h"
#include "base/text.h"
#include "config/expand.h"
#include "config/keys.h"
#include "config/override.h"
#include "config/yaml.h"
#include "job/job_conditions.h"
#include "job/job_decode.h"
#include "job/job_evaluate.h"
#include "format/json_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

char *job_name_of_file(const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    return dot && dot > base ? strndup(base, (size_t)(dot - base)) : strdup(*base ? base : "job");
}

/* Samples are evaluated a block at a time, all that there are. */
static int check_until(const struct job *job, const struct key_reader *reader) {
    if (isnan(job->evaluate.fid_error)) return 0;
    if (!(job->evaluate.metrics & 1u << METRIC_FID))
        return key_error(reader, "evaluate.until.fid_error",
                         "expected fid among evaluate.metrics: it is its standard error");
    if (job->evaluate.features.count > 1)
        return key_error(reader, "evaluate.features",
                         "expected one network beside evaluate.until, whose FID decides, found %zu",
                         job->evaluate.features.count);
    if (job->evaluate.count)
        return key_error(reader, "evaluate.count",
                         "expected no count beside evaluate.until, which evaluates all samples that are made");
    if (job->seeds.count < ROUNDS_LEAST)
        return key_error(reader, "evaluate.until",
                         "expected at least %d seeds, below which a FID has no standard error, found %llu",
                         ROUNDS_LEAST, (unsigned long long)job->seeds.count);
    return 0;
}

/* What no single key can tell. */
static int job_check(const struct job *job, const struct key_reader *reader) {
    const struct sampler *sampler = &job->sampler;
    if (!sampler->solver[0] && !sampler->plan)
        return key_error(reader, "sampler.solver", "missing; expected the name of a solver (qtaylor plan --list)");
    if (sampler->nfe && sampler->steps)
        return key_error(reader, "sampler.steps", "expected either nfe or steps, found both");
    if (sampler->t_end >= sampler->t_start) /* false while either is unset (NAN) */
        return key_error(reader, "sampler.t_end", "expected a time below t_start, %g, found %g", sampler->t_start,
                         sampler->t_end);
    if (job->labels.rule == LABELS_EDM && job->noise == NOISE_PHILOX)
        return key_error(reader, "labels", "expected noise: torch-cpu or torch-cuda beside edm labels, found philox");
    if (job->output.latents != LATENTS_NONE && !job->decode.path)
        return key_error(reader, "output.latents",
                         "expected a decoder beside it (decode: {path: ...}): without one the samples are what the "
                         "model makes");
    if (check_until(job, reader) != 0) return -1;
    uint64_t pair[2];
    int twice = job->noise == NOISE_PHILOX ? 0 : seeds_collide(&job->seeds, pair);
    if (twice > 0)
        return key_error(reader, "seeds",
                         "expected seeds that differ modulo 2^32, which is what torch's latents (noise: %s) take of "
                         "them, found %llu and %llu: the same sample twice",
                         noise_names[job->noise], (unsigned long long)pair[0], (unsigned long long)pair[1]);
    return twice < 0 ? error_memory(reader->err) : 0;
}

static int read_root(struct job *job, const struct key_reader *reader, const json_t *root) {
    struct error *err = reader->err;
    if (keys_read(reader, &job_keys, "", root, job) != 0 || job_check(job, reader) != 0) return -1;
    if (job->decode.others_count > 0 && job->output.latents == LATENTS_NONE)
        job->output.latents = LATENTS_FLOAT32; /* which all decoders are given */
    if (!job->name) job->name = job_name_of_file(reader->where);
    if (job->name && !job->output.dir) job->output.dir = text_new("runs/%s", job->name);
    char *dir = job->output.dir ? path_absolute(job->output.dir) : NULL;
    int rc = job->name && dir ? path_check_utf8(dir, err) : error_memory(err);
    if (rc == 0) rc = path_check_utf8(job->name, err); /* the file's, where the job has none */
    free(dir);
    if (rc != 0) return -1;
    if (reader->folder && !text_is_plain(job->output.dir))
        return key_error(reader, "output.dir", "expected a folder's name without control characters, found \"%s\"",
                         job->output.dir);
    job->resolved = keys_write(&job_keys, job);
    return job->resolved ? 0 : error_memory(err);
}

/* Makes a job of the map `root`. */
static int job_make(struct job *job, const struct key_reader *reader, const json_t *root) {
    *job = (struct job){.output.level = 3, .evaluate.fid_error = NAN};
    sampler_init(&job->sampler);
    int rc = read_root(job, reader, root);
    if (rc != 0) job_release(job);
    return rc;
}

int job_from_json(struct job *job, const json_t *resolved, const char *name, struct error *err) {
    return job_make(job, &(struct key_reader){.where = name, .err = err}, resolved);
}

int job_override(json_t *root, json_t *places, const char *override, struct error *err) {
    json_t *path = json_object_get(root, "model"), *place = json_object_get(places, "model");
    if (json_is_string(path) && strncmp(override, "model.", 6) == 0) {
        bool placed = !place || json_object_set(places, "model.path", place) == 0;
        if (!placed || json_object_set_new(root, "model", json_pack("{s:O}", "path", path)) != 0)
            return error_memory(err);
    }
    return override_apply(root, places, override, "model.card.", err); /* no range, no labels, whatever the file says */
}

int job_from_file(struct job *job, const struct job_file *file, const char *const *overrides, size_t overrides_count,
                  struct error *err) {
    json_t *root = json_deep_copy(file->root),
           *places = json_whole_copy(file->places); /* a place is never changed, only replaced */
    struct key_reader reader = {
        .where = file->source.name, .places = places, .folder = file->source.folder, .err = err};
    int rc = root && places ? 0 : error_memory(err);
    *job = (struct job){0};
    for (size_t i = 0; i < overrides_count && json_is_object(root) && rc == 0; i++)
        rc = job_override(root, places, overrides[i], err);
    if (rc == 0) rc = job_make(job, &reader, root);
    json_decref(places);
    json_decref(root);
    return rc;
}

/* The tree of a file whose source is there. */
static int parse_source(struct job_file *file, struct error *err) {
    const struct source *source = &file->source;
    char *start = text_new("%s:1:1", source->name);
    file->places = json_object();
    int rc = file->places && start && json_object_set_new(file->places, "", json_pack("[ss]", start, start)) == 0
                 ? yaml_parse(&file->root, file->places, source->text, source->size, source->name, err)
                 : error_memory(err);
    free(start);
    return rc;
}

/* A run that was stopped before its last seed: a job of the seeds that it has, which decides nothing again. */
static int cut_seeds(json_t *root, const json_t *stopped, struct error *err) {
    json_int_t samples = json_integer_value(json_object_get(stopped, "samples"));
    const char *text = json_string_value(json_object_get(root, "seeds"));
    struct seeds seeds;
    if (samples <= 0 || !text) return 0;
    if (seeds_parse(&seeds, text, err) != 0) return -1;
    seeds_cut(&seeds, (uint64_t)samples);
    char *cut = seeds_text(&seeds);
    bool whole = cut && json_object_set_new(root, "seeds", json_string(cut)) == 0;
    json_object_del(json_object_get(root, "evaluate"), "until");
    free(cut);
    seeds_release(&seeds);
    return whole ? 0 : error_memory(err);
}

/* Is it a run.json? Then the file is its job. */
static int take_document(struct job_file *file, bool *taken, struct error *err) {
    const struct source *source = &file->source;
    json_t *document = json_loadb(source->text, source->size, JSON_REJECT_DUPLICATES, NULL);
    json_t *job = json_object_get(document, "job"), *keys = json_object_get(document, "keys");
    int rc = 0;
    *taken = json_is_object(job) && json_is_object(keys) && json_is_string(json_object_get(document, "fingerprint"));
    if (*taken) {
        file->root = json_deep_copy(job);
        file->document = json_incref(document);
        file->places = json_pack("{s:[ss]}", "", source->name, source->name);
        rc = file->root && file->places && paths_write_literal(file->root) == 0 ? 0 : error_memory(err);
        if (rc == 0) rc = cut_seeds(file->root, json_object_get(document, "stopped"), err);
    }
    json_decref(document);
    return rc;
}

int job_file_read(struct job_file *file, const char *path, struct error *err) {
    *file = (struct job_file){.path = path};
    if (source_read(&file->source, path, err) != 0) return -1;
    bool document = false;
    int rc = strlen(file->source.text) == file->source.size
                 ? take_document(file, &document, err)
                 : error_set(err, CODE_DATA, "%s: expected a YAML job file, found zero bytes in it", path);
    if (rc == 0 && !document) rc = parse_source(file, err);
    if (rc != 0) job_file_release(file);
    return rc;
}

/* Looks for the files below a value of job->resolved; path: its key. */
static int check_paths(const char *name, const char *path, const json_t *value, struct error *err) {
    const char *key, *text = json_string_value(value);
    json_t *below;
    json_object_foreach((json_t *)value, key, below) {
        char *whole = text_new("%s%s%s", path, *path ? "." : "", key);
        int rc = !whole                         ? error_memory(err)
                 : strcmp(whole, "output") == 0 ? 0 /* is made */
                                                : check_paths(name, whole, below, err);
        free(whole);
        if (rc != 0) return -1;
    }
    if (!text || *text != '/') return 0;
    bool there;
    char *file = strndup(text, strcspn(text, "#")); /* of FILE.safetensors#KEY */
    int rc = file ? file_exists(text, &there, err) : error_memory(err);
    if (rc == 0 && !there) rc = file_exists(file, &there, err);
    if (rc == 0 && !there)
        rc = error_set(err, CODE_DATA,
                       "%s: %s: expected the file that the run was made with, found none at %s: say --set %s=FILE%s",
                       name, path, file, path,
                       strncmp(path, "evaluate", 8) == 0 ? ", or --set evaluate=null to leave the metrics out" : "");
    free(file);
    return rc;
}

int job_file_check_paths(const struct job_file *file, const struct job *job, struct error *err) {
    return file->document ? check_paths(file->source.name, "", job->resolved, err) : 0;
}

/* In the run's own folder, a job of the seeds that it was stopped with (cut_seeds) cannot stand for that of all. */
static int check_stopped(const struct job_file *file, const struct job *job, struct error *err) {
    const json_t *stopped = json_object_get(file->document, "stopped");
    const char *all = json_string_value(json_object_get(json_object_get(file->document, "job"), "seeds")),
               *by = json_string_value(json_object_get(stopped, "by"));
    json_int_t samples = json_integer_value(json_object_get(stopped, "samples"));
    if (!all || samples <= 0 || job->seeds.count != (uint64_t)samples) return 0;
    return error_set(
        err, CODE_DATA,
        "%s: this run was stopped after %lld of its %lld seeds (by %s), and out of its run.json only those "
        "%lld can be made, in another folder: say --set output.dir=DIR for that, --set seeds=%s to make "
        "the rest here too, or run its own job again",
        file->source.name, (long long)samples, (long long)json_integer_value(json_object_get(stopped, "of")),
        by && strcmp(by, "race") == 0 ? "sweep.race" : "evaluate.until", (long long)samples, all);
}

int job_file_check_folder(const struct job_file *file, const struct job *job, struct error *err) {
    const char *made = json_string_value(json_object_get(json_object_get(file->root, "output"), "dir"));
    char *dir = file->document ? path_absolute(job->output.dir) : NULL, *here = path_absolute(file->source.folder);
    int rc = (dir || !file->document) && here ? 0 : error_memory(err);
    if (rc == 0 && dir && made && strcmp(dir, made) == 0 && strcmp(dir, here) != 0)
        rc = error_set(err, CODE_USAGE,
                       "%s: output.dir: the run was made in %s: say --set output.dir=DIR, a folder of yours",
                       file->source.name, made);
    if (rc == 0 && dir && strcmp(dir, here) == 0) rc = check_stopped(file, job, err);
    free(here);
    free(dir);
    return rc;
}

void job_file_release(struct job_file *file) {
    json_decref(file->places);
    json_decref(file->root);
    json_decref(file->document);
    source_release(&file->source);
    *file = (struct job_file){0};
}

int job_parse(struct job *job, const char *text, const char *name, const char *folder, const char *const *overrides,
              size_t overrides_count, struct error *err) {
    struct job_file file = {.path = name, .source = {(char *)text, strlen(text), name, (char *)folder}}; /* borrowed */
    *job = (struct job){0};
    int rc = parse_source(&file, err);
    if (rc == 0) rc = job_from_file(job, &file, overrides, overrides_count, err);
    json_decref(file.places);
    json_decref(file.root);
    return rc;
}

int job_read(struct job *job, const char *path, const char *const *overrides, size_t overrides_count,
             struct error *err) {
    struct job_file file;
    *job = (struct job){0};
    if (job_file_read(&file, path, err) != 0) return -1;
    int rc = job_from_file(job, &file, overrides, overrides_count, err);
    job_file_release(&file);
    return rc;
}

int job_set_batch(struct job *job, const struct card *card, struct error *err) {
    enum { USUAL = 64 };
    bool batched = job->sampler.guidance.batched == BATCHED_ON && card->batch % 2 == 0;
    if (job->batch == 0) job->batch = batched ? card->batch / 2 : card->batch;
    if (job->batch == 0 && card->guide) job->batch = card->guide->batch;
    if (job->batch == 0) job->batch = USUAL;
    json_t *resolved = keys_write(&job_keys, job);
    if (!resolved) return error_memory(err);
    json_decref(job->resolved);
    job->resolved = resolved;
    return 0;
}

void job_release(struct job *job) {
    free(job->name);
    free(job->model.path);
    json_decref(job->model.card);
    seeds_release(&job->seeds);
    free(job->labels.path);
    job_release_decode(job);
    job_release_conditions(job);
    sampler_release(&job->sampler);
    free(job->output.dir);
    job_release_evaluate(job);
    free(job->initial);
    json_decref(job->resolved);
    *job = (struct job){0};
}
