/* Concludes cells: reads all files back, then writes manifest, metrics and picture. */
#include "work/conclude.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"
#include "run/claim.h"
#include "run/quarantine.h"
#include "metric/seal.h"
#include "metric/values.h"
#include "work/evaluation.h"
#include "work/result.h"
#include "work/shard_maker.h"
#include "run/scan.h"

#include <dirent.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct conclusion {
    const struct cell *cell;
    struct tally made;
    struct shard_status *status; /* [shards]: the scan's, and what was read since */
    struct features features[FEATURE_FILES];
    json_t *older;  /* metrics.json, or the round's file, as it was, or NULL; also where another count is evaluated */
    json_t *round;  /* what the round of these very samples came to, or NULL */
    json_t *inputs; /* see evaluation_inputs */
    char digest[SHA256_HEX];
    bool current;         /* metrics.json says all that there is to say */
    struct error failure; /* why it can't be; code CODE_OK: it can */
    double start;
};

/* Some shards have samples and no features. */
static bool is_featureless(const struct conclusion *conclusion) {
    return conclusion->made.values[MADE_FEATURELESS] > 0;
}

void conclusion_close(struct conclusion *conclusion) {
    if (!conclusion) return;
    for (int k = 0; k < FEATURE_FILES; k++) features_release(&conclusion->features[k]);
    json_decref(conclusion->older);
    json_decref(conclusion->round);
    json_decref(conclusion->inputs);
    free(conclusion->status);
    free(conclusion);
}

/* New, one a shard; NULL: out of memory. */
static struct shard_info *infos_of(const struct conclusion *conclusion) {
    uint64_t shards = layout_shards(&conclusion->cell->run.layout);
    struct shard_info *infos = calloc(shards, sizeof *infos);
    for (uint64_t i = 0; infos && i < shards; i++) infos[i] = conclusion->status[i].samples_info;
    return infos;
}

static int digest_shards(struct conclusion *conclusion, struct error *err) {
    struct shard_info *infos = infos_of(conclusion);
    if (infos) store_payload_digest(infos, layout_shards(&conclusion->cell->run.layout), conclusion->digest);
    free(infos);
    return infos ? 0 : error_memory(err);
}

/* Is a result of exactly these samples, and this evaluation, and as it was written? */
static bool is_of(const json_t *result, const struct conclusion *conclusion) {
    const char *of = json_string_value(json_object_get(result, "payload_sha256"));
    bool evaluated = json_equal(json_object_get(result, "inputs"), conclusion->inputs) && result_is_sealed(result);
    return of && conclusion->digest[0] && strcmp(of, conclusion->digest) == 0 && (!conclusion->inputs || evaluated);
}

/* *current: metrics.json is of exactly these samples, and all the rest is there. */
static int is_current(const struct conclusion *conclusion, bool *current, struct error *err) {
    const struct run *run = &conclusion->cell->run;
    bool picture = true;
    if (!conclusion->cell->round && result_has_picture(run) && folder_has(run->dir, "grid.png", &picture, err) != 0)
        return -1;
    const json_t *stopped = json_object_get(run->document, "stopped");
    const json_t *told = json_object_get(conclusion->older, "stopped");
    *current = is_of(conclusion->older, conclusion) && picture &&
               (conclusion->cell->round || (!stopped && !told) || json_equal(stopped, told));
    return 0;
}

static char *result_path(const struct cell *cell) {
    return cell->round ? rounds_path(&cell->run, cell->run.layout.samples) : cell_metrics(cell);
}

/* The same samples may have been a round. */
static void read_round(struct conclusion *conclusion) {
    const struct cell *cell = conclusion->cell;
    struct error ignored;
    if (!cell->rounds || cell->round || conclusion->current ||
        rounds_read(&conclusion->round, &cell->run, cell->run.layout.samples, &ignored) != 0)
        return;
    if (is_of(conclusion->round, conclusion)) return;
    json_decref(conclusion->round);
    conclusion->round = NULL;
}

