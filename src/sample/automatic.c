/* Decides what a job leaves to be measured. */
#include "sample/automatic.h"

#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"
#include "job/model_file.h"
#include "sample/model.h"
#include "sample/speed.h"

#include <limits.h>
#include <stdlib.h>

void automatic_init(struct automatic *automatic, int cores) {
    *automatic = (struct automatic){.cores = cores, .batched = BATCHED_AUTO};
}

/* *count: 0 where the run's job has none. */
static int recall_count(int *count, const json_t *job, const char *key, int most, const char *path, struct error *err) {
    const json_t *value = json_object_get(job, key);
    json_int_t found = json_integer_value(value);
    if (json_is_integer(value) && (found < 1 || found > most))
        return error_set(err, CODE_DATA,
                         "%s: job.%s: expected a whole number from 1 to %d, found %" JSON_INTEGER_FORMAT
                         ": the file was changed; put back what the run was made with",
                         path, key, most, found);
    *count = (int)found;
    return 0;
}

int automatic_recall(struct automatic *automatic, bool *there, const char *dir, struct error *err) {
    struct error ignored; /* a file that cannot be read is complained of by who needs it */
    char *path = text_new("%s/run.json", dir);
    json_t *document = NULL;
    if (!path) return error_memory(err);
    *there = json_file_read_if_there(&document, path, &ignored) == 0 && document;
    const json_t *job = json_object_get(document, "job");
    const json_t *guidance = json_object_get(json_object_get(job, "sampler"), "guidance");
    int rc = recall_count(&automatic->batch, job, "batch", INT_MAX, path, err);
    if (rc == 0) rc = recall_count(&automatic->workers, job, "workers", WORKERS_MOST, path, err);
    if (*there) automatic->batched = json_is_true(json_object_get(guidance, "batched")) ? BATCHED_ON : BATCHED_OFF;
    json_decref(document);
    free(path);
    return rc;
}

/* ---- the measurement ---- */

struct wanted { /* of one job */
    bool speed; /* its batch, its workers, or both */
    bool batched;
};

