/* The features of a run, and its metrics. */
#include "work/evaluation.h"

#include "base/digests.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/build.h"
#include "eval/side_read.h"
#include "format/json_file.h"
#include "metric/score.h"
#include "metric/values.h"
#include "run/scan.h"
#include "work/reference_images.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How many samples are evaluated. */
static int count_of(const struct run *run, uint64_t *count, struct error *err) {
    uint64_t all = run->layout.samples;
    *count = run->job.evaluate.count ? run->job.evaluate.count : all;
    if (*count <= all) return 0;
    return error_set(err, CODE_DATA, "evaluate.count: expected at most %llu, the samples of %s, found %llu",
                     (unsigned long long)all, run->dir, (unsigned long long)*count);
}

int evaluation_room(const struct run *run, struct features *features, struct error *err) {
    uint64_t count;
    int rc = 0;
    memset(features, 0, FEATURE_FILES * sizeof *features);
    if (count_of(run, &count, err) != 0) return -1;
    for (int k = 0; k < FEATURE_FILES; k++) {
        if (!run_wants(run, k)) continue;
        size_t dim = run_output(run, k)->dim;
        features[k] = (struct features){(size_t)count, dim, malloc((size_t)count * dim * sizeof(float))};
        if (!features[k].rows) rc = error_memory(err);
    }
    for (int k = 0; rc != 0 && k < FEATURE_FILES; k++) features_release(&features[k]);
    return rc;
}

int evaluation_take(const struct run *run, size_t network, struct features *features, struct side *side,
                    struct error *err) {
    const struct network *of = &run->evaluated[network].network;
    int rc = 0;
    *side = (struct side){0};
    memcpy(side->network, of->sha256, SHA256_HEX);
    memcpy(side->name, of->name, NETWORK_NAME);
    network_shape(of, side->shape);
    features += network * NETWORK_OUTPUTS;
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++) {
        int output = network_find(of, kind);
        if (output < 0 || !features[output].rows) continue;
        if (rc == 0) rc = side_take(side, kind, &features[output], err);
        else features_release(&features[output]);
    }
    if (rc != 0) side_release(side);
    return rc;
}

int evaluation_side(const struct run *run, size_t network, struct side *side, struct error *err) {
    struct features features[FEATURE_FILES];
    uint64_t shards = layout_shards(&run->layout);
    struct shard_status *status = calloc(shards, sizeof *status);
    int rc = status ? evaluation_room(run, features, err) : error_memory(err);
    for (int k = 0; rc == 0 && k < FEATURE_FILES; k++)
        if ((size_t)k / NETWORK_OUTPUTS != network) features_release(&features[k]); /* are not read */
    bool room = rc == 0;
    uint64_t count = run->job.evaluate.count ? run->job.evaluate.count : run->layout.samples;
    struct error failure = {.code = CODE_OK};
#pragma omp parallel for schedule(dynamic)
    for (uint64_t i = 0; i < (rc == 0 ? shards : 0); i++) { /* latents, and later shards, are not looked at */
        struct error one;
        memset(&status[i], SHARD_GOOD, offsetof(struct shard_status, samples_info));
        if (layout_first(&run->layout, (shard_id){i}) >= count) continue;
        status[i].samples = SHARD_UNKNOWN; /* features of samples that are damaged are of nothing that there is */
        if (scan_shard(run, (shard_id){i}, &status[i], features, &one) != 0) {
#pragma omp critical(evaluation_failure)
            failure = one;
        }
    }
    if (failure.code != CODE_OK) rc = (*err = failure, -1);
    if (rc == 0) rc = scan_gaps(run, status, GAP_ANY, err);
    if (rc == 0) rc = evaluation_take(run, network, features, side, err);
    else
        for (int k = 0; room && k < FEATURE_FILES; k++) features_release(&features[k]);
    free(status);
    return rc;
}

