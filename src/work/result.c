/* Manifest, metrics and picture of a run. */
#include "work/result.h"

#include "base/files.h"
#include "base/draft.h"
#include "base/text.h"
#include "metric/score.h"
#include "eval/side_read.h"
#include "report/picture.h"
#include "cluster/build.h"
#include "run/claim.h"
#include "run/scan.h"
#include "work/reference_images.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 10 }; /* rows and columns of the picture */

static int compare_manifest(const struct run *run, const struct shard_meta *metas, const struct shard_info *infos,
                            bool *same, struct error *err) {
    struct text text = {0};
    struct error unreadable; /* then it is not the same */
    char *path = text_new("%s/manifest.jsonl", run->dir), *there = NULL;
    size_t size;
    int rc = path ? store_manifest_text(&text, metas, infos, layout_shards(&run->layout), err) : error_memory(err);
    *same = rc == 0 && file_read(path, &there, &size, &unreadable) == 0 && size == text.length &&
            memcmp(there, text.data ? text.data : "", size) == 0;
    free(there);
    free(path);
    text_release(&text);
    return rc;
}

/* guard NULL: only compared with what is there, *same. */
static int manifest(const struct run *run, const struct shard_info *infos, const struct file_guard *guard, bool *same,
                    struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    struct shard_meta *metas = calloc(shards, sizeof *metas);
    uint64_t *seeds = malloc(run->layout.samples * sizeof *seeds);
    int64_t *labels = malloc(run->layout.samples * sizeof *labels);
    int rc = metas && seeds && labels ? 0 : error_memory(err);
    for (uint64_t i = 0; rc == 0 && i < shards; i++) {
        uint64_t first = layout_first(&run->layout, (shard_id){i});
        metas[i] = run_meta(run, (shard_id){i}, SAMPLES, seeds + first, labels + first);
    }
    if (rc == 0 && guard) rc = store_manifest(run->dir, metas, infos, shards, guard, err);
    if (rc == 0 && !guard) rc = compare_manifest(run, metas, infos, same, err);
    free(labels);
    free(seeds);
    free(metas);
    return rc;
}

int result_manifest(const struct run *run, const struct shard_info *infos, const struct file_guard *guard,
                    char digest[SHA256_HEX], struct error *err) {
    if (manifest(run, infos, guard, NULL, err) != 0) return -1;
    store_payload_digest(infos, layout_shards(&run->layout), digest);
    return 0;
}

int result_manifest_same(const struct run *run, const struct shard_info *infos, bool *same, struct error *err) {
    return manifest(run, infos, NULL, same, err);
}

/* How many samples are evaluated. */
static int count_of(const struct run *run, uint64_t *count, struct error *err) {
    uint64_t all = run->job.seeds.count;
    *count = run->job.evaluate.count ? run->job.evaluate.count : all;
    if (*count <= all) return 0;
    return error_set(err, CODE_DATA, "evaluate.count: expected at most %llu, the samples of %s, found %llu",
                     (unsigned long long)all, run->dir, (unsigned long long)*count);
}

int result_room(const struct run *run, struct features *features, struct error *err) {
    uint64_t count;
    int rc = 0;
    memset(features, 0, NETWORK_OUTPUTS * sizeof *features);
    if (count_of(run, &count, err) != 0) return -1;
    for (int k = 0; k < NETWORK_OUTPUTS; k++) {
        size_t dim = run->network.outputs[k].dim;
        if (!run_wants(run, k)) continue;
        features[k] = (struct features){(size_t)count, dim, malloc((size_t)count * dim * sizeof(float))};
        if (!features[k].rows) rc = error_memory(err);
    }
    for (int k = 0; rc != 0 && k < NETWORK_OUTPUTS; k++) features_release(&features[k]);
    return rc;
}

int result_take(const struct run *run, struct features *features, struct side *side, struct error *err) {
    int rc = 0;
    *side = (struct side){0};
    memcpy(side->network, run->network.sha256, SHA256_HEX);
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++) {
        int output = network_find(&run->network, kind);
        if (output < 0 || !features[output].rows) continue;
        if (rc == 0) rc = side_take(side, kind, &features[output], err);
        else features_release(&features[output]);
    }
    if (rc != 0) side_release(side);
    return rc;
}

