/* Makes shards: samples and features of each batch, then their files. */
#include "work/shard_maker.h"

#include "base/clock.h"
#include "base/draft.h"
#include "base/log.h"
#include "run/claim.h"
#include "format/floats.h"
#include "run/scan.h"
#include "sample/decode.h"
#include "sample/quantise.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a worker ---- */

void maker_leave(struct maker *maker) {
    executor_free(maker->executor);
    plan_release(&maker->plan);
    decoding_free(maker->decoding);
    free(maker->x);
    *maker = (struct maker){.device = maker->device, .stop = maker->stop};
}

int maker_move(struct maker *maker, const struct cell *cell, bool solves, bool decodes, struct error *err) {
    const struct run *run = &cell->run;
    const struct decoder *decoder = run->card.decoder;
    if (maker->cell != cell) {
        maker_leave(maker);
        size_t values = (size_t)run->job.batch * card_elements(&run->card);
        maker->x = malloc(values * sizeof *maker->x);
        if (!maker->x) return error_memory(err);
        maker->cell = cell;
    }
    if (decodes && decoder && !maker->decoding &&
        decoding_new(&maker->decoding, decoder, cell->decoder, decoder_batch(decoder, &run->job), err) != 0)
        return -1;
    if (!solves || maker->executor) return 0;
    plan_release(&maker->plan);
    if (document_read_plan(&maker->plan, run->document, err) != 0) return -1;
    const struct executor_setup setup = {
        .plan = &maker->plan,
        .sampler = &run->sampler,
        .card = &run->card,
        .model = cell->model,
        .guide = cell->guide,
        .conditions = cell->conditions,
        .device = maker->device,
        .batch = run->job.batch,
        .noise = run->job.noise,
        .stop = maker->stop,
    };
    return executor_new(&maker->executor, &setup, err);
}

/* ---- a shard ---- */

struct making {
    const struct cell *cell;
    shard_id shard;
    bool solve, make_samples; /* what is missing: latents (where they are not kept: samples), samples */
    bool found;               /* another job on this directory has made it meanwhile */
    uint64_t *seeds;          /* [rows] */
    int64_t *labels;          /* [rows] */
    char *samples;            /* as stored */
    char sha256[SHA256_HEX];  /* of these, once they are on disk */
    char *latents;            /* the same, where they are kept: to be made, or what samples are made of */
    bool undecoded;           /* some picture failed: latents alone are written, and this is the reason: */
    struct error why;
    uint64_t *condition_rows;       /* [rows] */
    double *scales;                 /* [rows], of guidance; NULL: not by row */
    float *features[FEATURE_FILES]; /* [rows][dim]; NULL: not to be made */
    bool refused;                   /* another job's work is in its place */
    bool featureless;               /* some batch's features failed: the samples are kept without */
    double start;
    /* Added to by several workers: */
    uint64_t clipped; /* of uint8 samples, see quantise.h */
    struct tally tally;
};

/* Names the run and the shard in *err; returns -1. */
static int in_shard(const struct making *making, struct error *err) {
    if (err->code == CODE_AGAIN) return -1;
    return error_prefix(err, "%s: shard %" PRIu64, making->cell->run.dir, making->shard.value);
}

/* Names the seeds too. */
static int in_batch(const struct making *making, size_t row, size_t rows, struct error *err) {
    if (err->code != CODE_AGAIN)
        error_prefix(err, "seeds %" PRIu64 " to %" PRIu64, making->seeds[row], making->seeds[row + rows - 1]);
    return in_shard(making, err);
}

void making_close(struct making *making) {
    if (!making) return;
    for (int k = 0; k < FEATURE_FILES; k++) free(making->features[k]);
    free(making->samples);
    free(making->latents);
    free(making->labels);
    free(making->seeds);
    free(making->condition_rows);
    free(making->scales);
    free(making);
}

/* The samples are there and their features are not, or latents and no samples. */
static int read_back(struct making *making, int output, char **rows, struct error *err) {
    enum shard_state state;
    struct shard_info info;
    struct error why;
    void *stored = NULL;
    if (scan_file(&making->cell->run, making->shard, output, "", &state, &info, &stored, &why, err) != 0) return -1;
    *rows = stored;
    if (output == SAMPLES) memcpy(making->sha256, info.sha256, SHA256_HEX);
    return state == SHARD_GOOD ? 0 : error_set(err, CODE_DATA, "it changed on disk: %s", why.message);
}

