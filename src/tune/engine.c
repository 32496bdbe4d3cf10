/* What a tuning computes with: paths in blocks over ranks and workers. */
#include "tune/engine.h"

#include "base/crash.h"
#include "cluster/agree.h"
#include "tune/kept.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16 }; /* paths; the same for any number of ranks and workers, so that results are */

static _Thread_local bool thread_started;

static int start_worker(struct engine *engine, int worker, struct error *err) {
    const struct tuning *asked = engine->asked;
    char message[SHIM_ERROR];
    if (!thread_started) {
        if (crash_thread_start(err) != 0) return -1;
        if (shim_thread_start(asked->device, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
        thread_started = true;
    }
    if (engine->executors[worker]) return 0;
    struct executor_setup setup = {.plan = &engine->program,
                                   .sampler = asked->sampler,
                                   .card = asked->card,
                                   .model = asked->model,
                                   .guide = asked->guide,
                                   .conditions = asked->conditions,
                                   .device = asked->device,
                                   .batch = (int)engine->block,
                                   .noise = asked->noise};
    engine->scratch[worker] = malloc(engine->block * engine->elements * sizeof(double));
    if (!engine->scratch[worker]) return error_memory(err);
    return executor_new(&engine->executors[worker], &setup, err);
}

void engine_digest(const struct engine *engine, size_t first, size_t count, char hex[SHA256_HEX]) {
    const struct tuning *asked = engine->asked;
    char digests[3][SHA256_HEX] = {"", "", ""};
    sha256_bytes(asked->seeds + first, count * sizeof *asked->seeds, digests[0]);
    if (asked->labels) sha256_bytes(asked->labels + first, count * sizeof *asked->labels, digests[1]);
    if (asked->condition_rows)
        sha256_bytes(asked->condition_rows + first, count * sizeof *asked->condition_rows, digests[2]);
    sha256_bytes(digests, sizeof digests, hex);
}

static void identify(struct engine *engine) {
    const struct tuning *asked = engine->asked;
    const size_t numbers[] = {asked->fit, asked->select, asked->judge, (size_t)asked->teacher, engine->block};
    char digests[3][SHA256_HEX];
    sha256_bytes(asked->identity, strlen(asked->identity), digests[0]);
    sha256_bytes(numbers, sizeof numbers, digests[1]);
    engine_digest(engine, 0, engine->paths, digests[2]);
    sha256_bytes(digests, sizeof digests, engine->identity);
}

int engine_new(struct engine *engine, const struct tuning *asked, const struct plan *first, struct error *err) {
    *engine = (struct engine){.asked = asked, .elements = card_elements(asked->card), .program = *first};
    engine->program.registers = ENGINE_REGISTERS;
    engine->paths = asked->fit + asked->select + asked->judge;
    engine->block = asked->card->batch > 0 ? (size_t)asked->batch : BLOCK;
    engine->blocks = (engine->paths + engine->block - 1) / engine->block;
    engine->executors = calloc((size_t)asked->workers, sizeof *engine->executors);
    engine->scratch = calloc((size_t)asked->workers, sizeof *engine->scratch);
    if (!engine->executors || !engine->scratch) return error_memory(err);
    if (asked->folder) identify(engine);
    return schedule_new(&engine->schedule, asked->card, err);
}

void engine_release(struct engine *engine) {
    for (int i = 0; engine->executors && engine->scratch && i < engine->asked->workers; i++) {
        executor_free(engine->executors[i]);
        free(engine->scratch[i]);
    }
    free(engine->executors);
    free(engine->scratch);
    schedule_free(engine->schedule);
    *engine = (struct engine){0};
}

static bool is_mine(const struct engine *engine, size_t item) {
    const struct comm *comm = engine->asked->comm;
    return !comm || item % (size_t)comm_size(comm) == (size_t)comm_rank(comm);
}

int engine_each(struct engine *engine, size_t items, int evaluations, engine_work *work, void *context,
                struct error *err) {
    struct error failure = {.code = CODE_OK};
#pragma omp parallel num_threads(engine->asked->workers)
    {
        int worker = omp_get_thread_num();
        struct error one = {.code = CODE_OK};
        start_worker(engine, worker, &one);
#pragma omp for schedule(dynamic)
        for (size_t item = 0; item < items; item++)
            if (is_mine(engine, item) && one.code == CODE_OK)
                work(context, engine->executors[worker], engine->scratch[worker], item, &one);
#pragma omp critical(tune_failure)
        if (one.code != CODE_OK) failure = one;
    }
    engine->rows += items * (uint64_t)evaluations * engine->block;
    if (failure.code != CODE_OK) *err = failure;
    return ranks_agree(engine->asked->comm, failure.code == CODE_OK ? 0 : -1, err);
}

int engine_share(const struct engine *engine, double *values, size_t items, size_t width, struct error *err) {
    struct comm *comm = engine->asked->comm;
    if (!comm) return 0;
    size_t size = (size_t)comm_size(comm), count = items * width;
    double *all = malloc((size * count + 1) * sizeof *all);
    int rc = ranks_agree(comm, all ? 0 : error_memory(err), err);
    if (rc == 0) rc = comm_gather(comm, values, count * sizeof *values, all, err);
    for (size_t item = 0; rc == 0 && item < items; item++)
        memcpy(values + item * width, all + (item % size) * count + item * width, width * sizeof *values);
    free(all);
    return rc;
}

void engine_key(const struct engine *engine, char key[SHA256_HEX], const char *kind, const void *data, size_t size) {
    char digest[SHA256_HEX], text[2 * SHA256_HEX + 32];
    sha256_bytes(data, size, digest);
    int length = snprintf(text, sizeof text, "%s %.20s %s", engine->identity, kind, digest);
    sha256_bytes(text, (size_t)length, key);
}

int engine_recall(struct engine *engine, const char *key, double *values, size_t count, bool *found,
                  struct error *err) {
    const struct tuning *asked = engine->asked;
    *found = false;
    if (!asked->folder) return 0;
    double *all = calloc(count + 2, sizeof *all); /* and what they cost, and whether they are there */
    int rc = all ? 0 : error_memory(err);
    if (rc == 0 && comm_rank(asked->comm) == 0) {
        rc = kept_read(asked->folder, key, all, count + 1, found, err);
        all[count + 1] = *found;
    }
    rc = ranks_agree(asked->comm, rc, err);
    if (rc == 0) rc = comm_broadcast(asked->comm, all, (count + 2) * sizeof *all, 0, err);
    if (rc == 0 && (*found = all[count + 1] != 0)) {
        memcpy(values, all, count * sizeof *values);
        engine->rows += (uint64_t)all[count];
    }
    free(all);
    return rc;
}

int engine_keep(const struct engine *engine, const char *key, const double *values, size_t count, uint64_t rows,
                struct error *err) {
    const struct tuning *asked = engine->asked;
    if (!asked->folder) return 0;
    int rc = 0;
    if (comm_rank(asked->comm) == 0) {
        double *all = malloc((count + 1) * sizeof *all);
        if (all) {
            memcpy(all, values, count * sizeof *all);
            all[count] = (double)rows;
        }
        rc = all ? kept_write(asked->folder, key, all, count + 1, err) : error_memory(err);
        free(all);
    }
    return ranks_agree(asked->comm, rc, err);
}

int engine_run(struct executor *executor, const struct batch *batch, const struct plan *plan, double *x,
               struct error *err) {
    if (executor_start(executor, batch, err) != 0 || executor_ops(executor, plan, err) != 0) return -1;
    return executor_get(executor, 0, x, err);
}

struct batch engine_seeds(const struct engine *engine, size_t first, size_t rows) {
    const struct tuning *asked = engine->asked;
    return (struct batch){.rows = rows,
                          .seeds = asked->seeds + first,
                          .labels = asked->labels ? asked->labels + first : NULL,
                          .condition_rows = asked->condition_rows ? asked->condition_rows + first : NULL};
}

struct batch engine_batch(const struct engine *engine, size_t block, size_t *first) {
    *first = block * engine->block;
    return engine_seeds(engine, *first,
                        engine->paths - *first < engine->block ? engine->paths - *first : engine->block);
}