int result_side(const struct run *run, struct side *side, struct error *err) {
    struct features features[NETWORK_OUTPUTS];
    uint64_t shards = layout_shards(&run->layout);
    struct shard_status *status = calloc(shards, sizeof *status);
    int rc = status ? result_room(run, features, err) : error_memory(err);
    bool room = rc == 0;
    uint64_t count = run->job.evaluate.count ? run->job.evaluate.count : run->layout.samples;
    for (uint64_t i = 0; rc == 0 && i < shards; i++) { /* samples, and features of later ones, are not looked at */
        memset(&status[i], SHARD_GOOD, offsetof(struct shard_status, samples_info));
        if (layout_first(&run->layout, (shard_id){i}) < count)
            rc = scan_shard(run, (shard_id){i}, &status[i], features, err);
    }
    if (rc == 0) rc = scan_gaps(run, status, GAP_ANY, err);
    if (rc == 0) rc = result_take(run, features, side, err);
    else
        for (int k = 0; room && k < NETWORK_OUTPUTS; k++) features_release(&features[k]);
    free(status);
    return rc;
}

int result_reference(const struct run *run, struct side *reference, struct error *err) {
    const char *path = run_reference(run);
    char sha256[SHA256_HEX], after[SHA256_HEX];
    if (sha256_file(path, sha256, err) != 0) return -1;
    if (run->reference[0] && sha256_expect(path, sha256, run->reference, err) != 0) return -1;
    if (side_read(reference, path, NULL, err) != 0) return -1;
    memcpy(reference->sha256, sha256, SHA256_HEX);
    int rc = sha256_file(path, after, err);
    if (rc == 0 && strcmp(sha256, after) != 0)
        rc = error_set(err, CODE_DATA, "%s was replaced while it was read: run again", path);
    if (rc != 0) side_release(reference);
    return rc;
}

int result_fits(const struct run *run, const struct side *reference, bool warn, struct error *err) {
    struct side samples = {.untyped = false}; /* as they will be */
    const struct score_options options = {.metrics = run->job.evaluate.metrics};
    uint64_t count;
    float one = 0;
    if (count_of(run, &count, err) != 0 || score_enough(options.metrics, count, err) != 0) return -1;
    memcpy(samples.network, run->network.sha256, SHA256_HEX);
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++) {
        int output = network_find(&run->network, kind);
        size_t dim = output < 0 ? 0 : run->network.outputs[output].dim;
        samples.views[kind] = (struct view){.features = {(size_t)count, dim, &one}, .statistics = {.dim = dim}};
    }
    if (score_check(options.metrics, &samples, reference, err) != 0)
        return error_prefix(err, "%s", run->job.evaluate.reference);
    if (warn) score_warn(&options, &samples, reference);
    return 0;
}

int result_foresee(const struct job *job, const struct card *card, bool files, struct error *err) {
    struct run run = {.job = *job, .card = *card, .dir = job->output.dir}; /* borrowed */
    struct side reference;
    uint64_t count;
    bool images;
    if (!job->evaluate.enabled) return 0;
    int rc = count_of(&run, &count, err);
    if (rc == 0) rc = score_enough(job->evaluate.metrics, count, err);
    if (rc != 0 || !files) return rc;
    rc = network_open(&run.network, job->evaluate.features, card, job->evaluate.metrics, err);
    if (rc == 0) rc = side_holds_images(&images, job->evaluate.reference, err);
    if (rc == 0 && images) rc = reference_images_check(job->evaluate.reference, err); /* they give what metrics need */
    else if (rc == 0 && (rc = side_read(&reference, job->evaluate.reference, NULL, err)) == 0) {
        rc = result_fits(&run, &reference, true, err);
        side_release(&reference);
    }
    network_release(&run.network);
    return rc;
}

/* What the metrics were computed with. New. */
static json_t *describe(const struct run *run, const struct side *samples, const struct side *reference) {
    json_t *outputs = json_object();
    uint64_t count = 0, reference_count = 0;
    for (int kind = 0; kind < FEATURE_KINDS; kind++) {
        if (samples->views[kind].features.count > count) count = samples->views[kind].features.count;
        if (reference->views[kind].statistics.count > reference_count)
            reference_count = reference->views[kind].statistics.count;
    }
    for (int k = 0; k < NETWORK_OUTPUTS; k++)
        if (run_wants(run, k))
            json_object_set_new(outputs, run->network.outputs[k].name,
                                json_integer((json_int_t)run->network.outputs[k].dim));
    const char *recipe = side_recipe(reference);
    return json_pack("{s:I, s:{s:s, s:o, s:s, s:s*}, s:{s:o, s:s}}", "samples", (json_int_t)count, "reference", "path",
                     run->job.evaluate.reference, "count",
                     reference_count ? json_integer((json_int_t)reference_count) : json_null(), "sha256",
                     reference->sha256, "recipe", recipe[0] ? recipe : NULL, "network", "outputs", outputs, "sha256",
                     run->network.sha256);
}