/* Reads the metrics.json that an earlier job left, and whether it still holds. */
static int read_older(struct conclusion *conclusion, bool again, struct error *err) {
    const struct run *run = &conclusion->cell->run;
    struct error why;
    bool good = true;
    char *path = conclusion->cell->count ? text_new("%s/metrics.json", run->dir) : result_path(conclusion->cell);
    int rc = path ? json_file_read_if_there(&conclusion->older, path, &why) : error_memory(&why);
    if (rc == 0 && result_is_changed(conclusion->older))
        log_warn("%s: its metrics are not those that were written: they are computed again", path);
    free(path);
    if (rc != 0 && why.code != CODE_DATA) return *err = why, -1; /* what is no JSON is written anew */
    for (uint64_t i = 0; i < layout_shards(&run->layout); i++) good &= scan_good(run, &conclusion->status[i]);
    if (good && digest_shards(conclusion, err) != 0) return -1;
    if (evaluation_inputs(run, &conclusion->inputs, err) != 0) return -1;
    if (good && !again && is_current(conclusion, &conclusion->current, err) != 0) return -1;
    if (good) read_round(conclusion);
    return 0;
}

int conclusion_open(struct conclusion **conclusion_out, const struct cell *cell, const struct tally *made, bool again,
                    uint64_t *batches, struct error *err) {
    uint64_t shards = layout_shards(&cell->run.layout);
    struct conclusion *conclusion = *conclusion_out = calloc(1, sizeof *conclusion);
    if (!conclusion || !(conclusion->status = malloc(shards * sizeof *conclusion->status))) return error_memory(err);
    memcpy(conclusion->status, cell->status, shards * sizeof *cell->status);
    conclusion->cell = cell;
    conclusion->made = *made;
    conclusion->start = clock_seconds();
    int rc = read_older(conclusion, again, &conclusion->failure);
    if (rc == 0 && !conclusion->current && !conclusion->round && cell->run.job.evaluate.enabled)
        rc = evaluation_room(&cell->run, conclusion->features, &conclusion->failure);
    *batches = rc != 0 || conclusion->current ? 0 : shards;
    return 0;
}

/* Is one of a shard's files missing? Lists its folder anew: a network file system then asks its server. */
static bool is_missing(const struct run *run, shard_id shard, const struct shard_status *status, bool samples_only) {
    bool missing = false;
    for (int output = LATENTS; output < (samples_only ? SAMPLES + 1 : FEATURE_FILES); output++) {
        if (!run_wants(run, output) || (output == LATENTS   ? status->latents
                                        : output == SAMPLES ? status->samples
                                                            : status->features[output]) != SHARD_MISSING)
            continue;
        char *path = run_path(run, shard, output), *folder = path ? path_folder(path) : NULL;
        DIR *dir = folder ? opendir(folder) : NULL;
        while (dir && readdir(dir)) {}
        if (dir) closedir(dir);
        free(folder);
        free(path);
        missing = true;
    }
    return missing;
}

/* Reads a shard that was made, and looks again until it shows. */
static int read_made(const struct run *run, shard_id shard, struct shard_status *status, struct features *features,
                     bool samples_only, double until, const volatile sig_atomic_t *stop, struct error *err) {
    for (double pause = 0.01;; pause *= 2) {
        if (scan_shard(run, shard, status, features, err) != 0) return -1;
        if (!is_missing(run, shard, status, samples_only) || *stop || clock_seconds() > until) return 0;
        clock_sleep(pause < 1 ? pause : 1);
    }
}

int conclusion_batch(struct conclusion *conclusion, uint64_t batch, double patience, const volatile sig_atomic_t *stop,
                     struct error *err) {
    return read_made(&conclusion->cell->run, (shard_id){batch}, &conclusion->status[batch], conclusion->features,
                     is_featureless(conclusion), conclusion->start + patience, stop, err);
}