int evaluation_reference(const struct run *run, size_t network, enum evaluated_file which, struct side *reference,
                         struct error *err) {
    const char *path = run_evaluated_file(run, network, which), *agreed = run->evaluated[network].files[which].sha256;
    char sha256[SHA256_HEX], after[SHA256_HEX];
    if (digest_file(path, sha256, err) != 0) return -1;
    if (agreed[0] && sha256_expect(path, sha256, agreed, err) != 0) return -1;
    if (side_read(reference, path, NULL, err) != 0) return -1;
    memcpy(reference->sha256, sha256, SHA256_HEX);
    int rc = digest_file(path, after, err);
    if (rc == 0 && strcmp(sha256, after) != 0)
        rc = error_set(err, CODE_DATA, "%s was replaced while it was read: run again", path);
    if (rc != 0) side_release(reference);
    return rc;
}

/* Names the network where there are several. */
static int in_network(const struct run *run, size_t network, struct error *err) {
    return run->evaluated_count > 1 ? error_prefix(err, "%s", run->evaluated[network].network.name) : -1;
}

static struct score_options options_of(const struct run *run, const struct side *const files[EVALUATED_FILES]) {
    return (struct score_options){
        .metrics = run->job.evaluate.metrics, .validation = files[EVALUATED_VALIDATION], .text = files[EVALUATED_TEXT]};
}

/* Are the rows of the texts those of the conditions? */
static int check_texts(const struct run *run, const struct side *text, struct error *err) {
    if (!(run->job.evaluate.metrics >> METRIC_CLIP_SCORE & 1) || !text) return 0;
    if (run->job.conditions.count == 0)
        return error_set(err, CODE_DATA,
                         "clip-score needs a job with conditions, whose rows say which text a sample has");
    size_t count = text->views[0].features.count;
    if (run->condition_rows == 0 || count == run->condition_rows) return 0; /* 0: not known yet */
    return error_set(err, CODE_DATA, "clip-score: the conditions have %llu rows, and there are %zu texts",
                     (unsigned long long)run->condition_rows, count);
}

/* FDr divides by the distance between the two. */
static int check_validation(const struct run *run, size_t network, const struct side *const files[EVALUATED_FILES],
                            struct error *err) {
    const char *reference = run->evaluated[network].files[EVALUATED_REFERENCE].path,
               *validation = run->evaluated[network].files[EVALUATED_VALIDATION].path;
    const struct side *a = files[EVALUATED_REFERENCE], *b = files[EVALUATED_VALIDATION];
    if (!(run->job.evaluate.metrics >> METRIC_FDR & 1) || !validation) return 0;
    if (strcmp(reference, validation) != 0 && !(a && b && a->sha256[0] && strcmp(a->sha256, b->sha256) == 0)) return 0;
    return error_set(err, CODE_DATA,
                     "fdr: the validation set %s is the same set as the reference: expected other "
                     "images of the same kind",
                     validation);
}

int evaluation_fits(const struct run *run, size_t network, const struct side *const files[EVALUATED_FILES], bool warn,
                    struct error *err) {
    const struct network *of = &run->evaluated[network].network;
    static uint64_t some;
    struct side samples = {.foreseen = true, .text_rows = &some}; /* whose numbers are looked at here */
    const struct side *reference = files[EVALUATED_REFERENCE];
    struct score_options options = options_of(run, files);
    uint64_t count;
    float one = 0;
    if (count_of(run, &count, err) != 0 || score_enough(options.metrics, count, err) != 0) return -1;
    memcpy(samples.network, of->sha256, SHA256_HEX);
    network_shape(of, samples.shape);
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++) {
        int output = network_find(of, kind);
        size_t dim = output < 0 ? 0 : of->outputs[output].dim;
        samples.views[kind] = (struct view){.features = {(size_t)count, dim, &one}, .statistics = {.dim = dim}};
    }
    if (score_check(&options, &samples, reference, err) != 0 || check_texts(run, options.text, err) != 0 ||
        check_validation(run, network, files, err) != 0) {
        error_prefix(err, "%s", run->evaluated[network].files[EVALUATED_REFERENCE].path);
        return in_network(run, network, err);
    }
    if (!warn) return 0;
    if (reference && !reference->network[0])
        log_info("evaluate.reference: %s does not say which feature network it is of: that it is %s is not checked",
                 run->evaluated[network].files[EVALUATED_REFERENCE].path, of->name);
    score_warn(&options, &samples, reference);
    return 0;
}

