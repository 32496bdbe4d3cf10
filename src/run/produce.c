#include "run/produce.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "report/progress.h"
#include "run/agree.h"
#include "sample/execute.h"
#include "sample/quantise.h"
#include "shard/store.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct unit { /* a shard being made on this rank */
    bool make_samples;
    uint64_t *seeds;  /* [rows] */
    int64_t *labels;  /* [rows] */
    char *samples;    /* as stored */
    float *features[NETWORK_OUTPUTS]; /* [rows][dim]; NULL: not to be made */
    double start;
};

struct worker {
    struct executor *executor;
    double *x;       /* [batch][elements] */
    uint8_t *pixels; /* [batch][elements]: what the feature network sees */
};

struct producer { /* task.context */
    struct run *run;
    const struct shard_status *status;
    const struct place *place;
    struct shim_model *model, *guide; /* guide: of sampler.guidance.model, or NULL */
    struct npy initial;      /* of job.initial, where there is one */
    char *initial_file;
    size_t initial_offset;
    struct unit **units;     /* [shards]; NULL: not on this rank */
    struct worker *workers;  /* [place->workers] */
    volatile sig_atomic_t *stop;
    struct progress progress;
    uint64_t samples_before;
    bool any_samples;        /* some shard's samples are missing: the diffusion model is needed */
    _Atomic uint64_t samples, evaluations, batches;
};