/* How the samples were made: this time, or, when nothing was missing, as the last metrics.json tells. */
static json_t *describe_this(const struct conclusion *conclusion, const struct place *place) {
    json_t *kept = json_object_get(conclusion->older, "generation");
    if (conclusion->made.values[MADE_SAMPLES] > 0)
        return result_generation(&conclusion->cell->run, &conclusion->made, place);
    return kept ? json_incref(kept) : json_null();
}

/* The same, with the rounds before. */
static json_t *describe_generation(const struct conclusion *conclusion, const struct place *place) {
    const struct cell *cell = conclusion->cell;
    bool now = conclusion->made.values[MADE_SAMPLES] > 0, earlier = json_object_get(conclusion->older, "generation");
    if (!cell->rounds || cell->round || (!now && earlier && cell->made == 0)) return describe_this(conclusion, place);
    return rounds_generation(&cell->run, now ? describe_this(conclusion, place) : json_object());
}

static const double CLIPPED_MOST = 0.5; /* of digits, whose background is black, 0.21 */

static double share(uint64_t part, uint64_t whole) {
    return (double)part / (double)whole;
}

/* {"values", "saturated", "clipped"}: how many values the samples have, and what share of them is 0 or 255, and was
 * clipped (null where a shard does not say: it is an older version's). null of float samples. */
static json_t *describe_pixels(const struct conclusion *conclusion) {
    const struct run *run = &conclusion->cell->run;
    const struct sample_form form = card_sample(&run->card);
    uint64_t values = run->layout.samples * sample_elements(&form), saturated = 0, clipped = 0;
    bool counted = true;
    if (run->job.output.dtype != SAMPLE_UINT8) return json_null();
    for (uint64_t i = 0; i < layout_shards(&run->layout); i++) {
        const struct shard_info *info = &conclusion->status[i].samples_info;
        saturated += info->saturated;
        clipped += info->clipped;
        counted &= info->counted;
    }
    if (counted && share(clipped, values) > CLIPPED_MOST)
        log_warn(
            "%s: %.0f %% of the pixel values lay beyond the model's range and were clipped: is the sampler unstable "
            "or guided too strongly, or the model's card wrong (qtaylor check)?",
            run->dir, 100 * share(clipped, values));
    return json_pack("{s:I, s:f, s:o}", "values", (json_int_t)values, "saturated", share(saturated, values), "clipped",
                     counted ? json_real(share(clipped, values)) : json_null());
}

static int write_manifest(struct conclusion *conclusion, struct error *err) {
    struct shard_info *infos = infos_of(conclusion);
    const struct file_guard guard = {.check = claim_guard, .context = &conclusion->cell->run};
    int rc = infos ? result_manifest(&conclusion->cell->run, infos, &guard, conclusion->digest, err)
                   : error_memory(err);
    free(infos);
    return rc;
}

static int repair_manifest(struct conclusion *conclusion, struct error *err) {
    struct shard_info *infos = infos_of(conclusion);
    bool same = false;
    int rc = infos ? result_manifest_same(&conclusion->cell->run, infos, &same, err) : error_memory(err);
    free(infos);
    return rc == 0 && !same ? write_manifest(conclusion, err) : rc;
}

/* Those of one network. In a worker thread OpenMP gives one thread only, unless asked for more. */
static int network_metrics(struct conclusion *conclusion, size_t network, struct references *references, int threads,
                           json_t *values, json_t *networks, struct error *err) {
    const struct run *run = &conclusion->cell->run;
    const struct side *files[EVALUATED_FILES];
    struct side samples;
    int levels = omp_get_max_active_levels(), before = omp_get_max_threads();
    if (references_all(references, run, network, true, files, err) != 0 ||
        evaluation_take(run, network, conclusion->features, &samples, err) != 0)
        return -1;
    omp_set_max_active_levels(2);
    omp_set_num_threads(threads);
    int rc = evaluation_metrics(run, network, &samples, files, values, networks, err);
    omp_set_num_threads(before);
    omp_set_max_active_levels(levels);
    side_release(&samples);
    return rc;
}