int making_open(struct making **making_out, const struct cell *cell, shard_id shard, uint64_t *batches,
                struct error *err) {
    const struct run *run = &cell->run;
    struct shard_status status = cell->status[shard.value]; /* of the start: files may have come since */
    uint64_t rows = layout_rows(&run->layout, shard);
    struct npy npy = run_npy(run, shard, SAMPLES), latents = run_npy(run, shard, LATENTS);
    struct making *making = *making_out = calloc(1, sizeof *making);
    if (!making) return error_memory(err);
    *making = (struct making){.cell = cell, .shard = shard, .start = clock_seconds()};
    if (!cell->afresh && scan_shard(run, shard, &status, NULL, err) != 0) {
        making->refused = err->code == CODE_DATA;
        return -1;
    }
    *batches = 0;
    if ((making->found = scan_good(run, &status))) return 0;
    making->make_samples = status.samples != SHARD_GOOD;
    making->solve = scan_solves(run, &status);
    making->seeds = malloc(rows * sizeof *making->seeds);
    making->labels = malloc(rows * sizeof *making->labels);
    if (making->make_samples) making->samples = malloc(npy_bytes(&npy));
    if (making->solve && run_wants(run, LATENTS)) making->latents = malloc(npy_bytes(&latents));
    if (!making->seeds || !making->labels || (making->make_samples && !making->samples) ||
        (making->solve && run_wants(run, LATENTS) && !making->latents))
        return error_memory(err);
    for (int k = 0; k < FEATURE_FILES; k++) {
        if (!run_wants(run, k) || (status.features[k] == SHARD_GOOD && !making->make_samples)) continue;
        making->features[k] = malloc(rows * run_output(run, k)->dim * sizeof(float));
        if (!making->features[k]) return error_memory(err);
    }
    run_meta(run, shard, SAMPLES, making->seeds, making->labels);
    if (run->condition_rows > 0 && !(making->condition_rows = malloc(rows * sizeof *making->condition_rows)))
        return error_memory(err);
    for (uint64_t i = 0; making->condition_rows && i < rows; i++)
        making->condition_rows[i] = run_row(run, layout_first(&run->layout, shard) + i);
    if (run->lists.scales && !(making->scales = malloc(rows * sizeof *making->scales))) return error_memory(err);
    for (uint64_t i = 0; making->scales && i < rows; i++)
        making->scales[i] = run_scale(run, layout_first(&run->layout, shard) + i);
    *batches = layout_batches(&run->layout, shard);
    int rc = making->make_samples ? 0 : read_back(making, SAMPLES, &making->samples, err);
    if (rc == 0 && making->make_samples && !making->solve) rc = read_back(making, LATENTS, &making->latents, err);
    return rc == 0 ? 0 : in_shard(making, err);
}

static void count(struct making *making, int what, double amount) {
#pragma omp atomic
    making->tally.values[what] += amount;
}

/* Where pictures go. */
struct shelf {
    struct making *making;
    size_t row; /* of the shard, the batch's first */
};

/* values[count][C*H*W], of samples from `row` of the shard on, as they are stored. */
static int store_samples(struct making *making, const void *values, enum npy_type type, size_t row, size_t count,
                         struct error *err) {
    const struct run *run = &making->cell->run;
    const struct sample_form form = card_sample(&run->card);
    const struct npy npy = run_npy(run, making->shard, SAMPLES);
    size_t elements = sample_elements(&form);
    char *stored = making->samples + row * npy_row_bytes(&npy);
    if (run->job.output.dtype == SAMPLE_UINT8) {
        uint64_t clipped = quantise_uint8(values, type, count, &form, run->job.output.rounding, (uint8_t *)stored);
#pragma omp atomic
        making->clipped += clipped;
        return 0;
    }
    for (size_t i = 0; i < count * elements; i++) {
        double value = floats_at(values, type, i);
        floats_put(stored, npy.type, i, value);
        if (!isfinite(floats_at(stored, npy.type, i))) /* finite until now: beyond the type's largest */
            return error_set(err, CODE_DATA, "the sample of seed %" PRIu64 " is not finite as %s: element %zu is %g",
                             making->seeds[row + i / elements], sample_dtype_names[run->job.output.dtype], i % elements,
                             value);
    }
    return 0;
}

static int store_pictures(void *context, size_t first, size_t count, const float *images, struct error *err) {
    const struct shelf *shelf = context;
    return store_samples(shelf->making, images, NPY_FLOAT32, shelf->row + first, count, err);
}

struct batch making_inputs(const struct making *making, uint64_t number) {
    const struct run *run = &making->cell->run;
    size_t row = (size_t)layout_batch_first(&run->layout, number);
    uint64_t position = layout_first(&run->layout, making->shard) + row;
    struct batch batch = {.rows = (size_t)layout_batch_rows(&run->layout, making->shard, number),
                          .seeds = making->seeds + row};
    if (run->card.classes > 0) batch.labels = making->labels + row;
    if (making->condition_rows) batch.condition_rows = making->condition_rows + row;
    if (making->scales) batch.scales = making->scales + row;
    if (making->cell->initial) batch.initial = making->cell->initial + position * card_elements(&run->card);
    return batch;
}