static int worker_start(void *context, int index, struct error *err) {
    struct producer *producer = context;
    struct run *run = producer->run;
    struct worker *worker = &producer->workers[index];
    char message[SHIM_ERROR];
    if (shim_thread_start(producer->place->device, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    size_t values = (size_t)run->job.batch * card_elements(&run->card);
    worker->x = malloc(values * sizeof *worker->x);
    worker->pixels = malloc(values);
    if (!worker->x || !worker->pixels) return error_memory(err);
    if (!producer->any_samples) return 0;
    struct executor_setup setup = {
        .plan = &run->plan, .sampler = &run->sampler, .card = &run->card, .model = producer->model, .guide = producer->guide,
        .device = producer->place->device, .batch = run->job.batch, .noise = run->job.noise, .stop = producer->stop,
    };
    return executor_new(&worker->executor, &setup, err);
}

static void worker_end(void *context, int index) {
    struct worker *worker = &((struct producer *)context)->workers[index];
    executor_free(worker->executor);
    free(worker->x);
    free(worker->pixels);
    *worker = (struct worker){0};
}

static void unit_close(void *context, uint64_t shard) {
    struct producer *producer = context;
    struct unit *unit = producer->units[shard];
    producer->units[shard] = NULL;
    if (!unit) return;
    for (int k = 0; k < NETWORK_OUTPUTS; k++) free(unit->features[k]);
    free(unit->samples);
    free(unit->labels);
    free(unit->seeds);
    free(unit);
}

static int unit_open(void *context, uint64_t shard, uint64_t *batches, struct error *err) {
    struct producer *producer = context;
    struct run *run = producer->run;
    shard_id id = {shard};
    const struct shard_status *status = &producer->status[shard];
    uint64_t rows = layout_rows(&run->layout, id);
    struct npy npy = run_npy(run, id, SAMPLES);
    struct unit *unit = producer->units[shard] = calloc(1, sizeof *unit);
    if (!unit) return error_memory(err);
    unit->start = clock_seconds();
    unit->make_samples = status->samples != SHARD_GOOD + 1;
    unit->seeds = malloc(rows * sizeof *unit->seeds);
    unit->labels = malloc(rows * sizeof *unit->labels);
    if (unit->make_samples) unit->samples = malloc(npy_bytes(&npy));
    if (!unit->seeds || !unit->labels || (unit->make_samples && !unit->samples)) return error_memory(err);
    for (int k = 0; k < NETWORK_OUTPUTS; k++) {
        if (!run_wants(run, k) || status->features[k] == SHARD_GOOD + 1) continue;
        unit->features[k] = malloc(rows * run->network.outputs[k].dim * sizeof(float));
        if (!unit->features[k]) return error_memory(err);
    }
    run_meta(run, id, SAMPLES, unit->seeds, unit->labels);
    *batches = layout_batches(&run->layout, id);
    if (unit->make_samples) return 0;
    enum shard_state state;
    struct shard_info info;
    struct error why;
    void *stored = NULL;
    if (scan_file(run, id, SAMPLES, &state, &info, &stored, &why, err) != 0) return -1;
    unit->samples = stored;
    return state == SHARD_GOOD ? 0 : error_set(err, CODE_DATA, "shard %llu changed on disk: %s",
                                               (unsigned long long)shard, why.message);
}

static int sample_batch(struct producer *producer, struct worker *worker, struct unit *unit, uint64_t position,
                        size_t row, size_t rows, struct error *err) {
    const struct run *run = producer->run;
    size_t elements = card_elements(&run->card);
    struct batch batch = {.rows = rows, .seeds = unit->seeds + row};
    int nfe = 0;
    if (run->card.classes > 0) batch.labels = unit->labels + row;
    if (producer->initial_file)
        batch.initial = (const float *)(producer->initial_file + producer->initial_offset) + position * elements;
    if (executor_run(worker->executor, &batch, worker->x, &nfe, err) != 0) return -1;
    atomic_fetch_add(&producer->samples, rows);
    atomic_fetch_add(&producer->evaluations, (uint64_t)nfe);
    atomic_fetch_add(&producer->batches, 1);
    if (run->job.output.dtype == SAMPLE_UINT8) {
        quantise_uint8(worker->x, rows, &run->card, run->job.output.rounding, (uint8_t *)unit->samples + row * elements);
        return 0;
    }
    float *stored = (float *)unit->samples + row * elements;
    for (size_t i = 0; i < rows * elements; i++) stored[i] = (float)worker->x[i];
    return 0;
}

/* The feature network sees the stored samples, so that features made later from disk are the same. */
static int features_batch(struct producer *producer, struct worker *worker, struct unit *unit, size_t row, size_t rows,
                          struct error *err) {
    const struct run *run = producer->run;
    size_t elements = card_elements(&run->card);
    const uint8_t *pixels = (const uint8_t *)unit->samples + row * elements;
    float *features[NETWORK_OUTPUTS] = {NULL};
    bool any = false;
    for (int k = 0; k < NETWORK_OUTPUTS; k++) {
        if (!unit->features[k]) continue;
        features[k] = unit->features[k] + row * run->network.outputs[k].dim;
        any = true;
    }
    if (!any) return 0;
    if (run->job.output.dtype == SAMPLE_FLOAT32) {
        const float *stored = (const float *)unit->samples + row * elements;
        for (size_t i = 0; i < rows * elements; i++) worker->x[i] = stored[i];
        quantise_uint8(worker->x, rows, &run->card, run->job.output.rounding, worker->pixels);
        pixels = worker->pixels;
    }
    return network_run(&run->network, pixels, rows, (size_t)run->job.batch, features, err);
}

static int batch(void *context, int index, uint64_t shard, uint64_t number, struct error *err) {
    struct producer *producer = context;
    const struct layout *layout = &producer->run->layout;
    struct unit *unit = producer->units[shard];
    size_t row = (size_t)layout_batch_first(layout, number);
    size_t rows = (size_t)layout_batch_rows(layout, (shard_id){shard}, number);
    struct worker *worker = &producer->workers[index];
    uint64_t position = layout_first(layout, (shard_id){shard}) + row;
    if (unit->make_samples && sample_batch(producer, worker, unit, position, row, rows, err) != 0) return -1;
    return features_batch(producer, worker, unit, row, rows, err);
}

static int commit_file(const struct run *run, shard_id id, const struct unit *unit, int output, const void *rows,
                       struct error *err) {
    struct npy npy = run_npy(run, id, output);
    struct shard_meta meta = run_meta(run, id, output, unit->seeds, unit->labels);
    struct shard_info info;
    char *path = run_path(run, id, output);
    int rc = path ? store_write(path, &meta, &npy, rows, run->job.output.level, &info, err) : error_memory(err);
    free(path);
    return rc;
}

static int unit_commit(void *context, int index, uint64_t shard, struct error *err) {
    struct producer *producer = context;
    struct unit *unit = producer->units[shard];
    shard_id id = {shard};
    if (unit->make_samples && commit_file(producer->run, id, unit, SAMPLES, unit->samples, err) != 0) return -1;
    for (int k = 0; k < NETWORK_OUTPUTS; k++)
        if (unit->features[k] && commit_file(producer->run, id, unit, k, unit->features[k], err) != 0) return -1;
    log_event("\"shard\": %llu, \"worker\": %d, \"seconds\": %.3f", (unsigned long long)shard, index,
              clock_seconds() - unit->start);
    return 0;
}

/* Samples on disk once `done` more shards are: the last shard may be a short one. */
static uint64_t on_disk(const struct producer *producer, uint64_t done) {
    uint64_t samples = producer->samples_before + done * producer->run->layout.shard_rows;
    return samples < producer->progress.total ? samples : producer->progress.total;
}

static void show_progress(void *context, uint64_t done, int ranks_alive) {
    struct producer *producer = context;
    progress_update(&producer->progress, on_disk(producer, done), ranks_alive, 0);
}

static int load(struct producer *producer, bool any_features, struct error *err) {
    struct run *run = producer->run;
    const struct job *job = &run->job;
    char message[SHIM_ERROR];
    if (shim_start(job->precision == PRECISION_TF32, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    if (producer->any_samples && shim_model_load(&producer->model, job->model.path, producer->place->device, message) != 0)
        return error_set(err, CODE_DATA, "cannot load model %s: %s", job->model.path, message);
    const struct guidance *guidance = &job->sampler.guidance;
    if (producer->any_samples && guidance->model && guidance->scale != 1 &&
        shim_model_load(&producer->guide, guidance->model, producer->place->device, message) != 0)
        return error_set(err, CODE_DATA, "cannot load the guiding model %s: %s", guidance->model, message);
    if (any_features && job->evaluate.features &&
        network_load(&run->network, job->evaluate.features, producer->place->device, err) != 0)
        return -1;
    if (!job->initial || !producer->any_samples) return 0;
    if (npy_read(&producer->initial, &producer->initial_file, &producer->initial_offset, job->initial, err) != 0) return -1;
    const struct npy *npy = &producer->initial;
    if (npy->type != NPY_FLOAT32 || npy->rank != 4 || npy->shape[0] != job->seeds.count ||
        npy->shape[1] != (size_t)run->card.channels || npy->shape[2] != (size_t)run->card.height ||
        npy->shape[3] != (size_t)run->card.width)
        return error_set(err, CODE_DATA, "initial: %s: expected float32 [%llu,%d,%d,%d], one start a seed", job->initial,
                         (unsigned long long)job->seeds.count, run->card.channels, run->card.height, run->card.width);
    return 0;
}

/* What all ranks did together; the time is that of the rank that began first. */
static int sum_up(struct comm *comm, const struct producer *producer, struct production *production, struct error *err) {
    struct {
        uint64_t samples, evaluations, batches;
        double seconds;
    } mine = {producer->samples, producer->evaluations, producer->batches, production->outcome.seconds},
      *all = malloc((size_t)comm_size(comm) * sizeof mine);
    if (!all) return error_memory(err);
    int rc = comm_gather(comm, &mine, sizeof mine, all, err);
    for (int i = 0; rc == 0 && i < comm_size(comm); i++) {
        production->samples += all[i].samples;
        production->evaluations += all[i].evaluations;
        production->batches += all[i].batches;
        if (all[i].seconds > production->seconds) production->seconds = all[i].seconds;
    }
    free(all);
    return rc;
}

int produce(struct comm *comm, struct run *run, const struct shard_status *status, const struct place *place,
            double lease, volatile sig_atomic_t *stop, struct production *production, struct error *err) {
    uint64_t shards = layout_shards(&run->layout), todo = 0, ready = 0;
    struct producer producer = {.run = run, .status = status, .place = place, .stop = stop};
    bool any_features = false;
    int rc = 0;
    *production = (struct production){0};
    uint64_t *units = malloc(shards * sizeof *units);
    producer.units = calloc(shards, sizeof(struct unit *));
    producer.workers = calloc((size_t)place->workers, sizeof *producer.workers);
    if (!units || !producer.units || !producer.workers) rc = error_memory(err);
    for (uint64_t i = 0; rc == 0 && i < shards; i++) {
        bool samples_good = status[i].samples == SHARD_GOOD + 1;
        if (samples_good) ready += layout_rows(&run->layout, (shard_id){i});
        if (scan_good(run, &status[i])) continue;
        units[todo++] = i;
        producer.any_samples |= !samples_good;
        for (int k = 0; k < NETWORK_OUTPUTS; k++)
            any_features |= run_wants(run, k) && status[i].features[k] != SHARD_GOOD + 1;
    }
    if (rc == 0 && todo > 0) rc = load(&producer, any_features, err);
    rc = ranks_agree(comm, rc, err);
    production->missing = run->layout.samples - ready;
    if (rc != 0 || todo == 0) goto out;
    producer.samples_before = ready;
    producer.progress = (struct progress){.total = run->layout.samples, .before = ready, .nfe = run->plan.nfe,
                                          .ranks = comm_size(comm), .workers = place->workers, .run_dir = run->dir};
    if (comm_rank(comm) == 0) progress_start(&producer.progress);
    struct task task = {.context = &producer, .worker_start = worker_start, .worker_end = worker_end,
                        .unit_open = unit_open, .batch = batch, .unit_commit = unit_commit, .unit_close = unit_close,
                        .progress = show_progress};
    rc = cluster_run(comm, units, todo, &task, place->workers, lease, stop, &production->outcome, err);
    production->seconds = production->outcome.seconds;
    if (rc == 0 && production->outcome.ranks_lost == 0) rc = sum_up(comm, &producer, production, err);
    if (comm_rank(comm) == 0)
        progress_update(&producer.progress, on_disk(&producer, production->outcome.done), comm_size(comm), 1);
out:
    shim_model_free(producer.model);
    shim_model_free(producer.guide);
    free(producer.initial_file);
    free(producer.workers);
    free(producer.units);
    free(units);
    return rc;
}