static int compute_metrics(struct conclusion *conclusion, struct references *references, int threads, json_t **values,
                           struct error *err) {
    const struct run *run = &conclusion->cell->run;
    json_t *networks = run->evaluated_count > 1 ? json_object() : NULL;
    *values = json_object();
    int rc = *values && (networks || run->evaluated_count <= 1) ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < run->evaluated_count; i++)
        rc = network_metrics(conclusion, i, references, threads, *values, networks, err);
    if (rc == 0 && networks) rc = values_mean(*values, "fdr", err);
    if (rc == 0 && networks && json_object_set(*values, "networks", networks) != 0) rc = error_memory(err);
    json_decref(networks);
    return rc;
}

/* Where the metrics of the first samples are; where those of all stood, if it is there. */
static void tell_fewer(const struct conclusion *conclusion, const json_t *values, const char *path) {
    const json_t *older = json_object_get(conclusion->older, "metrics");
    json_int_t before = json_integer_value(json_object_get(older, "samples")),
               now = json_integer_value(json_object_get(values, "samples"));
    if (conclusion->cell->count)
        log_info("%s: the metrics of the first %lld of %llu samples; metrics.json, which `report` reads, is as it was",
                 path, (long long)now, (unsigned long long)conclusion->cell->run.layout.samples);
    else if (conclusion->cell->run.job.evaluate.count && now < before)
        log_info("%s/metrics.json is now of the first %lld samples, no longer of %lld: for those again "
                 "run it without evaluate.count",
                 conclusion->cell->run.dir, (long long)now, (long long)before);
}

static int conclude(struct conclusion *conclusion, struct references *references, const struct place *place,
                    int threads, struct error *err) {
    const struct run *run = &conclusion->cell->run;
    char *picture = NULL, *path = result_path(conclusion->cell);
    bool round = conclusion->cell->round;
    json_t *values = json_incref(json_object_get(conclusion->round, "metrics"));
    const struct file_guard guard = {.check = round ? claim_guard_shard : claim_guard, .context = run};
    int rc = path ? guard.check(run, NULL, err)
                  : error_memory(err); /* of a run that was extended the last shard is another's */
    if (rc == 0) rc = scan_gaps(run, conclusion->status, is_featureless(conclusion) ? GAP_SAMPLES : GAP_ANY, err);
    if (rc == 0) rc = round ? digest_shards(conclusion, err) : write_manifest(conclusion, err);
    if (rc == 0 && is_featureless(conclusion))
        rc = error_set(err, CODE_DATA,
                       "%s: its samples are all there, but the features of %g shards failed (the warnings say why): "
                       "mend or change evaluate.features and run again",
                       run->dir, conclusion->made.values[MADE_FEATURELESS]);
    if (rc == 0 && run->job.evaluate.enabled && !values)
        rc = compute_metrics(conclusion, references, threads, &values, err);
    if (rc == 0 && !round && result_has_picture(run)) rc = result_picture(run, &picture, err);
    if (rc == 0) {
        uint64_t made = conclusion->cell->made + (uint64_t)conclusion->made.values[MADE_SAMPLES];
        json_t *result = json_pack("{s:s, s:s, s:I, s:s, s:i, s:i, s:I, s:o, s:o, s:O?, s:O?, s:s?, s:O*, s:O*}", "run",
                                   run->dir, "solver", run->plan.solver, "samples", (json_int_t)run->layout.samples,
                                   "payload_sha256", conclusion->digest, "nfe", run->plan.nfe, "model_calls",
                                   run->plan.model_calls, "made_now", (json_int_t)made, "generation",
                                   describe_generation(conclusion, place), "pixels", describe_pixels(conclusion),
                                   "metrics", values, "inputs", conclusion->inputs, "picture", picture, "stopped",
                                   json_object_get(run->document, "stopped"), "latents_of",
                                   json_object_get(run->document, "latents_of"));
        rc = result ? result_seal(result, err) : error_memory(err);
        if (rc == 0) rc = json_file_write_guarded(path, result, &guard, err);
        json_decref(result);
    }
    if (rc == 0 && !round) tell_fewer(conclusion, values, path);
    json_decref(values);
    free(picture);
    free(path);
    return rc;
}