/* x[rows]: what the solver ends with, of latents that are kept as they are stored. */
static int solve_batch(struct making *making, struct maker *maker, size_t row, size_t rows, struct error *err) {
    const struct run *run = &making->cell->run;
    const struct npy npy = run_npy(run, making->shard, LATENTS);
    const struct batch batch = making_inputs(making, row / run->layout.batch);
    size_t elements = card_elements(&run->card);
    int nfe = 0;
    double start = clock_seconds();
    if (executor_run(maker->executor, &batch, maker->x, &nfe, err) != 0) return -1;
    count(making, MADE_MODEL, clock_seconds() - start);
    count(making, MADE_EVALUATIONS, nfe);
    count(making, MADE_BATCHES, 1);
    for (size_t i = 0; making->latents && i < rows * elements; i++) {
        floats_put(making->latents, npy.type, row * elements + i, maker->x[i]);
        maker->x[i] = floats_at(making->latents, npy.type, row * elements + i);
        if (!isfinite(maker->x[i]))
            return error_set(err, CODE_DATA, "the latent of seed %" PRIu64 " is not finite as %s: element %zu is %g",
                             batch.seeds[i / elements], latents_names[run->job.output.latents], i % elements,
                             maker->x[i]);
    }
    return 0;
}

/* The same of latents that were on disk. */
static void load_batch(const struct making *making, struct maker *maker, size_t row, size_t rows) {
    const struct npy npy = run_npy(&making->cell->run, making->shard, LATENTS);
    size_t elements = card_elements(&making->cell->run.card);
    for (size_t i = 0; i < rows * elements; i++) maker->x[i] = floats_at(making->latents, npy.type, row * elements + i);
}

static int decode_batch(struct making *making, struct maker *maker, size_t row, size_t rows, struct error *err) {
    struct shelf shelf = {making, row};
    double start = clock_seconds();
    int rc = decoding_run(maker->decoding, maker->x, rows, making->seeds + row, store_pictures, &shelf, err);
    count(making, MADE_DECODER, clock_seconds() - start);
    if (rc == 0 || !making->solve || !making->latents) return rc;
    in_batch(making, row, rows, err);
#pragma omp critical(undecoded)
    making->why = *err;
#pragma omp atomic write
    making->undecoded = true;
    return 0;
}

static int sample_batch(struct making *making, struct maker *maker, size_t row, size_t rows, struct error *err) {
    if (!making->solve) load_batch(making, maker, row, rows);
    else if (solve_batch(making, maker, row, rows, err) != 0) return -1;
    if (!making->make_samples) return 0;
    count(making, MADE_SAMPLES, (double)rows);
    return maker->decoding ? decode_batch(making, maker, row, rows, err)
                           : store_samples(making, maker->x, NPY_FLOAT64, row, rows, err);
}

/* A feature network sees the stored samples, so that features made later from disk are the same. */
static int network_batch(const struct making *making, size_t network, size_t row, size_t rows, struct error *err) {
    const struct run *run = &making->cell->run;
    const struct network_output *outputs = run->evaluated[network].network.outputs;
    struct npy npy = run_npy(run, making->shard, SAMPLES);
    float *features[NETWORK_OUTPUTS] = {NULL};
    bool any = false;
    for (int k = 0; k < NETWORK_OUTPUTS; k++) {
        float *of_shard = making->features[(int)network * NETWORK_OUTPUTS + k];
        if (!of_shard) continue;
        features[k] = of_shard + row * outputs[k].dim;
        any = true;
    }
    if (!any) return 0;
    if (network_run(&run->evaluated[network].network, making->samples + row * npy_row_bytes(&npy), rows,
                    (size_t)run->job.batch, features, err) != 0)
        return run->evaluated_count > 1 ? error_prefix(err, "%s", run->evaluated[network].network.name) : -1;
    for (int k = 0; k < NETWORK_OUTPUTS; k++)
        for (size_t dim = outputs[k].dim, i = 0; features[k] && i < rows * dim; i++)
            if (!isfinite(features[k][i]))
                return error_set(err, CODE_DATA, "the features (%s%s%s) of seed %" PRIu64 " are not finite",
                                 run->evaluated_count > 1 ? run->evaluated[network].network.name : "",
                                 run->evaluated_count > 1 ? "." : "", outputs[k].name, making->seeds[row + i / dim]);
    return 0;
}