static int foresee_network(const struct run *run, size_t network, struct error *err) {
    struct side sides[EVALUATED_FILES] = {{.untyped = false}};
    const struct side *files[EVALUATED_FILES] = {NULL};
    bool images = false, any = false;
    int rc = 0;
    for (int which = 0; rc == 0 && which < EVALUATED_FILES; which++) {
        const char *path = run->evaluated[network].files[which].path;
        if (!path) continue;
        rc = side_holds_images(&images, path, err);
        any |= images;
        if (rc == 0 && images) rc = reference_images_check(run, network, path, evaluated_file_names[which], err);
        else if (rc == 0 && (rc = side_read(&sides[which], path, NULL, err)) == 0) files[which] = &sides[which];
        if (rc == 0 && !images) rc = digest_file(path, sides[which].sha256, err);
    }
    if (rc == 0 && any) rc = check_validation(run, network, files, err); /* images give what metrics need */
    else if (rc == 0) rc = evaluation_fits(run, network, files, true, err);
    for (int which = 0; which < EVALUATED_FILES; which++) side_release(&sides[which]);
    return rc;
}

int evaluation_foresee(const struct job *job, const struct card *card, bool files, struct error *err) {
    struct run run = {.job = *job, .card = *card, .dir = job->output.dir, .layout.samples = job->seeds.count};
    /* borrowed */
    uint64_t count;
    if (!job->evaluate.enabled) return 0;
    int rc = count_of(&run, &count, err);
    if (rc == 0) rc = score_enough(job->evaluate.metrics, count, err);
    if (rc != 0 || !files) return rc;
    rc = run_open_networks(&run, err);
    for (size_t i = 0; rc == 0 && i < run.evaluated_count; i++) rc = foresee_network(&run, i, err);
    run_close_networks(&run);
    return rc;
}

/* ---- the metrics ---- */

/* What one network's metrics were computed with, into `to`. */
static int describe(const struct run *run, size_t network, const struct side *const files[EVALUATED_FILES], json_t *to,
                    struct error *err) {
    const struct evaluated *evaluated = &run->evaluated[network];
    const struct side *reference = files[EVALUATED_REFERENCE];
    json_t *outputs = json_object();
    for (int k = 0; k < NETWORK_OUTPUTS; k++) {
        const struct network_output *output = &evaluated->network.outputs[k];
        if (output->wanted) json_map_add(&outputs, output->name, json_integer((json_int_t)output->dim));
    }
    const char *recipe = side_recipe(reference), *path = evaluated->path ? evaluated->path : "none";
    json_t *members = json_pack("{s:{s:s, s:o, s:s, s:s*}, s:{s:o, s:s*, s:s}}", "reference", "path",
                                evaluated->files[EVALUATED_REFERENCE].path, "count", values_count(reference), "sha256",
                                reference->sha256, "recipe", recipe[0] ? recipe : NULL, "network", "outputs", outputs,
                                "path", run->evaluated_count > 1 ? path : NULL, "sha256", evaluated->network.sha256);
    for (int which = EVALUATED_VALIDATION; which < EVALUATED_FILES; which++)
        if (evaluated->files[which].path)
            json_map_add(&members, evaluated_file_names[which],
                         json_pack("{s:s, s:o, s:s}", "path", evaluated->files[which].path, "count",
                                   values_count(files[which]), "sha256", evaluated->files[which].sha256));
    return json_object_update_new(to, members) == 0 ? 0 : error_memory(err);
}