/* Nothing was made and nothing is to be computed. */
static int keep_metrics(struct conclusion *conclusion, struct error *err) {
    const struct run *run = &conclusion->cell->run;
    const struct file_guard guard = {.check = claim_guard, .context = run};
    if (conclusion->cell->round) return claim_guard_shard(run, NULL, err);
    if (claim_check(run, err) != 0 || repair_manifest(conclusion, err) != 0) return -1;
    if (json_integer_value(json_object_get(conclusion->older, "made_now")) == 0) return 0;
    char *path = text_new("%s/metrics.json", run->dir);
    int rc = path && json_object_set_new(conclusion->older, "made_now", json_integer(0)) == 0
                 ? json_file_write_guarded(path, conclusion->older, &guard, err)
                 : error_memory(err);
    free(path);
    return rc;
}

int conclusion_commit(struct conclusion *conclusion, struct references *references, const struct place *place,
                      int threads, const volatile sig_atomic_t *stop, struct tally *tally, struct error *err) {
    struct error *failure = &conclusion->failure;
    if (*stop) return error_set(err, CODE_AGAIN, "interrupted");
    int rc = failure->code != CODE_OK ? -1
             : conclusion->current    ? keep_metrics(conclusion, failure)
                                      : conclude(conclusion, references, place, threads, failure);
    if (rc == 0) {
        log_event("%s\"concluded\": %s, \"seconds\": %.3f", conclusion->cell->tag,
                  conclusion->current ? "\"as before\"" : "\"now\"", clock_seconds() - conclusion->start);
        return 0;
    }
    struct error lost; /* that explains shards which are not what they were, too */
    *err = failure->code != CODE_IO && claim_check(&conclusion->cell->run, &lost) != 0 ? lost : *failure;
    if (err->code == CODE_IO) return -1;
    log_error("%s", err->message);
    tally->code = err->code;
    return 0;
}

int conclude_quarantined(const struct cell *cell, double patience, const volatile sig_atomic_t *stop,
                         struct error *err) {
    const struct run *run = &cell->run;
    const struct file_guard guard = {.check = claim_guard, .context = run};
    struct error failure = {.code = CODE_OK};
    double until = clock_seconds() + patience;
    uint64_t shards = layout_shards(&run->layout), samples = 0;
    struct conclusion conclusion = {.cell = cell, .status = malloc(shards * sizeof *conclusion.status)};
    char *path = text_new("%s/metrics.json", run->dir);
    int rc = path && conclusion.status ? 0 : error_memory(err);
    if (rc == 0) memcpy(conclusion.status, cell->status, shards * sizeof *cell->status);
#pragma omp parallel for schedule(dynamic)
    for (uint64_t i = 0; i < (rc == 0 ? shards : 0); i++) {
        struct error one;
        double last = quarantine_find(cell->quarantine, i) ? 0 : until;
        if (read_made(run, (shard_id){i}, &conclusion.status[i], NULL, false, last, stop, &one) != 0) {
#pragma omp critical(quarantine_failure)
            failure = one;
        }
    }
    if (rc == 0 && failure.code != CODE_OK) rc = (*err = failure, -1);
    for (uint64_t i = 0; rc == 0 && i < shards; i++)
        if (scan_good(run, &conclusion.status[i])) samples += layout_rows(&run->layout, (shard_id){i});
    if (rc == 0) rc = write_manifest(&conclusion, err);
    if (rc == 0) {
        json_t *result = json_pack("{s:s, s:s, s:I, s:n, s:i, s:i, s:n, s:O}", "run", run->dir, "solver",
                                   run->plan.solver, "samples", (json_int_t)samples, "payload_sha256", "nfe",
                                   run->plan.nfe, "model_calls", run->plan.model_calls, "metrics", "quarantine",
                                   cell->quarantine);
        rc = result ? json_file_write_guarded(path, result, &guard, err) : error_memory(err);
        json_decref(result);
    }
    free(conclusion.status);
    free(path);
    return rc;
}
