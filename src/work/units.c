/* The queue of shards and conclusions: what cluster_run calls for each, and what rank 0 notes of them. */
#include "work/units.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mapping.h"
#include "report/progress.h"
#include "cluster/agree.h"
#include "run/attempt.h"
#include "run/claim.h"
#include "run/failures.h"
#include "run/quarantine.h"
#include "work/assets.h"
#include "work/inputs.h"
#include "work/proof.h"
#include "work/shard_maker.h"
#include "run/scan.h"
#include "base/signals.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { HOPELESS = 4 }; /* shards that failed twice, when none ever succeeded: the others would fare no better */
static const double RESULTS = 2;        /* s between two writings of a sweep's results, at least, ... */
static const double RESULTS_SHARE = 20; /* ... and so many times as long as the last one took */

struct unit {
    struct cell *cell;
    bool concludes;
    shard_id shard;        /* else */
    struct making *making; /* while it is on this rank */
    struct conclusion *conclusion;
};

struct units { /* task.context */
    struct cells *cells;
    struct references *references;
    const struct place *place;
    bool again;
    double patience; /* s for which a shard that was made may be out of sight */
    volatile sig_atomic_t *stop;
    struct unit *list; /* [count] */
    uint64_t *needs;   /* [count]: of a conclusion, its cell's shards right before it */
    uint64_t count;
    struct maker *makers;     /* [place->workers] */
    const struct cell *first; /* that needs the solver; NULL: none */
    bool missing;             /* there are samples to make */
    _Atomic int busy;         /* workers, just now */
    atomic_bool refused;      /* a shard would have replaced another job's work */
    /* Rank 0's communication thread: */
    struct attempt *attempt;
    unsigned char *failures; /* [count]: in earlier jobs */
    struct progress progress;
    uint64_t samples;    /* on disk */
    bool fresh;          /* a cell was concluded since results were written */
    double next_results; /* s */
};

/* ---- units ---- */

static void add_unit(struct units *units, struct cell *cell, bool concludes, uint64_t shard, uint64_t needs) {
    units->list[units->count] = (struct unit){.cell = cell, .concludes = concludes, .shard = {shard}};
    units->needs[units->count++] = needs;
}

static int list_units(struct units *units, struct error *err) {
    struct cells *cells = units->cells;
    uint64_t most = cells->shards + cells->count;
    units->list = malloc(most * sizeof *units->list);
    units->needs = malloc(most * sizeof *units->needs);
    if (!units->list || !units->needs) return error_memory(err);
    for (size_t c = 0; c < cells->count; c++) {
        struct cell *cell = &cells->cells[c];
        uint64_t needs = 0;
        if (cell->idle) continue;
        for (uint64_t i = 0; i < layout_shards(&cell->run.layout); i++) {
            if (scan_good(&cell->run, &cell->status[i])) continue;
            add_unit(units, cell, false, i, 0);
            needs++;
        }
        add_unit(units, cell, true, 0, needs);
        units->samples += cell->run.layout.samples - cell->missing;
        if (!units->first && cell->solves) units->first = cell;
        units->missing |= cell->missing > 0;
    }
    return 0;
}