static int load(struct speed_trial *trial, const struct job *job, const struct card *card, struct error *err) {
    char message[SHIM_ERROR], sha256[SHA256_HEX];
    *trial = (struct speed_trial){.card = card};
    if (!job->model.path) return error_set(err, CODE_DATA, "auto: there is no model's file to measure: say model.path");
    if (model_device(job->device, 0, "device:", &trial->device, err) != 0 ||
        model_file_digest(job->model.path, sha256, err) != 0 || speed_middle(trial, err) != 0)
        return -1;
    if (shim_start(job->precision == PRECISION_TF32, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    return model_load(&trial->model, "model", job->model.path, sha256, trial->device, err);
}

/* No more rows than samples are tried, nor others than a file was exported for or whole shards are made of. */
static int choose_speed(struct automatic *automatic, const struct job *job, const struct speed_trial *trial,
                        struct error *err) {
    size_t fixed = job->batch != JOB_AUTO ? (size_t)job->batch : (size_t)trial->card->batch;
    size_t most = job->seeds.count < SPEED_LARGEST ? (size_t)job->seeds.count : SPEED_LARGEST;
    size_t shard = (size_t)job->output.samples_per_shard, whole = shard & (~shard + 1); /* the power of 2 in it */
    if (shard && whole < most) most = whole;
    struct speed_range range = {.first = fixed ? fixed : 1, .last = fixed ? fixed : most, .fewest = 1};
    range.most = trial->device == SHIM_CPU ? automatic->cores : SPEED_GPU_WORKERS;
    if (job->workers > 0) range.fewest = range.most = job->workers;
    json_t *speeds = json_array();
    int rc = speeds ? speed_measure(speeds, trial, range, err) : error_memory(err);
    if (rc == 0) {
        const json_t *best = speed_recommended(speeds);
        int batch = (int)json_integer_value(json_object_get(best, "batch"));
        int workers = (int)json_integer_value(json_object_get(best, "workers"));
        log_info("measured: batch %d and workers %d, %.1f model calls of a row a second%s", batch, workers,
                 speed_rate(best),
                 job->batch == JOB_AUTO ? "; the samples' last bits hang on the batch: to have the same in another "
                                          "folder, say so in the job"
                                        : "");
        if (job->batch == JOB_AUTO) automatic->batch = batch;
        if (job->workers == JOB_AUTO) automatic->workers = workers;
    }
    json_decref(speeds);
    return rc;
}

/* Two calls of the batch against one of twice as many rows. */
static int choose_batched(struct automatic *automatic, const struct speed_trial *trial, int batch, int workers,
                          struct error *err) {
    struct speed_range range = {.first = (size_t)batch, .last = 2 * (size_t)batch, .fewest = workers, .most = workers};
    json_t *speeds = json_array();
    int rc = speeds ? speed_measure(speeds, trial, range, err) : error_memory(err);
    double two = speed_rate(json_array_get(speeds, 0)), one = speed_rate(json_array_get(speeds, 1));
    if (rc == 0) {
        automatic->batched = speed_beats(one, two) ? BATCHED_ON : BATCHED_OFF;
        log_info("measured: guidance in one call of %d rows: %.1f rows a second, in two calls: %.1f; batched: %s",
                 2 * batch, one, two, automatic->batched == BATCHED_ON ? "true" : "false");
    }
    json_decref(speeds);
    return rc;
}

static int measure(struct automatic *automatic, const struct job *job, const struct card *card, struct wanted wanted,
                   struct error *err) {
    struct speed_trial trial;
    log_info("measuring what the job leaves to be measured on this machine");
    int rc = load(&trial, job, card, err);
    if (rc == 0 && wanted.speed) rc = choose_speed(automatic, job, &trial, err);
    int batch = job->batch == JOB_AUTO ? automatic->batch : job->batch;
    int workers = job->workers == JOB_AUTO ? automatic->workers : job->workers;
    if (workers == 0) workers = trial.device == SHIM_CPU ? automatic->cores : SPEED_GPU_WORKERS;
    if (rc == 0 && wanted.batched) rc = choose_batched(automatic, &trial, batch, workers, err);
    shim_model_free(trial.model);
    return rc;
}

/* ---- the decision ---- */

static int settle_without(struct job *job, const struct card *card, struct error *err) {
    struct guidance *guidance = &job->sampler.guidance;
    job->unmeasured = job->batch == JOB_AUTO || job->workers == JOB_AUTO || guidance->batched == BATCHED_AUTO;
    if (job->batch == JOB_AUTO) job->batch = 0;
    if (job->workers == JOB_AUTO) job->workers = 0;
    if (guidance->batched == BATCHED_AUTO) guidance->batched = BATCHED_OFF;
    return job_set_batch(job, card, err);
}

void automatic_settle_fixed(struct job *job, const struct card *card) {
    struct guidance *guidance = &job->sampler.guidance;
    bool twice = card->batch > 0 && job->batch > 0 && card->batch == 2 * job->batch;
    if (guidance->batched == BATCHED_AUTO && (card->batch > 0 || card->guide))
        guidance->batched = twice ? BATCHED_ON : BATCHED_OFF;
    if (job->batch == JOB_AUTO && card->batch > 0) job->batch = 0; /* job_set_batch knows */
}

int automatic_settle(struct automatic *automatic, struct job *job, const struct card *card, struct error *err) {
    struct guidance *guidance = &job->sampler.guidance;
    if (!automatic) return settle_without(job, card, err);
    if (job->batch != JOB_AUTO && job->workers != JOB_AUTO && guidance->batched != BATCHED_AUTO)
        return job_set_batch(job, card, err);
    struct automatic own; /* what this folder's run has goes before what others have */
    automatic_init(&own, automatic->cores);
    bool there;
    if (automatic_recall(&own, &there, job->output.dir, err) != 0) return -1;
    if (job->batch == 0 && job_set_batch(job, card, err) != 0) return -1;
    if (own.batch == 0) own.batch = automatic->batch;
    if (own.workers == 0) own.workers = automatic->workers;
    if (own.batched == BATCHED_AUTO) own.batched = automatic->batched;
    const struct wanted wanted = {.speed = (job->batch == JOB_AUTO && own.batch == 0) ||
                                           (job->workers == JOB_AUTO && own.workers == 0),
                                  .batched = guidance->batched == BATCHED_AUTO && own.batched == BATCHED_AUTO};
    if (wanted.speed || wanted.batched) {
        if (own.batch > 0 && job->batch == JOB_AUTO) job->batch = own.batch;
        if (own.workers > 0 && job->workers == JOB_AUTO) job->workers = own.workers;
        if (measure(&own, job, card, wanted, err) != 0) return -1;
        *automatic = own;
    }
    if (job->batch == JOB_AUTO) job->batch = own.batch;
    if (job->workers == JOB_AUTO) job->workers = own.workers;
    if (guidance->batched == BATCHED_AUTO) guidance->batched = own.batched;
    return job_set_batch(job, card, err);
}