static int features_batch(const struct making *making, size_t row, size_t rows, struct error *err) {
    bool failed;
#pragma omp atomic read
    failed = making->featureless;
    if (failed || making_undecoded(making)) return 0;
    for (size_t i = 0; i < making->cell->run.evaluated_count; i++)
        if (network_batch(making, i, row, rows, err) != 0) return -1;
    return 0;
}

int making_batch(struct making *making, struct maker *maker, uint64_t batch, struct error *err) {
    const struct layout *layout = &making->cell->run.layout;
    size_t row = (size_t)layout_batch_first(layout, batch);
    size_t rows = (size_t)layout_batch_rows(layout, making->shard, batch);
    bool makes = making->solve || making->make_samples;
    if (maker_move(maker, making->cell, making->solve, making->make_samples, err) != 0) return in_shard(making, err);
    double start = clock_seconds();
    if (makes && sample_batch(making, maker, row, rows, err) != 0) return in_batch(making, row, rows, err);
    if (features_batch(making, row, rows, err) !=
        0) { /* a network that can't take them takes nothing from the samples */
        in_batch(making, row, rows, err);
        log_warn("the samples are kept without features: %s", err->message);
#pragma omp atomic write
        making->featureless = true;
    }
    count(making, MADE_WORKER, clock_seconds() - start);
    return 0;
}

bool making_undecoded(const struct making *making) {
    bool undecoded;
    if (!making) return false;
#pragma omp atomic read
    undecoded = making->undecoded;
    return undecoded;
}

bool making_refused(const struct making *making) {
    return making && making->refused;
}

const void *making_row(const struct making *making, uint64_t row, struct error *err) {
    struct npy npy = run_npy(&making->cell->run, making->shard, SAMPLES);
    if (making->undecoded) return *err = making->why, NULL;
    return making->samples + row * npy_row_bytes(&npy);
}

/* A guard: the folder is ours still, and what the file would replace is not another job's work (of a folder that two
 * runs share by a link run.json tells nothing). */
struct place_guard {
    const struct run *run;
    const struct shard_meta *meta;
    const struct npy *npy;
    const char *path;
};

static int check_place(const void *context, const char *replaced, struct error *err) {
    const struct place_guard *place = context;
    bool whole = place->meta->rows == place->run->layout.shard_rows;
    enum shard_state state;
    struct shard_info info;
    struct error why;
    if ((whole ? claim_guard_shard : claim_guard)(place->run, replaced, err) != 0) return -1;
    if (!replaced) return 0;
    if (store_check(replaced, place->meta, place->npy, &state, &info, NULL, &why, err) != 0) return -1;
    return store_yields(place->path, state, &why, err);
}

static int commit_file(struct making *making, int output, const void *rows, struct error *err) {
    const struct run *run = &making->cell->run;
    struct npy npy = run_npy(run, making->shard, output);
    struct shard_meta meta = run_meta(run, making->shard, output, making->seeds, making->labels);
    struct shard_info info;
    meta.counted = output == SAMPLES && npy.type == NPY_UINT8;
    meta.clipped = making->clipped;
    if (output >= 0) memcpy(meta.samples, making->sha256, SHA256_HEX);
    char *path = run_path(run, making->shard, output);
    const struct place_guard place = {run, &meta, &npy, path};
    const struct file_guard guard = {.check = check_place, .context = &place};
    int rc = path ? store_write(path, &meta, &npy, rows, run->job.output.level, &guard, &info, err) : error_memory(err);
    if (rc == 0 && output == SAMPLES) memcpy(making->sha256, info.sha256, SHA256_HEX);
    free(path);
    return rc;
}

int making_commit(struct making *making, int worker, struct tally *tally, struct error *err) {
    double start = clock_seconds();
    if (making->solve && making->latents && commit_file(making, LATENTS, making->latents, err) != 0) return -1;
    if (making->undecoded) return *err = making->why, -1;
    if (making->make_samples && commit_file(making, SAMPLES, making->samples, err) != 0) return -1;
    for (int k = 0; k < FEATURE_FILES; k++)
        if (making->features[k] && !making->featureless && commit_file(making, k, making->features[k], err) != 0)
            return -1;
    double now = clock_seconds();
    log_event("%s\"shard\": %" PRIu64 ", \"worker\": %d, \"seconds\": %.3f%s", making->cell->tag, making->shard.value,
              worker, now - making->start, making->found ? ", \"found\": true" : "");
    *tally = making->tally;
    tally->values[MADE_FEATURELESS] = making->featureless;
    tally->values[MADE_WORKER] = making->solve || making->make_samples ? tally->values[MADE_WORKER] + now - start : 0;
    return 0;
}
