/* What a run would do: looked at, counted and timed. */
#include "work/dry_run.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "format/json_file.h"
#include "run/attempts.h"
#include "run/document.h"
#include "run/scan.h"
#include "work/assets.h"
#include "work/proof.h"
#include "work/shard_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const double SECONDS = 0.3; /* a speed is measured for, at least */

/* ---- places ---- */

/* The folder itself or the nearest one above it that is there, or what is in its place: new, or NULL when out of memory
 * or not to be told. */
static char *nearest_folder(const char *path, struct error *err) {
    char *at = strdup(path);
    struct stat info;
    while (at && lstat(at, &info) != 0) { /* a link to nothing is in the way too */
        if (!file_absent(errno)) {
            error_set(err, CODE_IO, "cannot look at %s: %s", at, strerror(errno));
            free(at);
            return NULL;
        }
        char *above = path_folder(at);
        free(at);
        at = above;
    }
    if (!at) error_memory(err);
    return at;
}

/* Would a file in the folder be kept? By one without a name, of which nothing stays. Where a file system has none of
 * these, one without room at all (/proc, /sys) takes no files, unless it is one of user space, which need not say. */
static bool takes_files(const char *folder) {
    enum { FUSE = 0x65735546 };
    struct statfs disk;
    int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600), why = errno;
    if (fd >= 0) return close(fd), true;
    errno = why;
    if (why != EOPNOTSUPP && why != EISDIR && why != ENOENT) return false;
    if (statfs(folder, &disk) != 0) return false;
    errno = why;
    return disk.f_blocks > 0 || disk.f_type == FUSE;
}

static int check_place(const char *dir, struct error *err) {
    char *folder = nearest_folder(dir, err);
    struct stat info;
    if (!folder) return -1;
    int rc = 0;
    if (stat(folder, &info) != 0 || (!S_ISDIR(info.st_mode) && (errno = ENOTDIR)))
        rc = error_set(err, CODE_IO, "cannot make folder %s: %s is in the way: %s", dir, folder, strerror(errno));
    else if (access(folder, W_OK | X_OK) != 0 || !takes_files(folder))
        rc = error_set(err, CODE_IO, "cannot make folder %s: cannot write in %s: %s", dir, folder, strerror(errno));
    free(folder);
    return rc;
}

static int check_places(const struct cells *cells, struct error *err) {
    int rc = check_place(cells_dir(cells), err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++) rc = check_place(cells->cells[i].run.dir, err);
    return rc;
}

/* Free bytes where the run will be; 0: nobody says. */
static double free_bytes(const char *dir) {
    struct error ignored;
    struct statvfs disk;
    char *folder = nearest_folder(dir, &ignored);
    bool known = folder && statvfs(folder, &disk) == 0;
    free(folder);
    return known ? (double)disk.f_bavail * (double)disk.f_frsize : 0;
}

/* ---- speed ---- */

/* Model calls by the first EVAL of the plan, again and again; an adaptive solver makes its own, a whole batch long. */
static int count_calls(struct maker *maker, const struct batch *batch, double *calls, struct error *err) {
    const struct plan *plan = &maker->plan;
    struct plan one = *plan;
    int nfe = 0;
    if (plan->adaptive) {
        int rc = executor_run(maker->executor, batch, maker->x, &nfe, err);
        *calls = nfe;
        return rc;
    }
    while (one.ops_count > 0 && one.ops->kind != OP_EVAL) one.ops++, one.ops_count--;
    one.ops_count = one.ops_count > 0;
    *calls = (double)one.ops_count;
    return executor_ops(maker->executor, &one, err);
}

/* One worker's model calls of a row a second, in the run's first batch: all workers begin together. */
static int worker_rate(const struct cell *cell, const struct place *place, double *rate, struct error *err) {
    struct shard_status nothing = {0};
    struct cell anew = *cell;
    anew.afresh = true;
    anew.status = &nothing;
    struct maker maker = {.device = place->device};
    struct making *making = NULL;
    struct batch batch = {0};
    char message[SHIM_ERROR];
    double calls = 0, took = 0;
    uint64_t batches;
    int rc = making_open(&making, &anew, (shard_id){0}, &batches, err);
    if (rc == 0) batch = making_inputs(making, 0);
    if (rc == 0 && shim_thread_start(place->device, message) != 0) rc = error_set(err, CODE_INTERNAL, "%s", message);
    if (rc == 0) rc = maker_move(&maker, &anew, true, false, err);
    if (rc == 0) rc = executor_start(maker.executor, &batch, err);
#pragma omp barrier
    double start = clock_seconds();
    while (rc == 0 && took < SECONDS) {
        double now = 0;
        rc = count_calls(&maker, &batch, &now, err);
        calls += now;
        took = clock_seconds() - start;
    }
    *rate = rc == 0 ? calls * (double)batch.rows / took : 0; /* what fills the batch up is nobody's */
    maker_leave(&maker);
    making_close(making);
    return rc;
}