/* A model that can't run at all shows now, before anything is made. */
static int worker_start(void *context, int index, struct error *err) {
    struct units *units = context;
    char message[SHIM_ERROR];
    units->makers[index] = (struct maker){.device = units->place->device, .stop = units->stop};
    if (failures_thread_start(err) != 0) return -1;
    if (shim_thread_start(units->place->device, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    return units->first ? maker_move(&units->makers[index], units->first, true, true, err) : 0;
}

static void worker_end(void *context, int index) {
    maker_leave(&((struct units *)context)->makers[index]);
    failures_thread_end();
}

/* Another job's work is in a shard's place: no matter of one shard. */
static void refuse(struct units *units, struct error *err) {
    units->refused = true;
    err->code = CODE_IO; /* ends the work on every rank */
}

static int unit_open(void *context, uint64_t number, const struct tally *needed, uint64_t *batches, struct error *err) {
    struct units *units = context;
    struct unit *unit = &units->list[number];
    int rc = unit->concludes ? conclusion_open(&unit->conclusion, unit->cell, needed, units->again, batches, err)
                             : making_open(&unit->making, unit->cell, unit->shard, batches, err);
    if (rc != 0 && making_refused(unit->making)) refuse(units, err);
    return rc;
}

static int unit_batch(void *context, int worker, uint64_t number, uint64_t index, struct error *err) {
    struct units *units = context;
    struct unit *unit = &units->list[number];
    if (*units->stop) return error_set(err, CODE_AGAIN, "interrupted");
    atomic_fetch_add(&units->busy, 1);
    if (!unit->concludes) failures_begin(unit->cell->name, unit->shard.value);
    int rc = unit->concludes ? conclusion_batch(unit->conclusion, index, units->patience, units->stop, err)
                             : making_batch(unit->making, &units->makers[worker], index, err);
    failures_rest();
    atomic_fetch_sub(&units->busy, 1);
    struct error changed;
    return mappings_check(&changed) == 0 ? rc : (*err = changed, -1); /* a cause of what else went wrong, too */
}

static int unit_commit(void *context, int worker, uint64_t number, struct tally *tally, struct error *err) {
    struct units *units = context;
    struct unit *unit = &units->list[number];
    int idle = units->place->workers - atomic_fetch_add(&units->busy, 1);
    if (unit->concludes) signals_expose(true);
    int rc = unit->concludes ? conclusion_commit(unit->conclusion, units->references, units->place, idle > 1 ? idle : 1,
                                                 units->stop, tally, err)
                             : making_commit(unit->making, worker, tally, err);
    if (unit->concludes) signals_expose(false);
    atomic_fetch_sub(&units->busy, 1);
    if (rc != 0 && !unit->concludes && err->code == CODE_DATA && !making_undecoded(unit->making)) {
        struct error lost;
        bool ours = claim_check(&unit->cell->run, &lost) == 0;
        if (!ours) *units->stop = 1; /* the folder is another job's now: rank 0 will say so */
        err->code = CODE_AGAIN;
        if (ours) refuse(units, err);
    }
    return rc;
}

static void unit_close(void *context, uint64_t number) {
    struct unit *unit = &((struct units *)context)->list[number];
    making_close(unit->making);
    conclusion_close(unit->conclusion);
    unit->making = NULL;
    unit->conclusion = NULL;
}

static void unit_failed(void *context, uint64_t number, const struct error *why) {
    const struct unit *unit = &((struct units *)context)->list[number];
    if (!unit->concludes) failures_note(unit->cell->name, unit->shard.value, why->message);
}

/* ---- rank 0 ---- */

static void unit_done(void *context, uint64_t number, const struct tally *tally) {
    struct units *units = context;
    struct unit *unit = &units->list[number];
    struct cell *cell = unit->cell;
    if (unit->concludes) {
        cell->concluded = true;
        cell->code = (enum code)tally->code;
        units->fresh |= cells_sweep(units->cells) && !cell->round && cell->code != CODE_DATA;
    } else if (cell->status[unit->shard.value].samples != SHARD_GOOD) {
        cell->any = true;
        cell->made_now += layout_rows(&cell->run.layout, unit->shard);
        units->samples += layout_rows(&cell->run.layout, unit->shard);
        units->progress.work += (double)layout_rows(&cell->run.layout, unit->shard) * cell_calls(cell);
    }
}

/* A cell whose first shards all fail is no matter of single samples. */
static bool unit_give_up(void *context, uint64_t number) {
    const struct units *units = context;
    struct unit *unit = &units->list[number];
    struct cell *cell = unit->cell;
    uint64_t shards = layout_shards(&cell->run.layout);
    if (unit->concludes || cell->any || cell->missing < cell->run.layout.samples) return false;
    if (++cell->lost < (shards < HOPELESS ? shards : HOPELESS)) return false;
    if (cell->code == CODE_OK)
        log_error("%s: the first %" PRIu64
                  " shards failed twice each and none succeeded, so the rest is not tried: see what they failed of in "
                  "%s/log/failures.jsonl, and delete that file to try again",
                  cell->run.dir, cell->lost, cells_dir(units->cells));
    cell->code = CODE_DATA;
    return true;
}

/* What a reader may see before the end. */
static void write_results(struct units *units) {
    json_t *results = NULL;
    struct error err;
    double now = clock_seconds();
    if (!units->fresh || now < units->next_results) return;
    if (cells_results(units->cells, &results, &err) != 0) log_warn("the results are not up to date: %s", err.message);
    json_decref(results);
    units->fresh = false;
    double took = clock_seconds() - now;
    units->next_results = now + took + (RESULTS_SHARE * took > RESULTS ? RESULTS_SHARE * took : RESULTS);
}

static void show_progress(void *context, int ranks_alive) {
    struct units *units = context;
    progress_update(&units->progress, units->samples, ranks_alive, 0);
    attempt_tell(units->attempt, units->progress.rate, units->progress.eta, ranks_alive);
    write_results(units);
}

static void start_progress(struct units *units) {
    const struct cells *cells = units->cells;
    units->progress = (struct progress){.before = units->samples,
                                        .nfe = cells_sweep(cells) ? 0 : cells->cells[0].run.plan.nfe,
                                        .ranks = units->place->ranks,
                                        .workers = units->place->workers,
                                        .run_dir = cells_dir(cells)};
    for (size_t i = 0; i < cells->count; i++) {
        uint64_t samples = cells->cells[i].run.layout.samples;
        if (cells->cells[i].idle) continue;
        units->progress.total += samples;
        units->progress.work_total += (double)samples * cell_calls(&cells->cells[i]);
        units->progress.work_before += (double)(samples - cells->cells[i].missing) * cell_calls(&cells->cells[i]);
    }
    progress_start(&units->progress);
}

static int count_failures(struct units *units, struct error *err) {
    json_t *failures = NULL;
    if (!(units->failures = calloc(units->count + 1, 1))) return error_memory(err);
    int rc = failures_read(&failures, cells_dir(units->cells), err);
    for (uint64_t i = 0; rc == 0 && json_array_size(failures) > 0 && i < units->count; i++) {
        const struct unit *unit = &units->list[i];
        int count = unit->concludes ? 0 : failures_count(failures, unit->cell->name, unit->shard.value, NULL);
        units->failures[i] = (unsigned char)(count < 100 ? count : 100);
    }
    json_decref(failures);
    return rc;
}

/* A cell's quarantined shards, out of all quarantined units. */
static int quarantine_cell(const struct units *units, struct cell *cell, const struct outcome *outcome,
                           struct error *err) {
    uint64_t *shards = malloc((outcome->quarantined + 1) * sizeof *shards), count = 0;
    if (!shards) return error_memory(err);
    for (uint64_t i = 0; i < outcome->quarantined; i++) {
        const struct unit *unit = &units->list[outcome->quarantine[i]];
        if (unit->cell != cell) continue;
        if (cell->code != CODE_DATA) cell->code = CODE_QUARANTINE; /* else it was given up */
        if (unit->concludes) log_error("%s: its evaluation failed twice and is left out", cell->run.dir);
        else shards[count++] = unit->shard.value;
    }
    json_decref(cell->quarantine); /* an earlier attempt's */
    cell->quarantine = NULL;
    bool settled = count > 0 || !outcome->interrupted; /* else some are still to be tried */
    int rc = settled ? quarantine_write(&cell->run, cells_dir(units->cells), cell->name, shards, count,
                                        &cell->quarantine, err)
                     : 0;
    if (rc == 0 && count > 0 && cell->code == CODE_QUARANTINE)
        rc = conclude_quarantined(cell, units->patience, units->stop, err);
    free(shards);
    return rc;
}

static int quarantine_cells(struct units *units, const struct outcome *outcome, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < units->cells->count; i++)
        if (!units->cells->cells[i].idle) rc = quarantine_cell(units, &units->cells->cells[i], outcome, err);
    return rc;
}

/* A shard is made by one rank. */
static void say_idle(const struct units *units, int ranks) {
    uint64_t shards = 0;
    bool rounds = false; /* more will follow */
    for (uint64_t i = 0; i < units->count; i++) {
        shards += !units->list[i].concludes;
        rounds |= units->list[i].cell->round > 0;
    }
    if (shards > 0 && shards < (uint64_t)ranks && !rounds)
        log_info("shards to make: %llu, by %d ranks: the others have nothing to do; more and smaller ones "
                 "(output.samples_per_shard) would keep them at work",
                 (unsigned long long)shards, ranks);
}

int units_run(struct comm *comm, struct cells *cells, struct references *references, const struct place *place,
              struct assets **assets, bool again, double lease, struct attempt *attempt, struct outcome *outcome,
              struct error *err) {
    struct units units = {.cells = cells,
                          .references = references,
                          .place = place,
                          .again = again,
                          .patience = 2 * lease,
                          .stop = signals_flag(),
                          .attempt = attempt};
    struct task task = {.context = &units,
                        .worker_start = worker_start,
                        .worker_end = worker_end,
                        .unit_open = unit_open,
                        .batch = unit_batch,
                        .unit_commit = unit_commit,
                        .unit_close = unit_close,
                        .unit_failed = unit_failed,
                        .unit_done = unit_done,
                        .give_up = unit_give_up,
                        .progress = show_progress};
    bool show = comm_rank(comm) == 0;
    *outcome = (struct outcome){0};
    units.makers = calloc((size_t)place->workers, sizeof *units.makers);
    int rc = units.makers ? list_units(&units, err) : error_memory(err);
    if (rc == 0 && comm_rank(comm) == 0) rc = count_failures(&units, err);
    if ((rc = ranks_agree(comm, rc, err)) == 0) rc = inputs_share_digests(comm, cells, err);
    if (rc == 0) rc = ranks_agree(comm, assets_load(assets, cells, place->device, err), err);
    if (rc == 0) rc = prove_cells(comm, cells, place->device, true, err);
    show &= rc == 0 && units.missing;
    if (show) say_idle(&units, place->ranks);
    if (rc == 0) {
        start_progress(&units);
        task.failures = units.failures;
        task.ahead = attempt ? attempt_ahead(attempt) : 0;
        signals_shelter(true);
        rc = cluster_run(comm, units.count, units.needs, &task, place->workers, lease, units.stop, outcome, err);
        signals_shelter(false);
        if (rc != 0 && units.refused) err->code = CODE_DATA;
        bool together = rc == 0 && !outcome->interrupted && outcome->ranks_lost == 0;
        if (rc == 0 && comm_rank(comm) == 0) rc = quarantine_cells(&units, outcome, err);
        if (together) rc = ranks_agree(comm, rc, err);
    }
    if (show) progress_update(&units.progress, units.samples, place->ranks, 1);
    free(units.failures);
    free(units.makers);
    free(units.needs);
    free(units.list);
    return rc;
}