int result_inputs(const struct run *run, json_t **inputs, struct error *err) {
    json_t *versions = build_versions(), *names = json_array();
    *inputs = NULL;
    int rc = 0;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (run->job.evaluate.metrics & 1u << metric) json_array_append_new(names, json_string(metric_names[metric]));
    if (run->job.evaluate.enabled &&
        !(*inputs = json_pack("{s:O, s:I, s:s, s:s, s:O, s:O}", "metrics", names, "count",
                              (json_int_t)run->job.evaluate.count, "network", run->network.sha256, "reference",
                              run->reference, "qtaylor", json_object_get(versions, "qtaylor"), "commit",
                              json_object_get(versions, "commit"))))
        rc = error_memory(err);
    json_decref(names);
    json_decref(versions);
    return rc;
}

int result_metrics(const struct run *run, const struct side *samples, const struct side *reference, json_t **metrics,
                   struct error *err) {
    struct score_options options = {.metrics = run->job.evaluate.metrics};
    int rc = score(metrics, &options, samples, reference, err);
    if (rc == 0 && json_object_update_new(*metrics, describe(run, samples, reference)) != 0) rc = error_memory(err);
    return rc;
}

/* Which cell of the sheet a sample goes to: one class a row where there are classes, else in order. -1: none. */
static int cell_of(const struct run *run, uint64_t position, int filled[SIDE]) {
    int64_t classes = run->card.classes;
    int64_t row = classes > 1 ? run_label(run, position) : (int64_t)position / SIDE;
    if (row < 0 || row >= SIDE || filled[row] == SIDE) return -1;
    return (int)row * SIDE + filled[row]++;
}

bool result_has_picture(const struct run *run) {
    int channels = card_sample(&run->card).channels;
    return run->job.output.dtype == SAMPLE_UINT8 && (channels == 1 || channels == 3);
}

int result_picture(const struct run *run, char **path, struct error *err) {
    const struct sample_form form = card_sample(&run->card);
    size_t bytes = sample_elements(&form);
    uint8_t *pixels = calloc(SIDE * SIDE, bytes);
    const uint8_t *cells[SIDE * SIDE] = {NULL};
    int filled[SIDE] = {0}, found = 0, rc = pixels ? 0 : error_memory(err);
    /* Enough samples for ten of each of ten classes, unless the classes are many or rare. */
    uint64_t wanted = run->layout.samples < 100 * SIDE * SIDE ? run->layout.samples : 100 * SIDE * SIDE;
    for (uint64_t i = 0; rc == 0 && found < SIDE * SIDE && i * run->layout.shard_rows < wanted; i++) {
        enum shard_state state;
        struct shard_info info;
        struct error why;
        void *rows = NULL;
        shard_id shard = {i};
        rc = scan_file(run, shard, SAMPLES, &state, &info, &rows, &why, err);
        if (rc == 0 && state != SHARD_GOOD)
            rc = error_set(err, CODE_AGAIN, "shard %llu: %s", (unsigned long long)i, why.message);
        for (uint64_t row = 0; rc == 0 && row < layout_rows(&run->layout, shard); row++) {
            int cell = cell_of(run, layout_first(&run->layout, shard) + row, filled);
            if (cell < 0) continue;
            cells[cell] = memcpy(pixels + (size_t)cell * bytes, (const uint8_t *)rows + row * bytes, bytes);
            found++;
        }
        free(rows);
    }
    *path = NULL;
    if (rc == 0 && !(*path = text_new("%s/grid.png", run->dir))) rc = error_memory(err);
    const struct file_guard guard = {.check = claim_guard, .context = run};
    if (rc == 0) rc = picture_grid(*path, cells, SIDE, SIDE, form.height, form.width, form.channels, 0, &guard, err);
    free(pixels);
    return rc;
}