static int cell_rate(const struct cell *cell, const struct place *place, double *rate, struct error *err) {
    struct error failure = {.code = CODE_OK};
    double sum = 0;
#pragma omp parallel num_threads(place->workers) reduction(+ : sum)
    {
        struct error one = {.code = CODE_OK};
        double mine = 0;
        if (worker_rate(cell, place, &mine, &one) == 0) sum += mine;
#pragma omp critical(dry_run_failure)
        if (one.code != CODE_OK) failure = one;
    }
    *rate = sum;
    if (failure.code == CODE_OK) return 0;
    *err = failure;
    return -1;
}

/* Of all cells that solve: rates[cells], of this rank. One speed for what runs the same network in the same batches. */
static int measure(const struct cells *cells, const struct place *place, double *rates, struct error *err) {
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->cells[i];
        size_t same = 0;
        if (!cell->solves) continue;
        while (same < i && !(rates[same] > 0 && cells->cells[same].model == cell->model &&
                             cells->cells[same].run.job.batch == cell->run.job.batch))
            same++;
        if (same < i) rates[i] = rates[same];
        else if (cell_rate(cell, place, &rates[i], err) != 0) return -1;
    }
    return 0;
}

/* ---- what is said ---- */

static json_t *number_or_null(double value) {
    return value > 0 ? json_real(value) : json_null();
}

static json_t *tell_cell(const struct cell *cell, double rate, double *seconds) {
    const struct run *run = &cell->run;
    uint64_t shards = layout_shards(&run->layout), missing = 0, bad = 0;
    for (uint64_t k = 0; k < shards; k++) {
        missing += !scan_good(run, &cell->status[k]);
        bad += cell->status[k].samples > SHARD_MISSING;
    }
    *seconds = rate > 0 ? (double)cell->missing * cell_calls(cell) / rate : 0;
    const char *rule = !cell->rounds ? NULL : isnan(run->job.evaluate.fid_error) ? "race" : "until";
    return json_pack("{s:s?, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:s*, s:I}", "cell", cell->name,
                     "run", run->dir, "solver", run->plan.solver, "nfe", run->plan.nfe, "model_calls",
                     run->plan.model_calls, "samples", (json_int_t)run->layout.samples, "missing",
                     (json_int_t)cell->missing, "shards", (json_int_t)shards, "shards_missing", (json_int_t)missing,
                     "shards_bad", (json_int_t)bad, "calls_per_second", number_or_null(rate), "seconds",
                     number_or_null(*seconds), "rule", rule, "of", (json_int_t)run->job.seeds.count);
}

/* rates: [ranks][cells] */
static int tell(json_t **results, const struct cells *cells, const struct place *place, const double *rates,
                struct error *err) {
    double seconds = 0, bytes = 0;
    uint64_t missing = 0;
    bool busy = false;
    char device[64];
    if (attempts_busy(cells_dir(cells), &busy, err) != 0) return -1;
    json_t *list = json_array();
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->cells[i];
        double rate = 0, took;
        for (int rank = 0; rank < place->ranks; rank++) rate += rates[(size_t)rank * cells->count + i];
        json_list_add(&list, tell_cell(cell, rate, &took));
        seconds += took;
        missing += cell->missing;
        bytes += (double)cell->missing * (double)document_sample_bytes(&cell->run.job, &cell->run.card);
    }
    shim_describe_device(place->device, device, sizeof device);
    *results = json_pack("{s:b, s:s, s:b, s:i, s:i, s:s, s:b, s:I, s:I, s:I, s:o, s:o}", "dry_run", 1, "dir",
                         cells_dir(cells), "sweep", cells_sweep(cells), "ranks", place->ranks, "workers",
                         place->all_workers, "device", place->device == SHIM_CPU ? "cpu" : device, "busy", busy,
                         "missing", (json_int_t)missing, "bytes", (json_int_t)bytes, "free_bytes",
                         (json_int_t)free_bytes(cells_dir(cells)), "seconds", number_or_null(seconds), "cells", list);
    return *results ? 0 : error_memory(err);
}

int dry_run(struct comm *comm, struct cells *cells, const struct place *place, json_t **results, struct error *err) {
    struct assets *assets = NULL;
    size_t ranks = (size_t)comm_size(comm);
    double *rates = calloc(cells->count, sizeof *rates), *all = calloc(cells->count * ranks, sizeof *all);
    *results = NULL;
    int rc = rates && all ? 0 : error_memory(err);
    if (rc == 0 && comm_rank(comm) == 0) rc = check_places(cells, err);
    if (rc == 0) rc = assets_load(&assets, cells, place->device, err);
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = prove_cells(comm, cells, place->device, false, err);
    if (rc == 0) rc = ranks_agree(comm, measure(cells, place, rates, err), err);
    if (rc == 0) rc = comm_gather(comm, rates, cells->count * sizeof *rates, all, err);
    if (rc == 0 && comm_rank(comm) == 0) rc = tell(results, cells, place, all, err);
    rc = ranks_agree(comm, rc, err);
    assets_free(assets, cells);
    free(rates);
    free(all);
    return rc;
}
