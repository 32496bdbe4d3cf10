/* A job file as a value. */
#include "job/job.h"

#include "base/files.h"
#include "base/text.h"
#include "config/keys.h"
#include "config/override.h"
#include "config/yaml.h"
#include "job/job_conditions.h"
#include "job/job_evaluate.h"
#include "format/json_file.h"

#include <stdlib.h>
#include <string.h>

/* The file's name without folder and extension: "jobs/digits.yaml" gives "digits". New. */
static char *name_of_file(const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    return dot && dot > base ? strndup(base, (size_t)(dot - base)) : strdup(*base ? base : "job");
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
    if (!job->name) job->name = name_of_file(reader->where);
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
    *job = (struct job){.output.level = 3};
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

int job_file_read(struct job_file *file, const char *path, struct error *err) {
    *file = (struct job_file){.path = path};
    if (source_read(&file->source, path, err) != 0) return -1;
    int rc = strlen(file->source.text) == file->source.size
                 ? parse_source(file, err)
                 : error_set(err, CODE_DATA, "%s: expected a YAML job file, found zero bytes in it", path);
    if (rc != 0) job_file_release(file);
    return rc;
}

void job_file_release(struct job_file *file) {
    json_decref(file->places);
    json_decref(file->root);
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
    if (job->batch != 0) return 0;
    for (const struct card *of = card; of && job->batch == 0; of = of->guide) job->batch = of->batch;
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
    free(job->decode.path);
    job_release_conditions(job);
    free(job->sampler.plan);
    json_decref(job->sampler.table);
    free(job->sampler.times);
    free(job->sampler.guidance.model);
    free(job->sampler.guidance.scales);
    free(job->output.dir);
    job_release_evaluate(job);
    free(job->initial);
    json_decref(job->resolved);
    *job = (struct job){0};
}