/* Adds a file's digests, where there is any. */
static int add_file(const struct run *run, enum evaluated_file which, json_t *inputs, struct error *err) {
    bool any = false;
    for (size_t i = 0; i < run->evaluated_count; i++) any |= run->evaluated[i].files[which].path != NULL;
    if (!any) return 0;
    return json_object_set_new(inputs, evaluated_file_names[which], run_digests(run, (int)which)) == 0
               ? 0
               : error_memory(err);
}

int evaluation_inputs(const struct run *run, json_t **inputs, struct error *err) {
    json_t *versions = build_versions(), *names = json_array();
    *inputs = NULL;
    int rc = 0;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (run->job.evaluate.metrics & 1u << metric) json_list_add(&names, json_string(metric_names[metric]));
    if (run->job.evaluate.enabled &&
        !(*inputs = json_pack("{s:O, s:I, s:o, s:o, s:O, s:O}", "metrics", names, "count",
                              (json_int_t)run->job.evaluate.count, "network", run_digests(run, NETWORK_DIGESTS),
                              "reference", run_digests(run, EVALUATED_REFERENCE), "qtaylor",
                              json_object_get(versions, "qtaylor"), "commit", json_object_get(versions, "commit"))))
        rc = error_memory(err);
    for (enum evaluated_file which = EVALUATED_VALIDATION; rc == 0 && *inputs && which < EVALUATED_FILES; which++)
        rc = add_file(run, which, *inputs, err);
    json_decref(names);
    json_decref(versions);
    return rc;
}

uint64_t *evaluation_text_rows(const struct run *run, size_t count) {
    uint64_t *rows = malloc((count + 1) * sizeof *rows);
    for (size_t i = 0; rows && i < count; i++) rows[i] = run_row(run, i);
    return rows;
}

int evaluation_metrics(const struct run *run, size_t network, const struct side *samples,
                       const struct side *const files[EVALUATED_FILES], json_t *metrics, json_t *networks,
                       struct error *err) {
    const struct score_options options = options_of(run, files);
    size_t count = values_counts(samples).rows;
    struct side with = *samples; /* borrowed, but for the rows */
    json_t *values, *about = networks ? json_object() : metrics;
    with.text_rows = options.text ? evaluation_text_rows(run, count) : NULL;
    int failed = options.text && !with.text_rows ? error_memory(err)
                                                 : score(&values, &options, &with, files[EVALUATED_REFERENCE], err);
    free(with.text_rows);
    if (failed) {
        if (networks) json_decref(about);
        return in_network(run, network, err);
    }
    int rc = values_put(metrics, networks ? run->evaluated[network].network.name : NULL, values, err);
    json_decref(values);
    if (rc == 0 && json_object_set_new(metrics, "samples", json_integer((json_int_t)count)) != 0)
        rc = error_memory(err);
    if (rc == 0) rc = describe(run, network, files, about, err);
    if (networks && json_object_set_new(networks, run->evaluated[network].network.name, about) != 0 && rc == 0)
        rc = error_memory(err);
    return rc;
}

void evaluation_unreached(const struct run *run) {
    double target = run->job.evaluate.fid_error;
    json_t *result = NULL;
    struct error ignored;
    char *path = text_new("%s/metrics.json", run->dir);
    if (!isnan(target) && path && json_file_read(&result, path, &ignored) == 0) {
        const json_t *error = json_object_get(json_object_get(result, "metrics"), "fid_error");
        char found[32] = "not known";
        if (error) snprintf(found, sizeof found, "%.4g", json_number_value(error));
        if (!error || json_number_value(error) > target)
            log_warn("%s: with all %llu seeds the FID's standard error is %s, not %.4g as evaluate.until asks",
                     run->dir, (unsigned long long)run->job.seeds.count, found, target);
    }
    json_decref(result);
    free(path);
}
