#include "job/job.h"

#include "base/files.h"
#include "base/text.h"
#include "config/keys.h"
#include "config/override.h"
#include "config/source.h"
#include "config/yaml.h"

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
    if (!sampler->solver[0])
        return key_error(reader, "sampler.solver", "missing; expected the name of a solver (qtaylor plan --list)");
    if (sampler->nfe && sampler->steps)
        return key_error(reader, "sampler.steps", "expected either nfe or steps, found both");
    if (sampler->t_end >= sampler->t_start) /* false while either is unset (NAN) */
        return key_error(reader, "sampler.t_end", "expected a time below t_start, %g, found %g", sampler->t_start,
                         sampler->t_end);
    if (job->labels.rule == LABELS_EDM && job->noise == NOISE_PHILOX)
        return key_error(reader, "labels", "expected noise: torch-cpu or torch-cuda beside edm labels, found philox");
    uint64_t pair[2];
    int twice = job->noise == NOISE_PHILOX ? 0 : seeds_collide(&job->seeds, pair);
    if (twice > 0)
        return key_error(reader, "seeds", "expected seeds that differ modulo 2^32, which is what torch's latents (noise: %s) take "
                         "of them, found %llu and %llu: the same sample twice", noise_names[job->noise],
                         (unsigned long long)pair[0], (unsigned long long)pair[1]);
    return twice < 0 ? error_memory(reader->err) : 0;
}

static int job_from_json(struct job *job, const struct key_reader *reader, const json_t *root) {
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

int job_parse(struct job *job, const char *text, const char *name, const char *folder, const char *const *overrides,
              size_t overrides_count, struct error *err) {
    *job = (struct job){.batch = 64, .output.level = 3};
    sampler_init(&job->sampler);
    json_t *root = NULL, *places = json_object();
    char *start = text_new("%s:1:1", name);
    int rc = -1;
    if (!places || !start || json_object_set_new(places, "", json_pack("[ss]", start, start)) != 0) {
        error_memory(err);
        goto out;
    }
    if (yaml_parse(&root, places, text, strlen(text), name, err) != 0) goto out;
    struct key_reader reader = {.where = name, .places = places, .folder = folder, .err = err};
    rc = 0;
    for (size_t i = 0; i < overrides_count && json_is_object(root) && rc == 0; i++)
        rc = override_apply(root, places, overrides[i], err);
    if (rc == 0) rc = job_from_json(job, &reader, root);
out:
    if (rc) job_free(job);
    free(start);
    json_decref(places);
    json_decref(root);
    return rc;
}

int job_read(struct job *job, const char *path, const char *const *overrides, size_t overrides_count,
             struct error *err) {
    struct source source;
    *job = (struct job){0};
    if (source_read(&source, path, err) != 0) return -1;
    int rc = strlen(source.text) == source.size
                 ? job_parse(job, source.text, source.name, source.folder, overrides, overrides_count, err)
                 : error_set(err, CODE_DATA, "%s: expected a YAML job file, found zero bytes in it", path);
    source_free(&source);
    return rc;
}

void job_free(struct job *job) {
    free(job->name);
    free(job->model.path);
    json_decref(job->model.card);
    seeds_free(&job->seeds);
    free(job->labels.path);
    free(job->sampler.times);
    free(job->sampler.guidance.model);
    free(job->sampler.guidance.scales);
    free(job->output.dir);
    free(job->evaluate.features);
    free(job->evaluate.reference);
    free(job->initial);
    json_decref(job->resolved);
    *job = (struct job){0};
}
