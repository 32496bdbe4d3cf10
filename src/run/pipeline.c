#include "run/pipeline.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "report/summary.h"
#include "run/agree.h"
#include "run/scan.h"
#include "run/work.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

static const double LEASE_SECONDS = 30; /* QTAYLOR_LEASE overrides */

static volatile sig_atomic_t stop;

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

static void install_handlers(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    const int signals[] = {SIGTERM, SIGINT, SIGUSR1};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

static double lease_seconds(void) {
    const char *text = getenv("QTAYLOR_LEASE");
    double value;
    return text && text_to_double(text, &value) && value > 0 ? value : LEASE_SECONDS;
}

/* Rank 0: makes the folders, clears what killed processes left, writes run.json. */
static int prepare_folder(const struct run *run, struct error *err) {
    const char *folders[] = {"", "/samples", "/log"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *folder = text_new("%s%s", run->dir, folders[i]);
        int rc = folder ? folder_make(folder, err) : error_memory(err);
        if (rc == 0) rc = file_remove_stale(folder, NULL, NULL, err);
        free(folder);
        if (rc != 0) return -1;
    }
    for (int output = 0; output < NETWORK_OUTPUTS; output++) {
        if (!run_wants(run, output)) continue;
        char *file = run_path(run, (shard_id){0}, output), *folder = file ? path_folder(file) : NULL;
        int rc = folder ? file_remove_stale(folder, NULL, NULL, err) : error_memory(err);
        free(folder);
        free(file);
        if (rc != 0) return -1;
    }
    char *path = text_new("%s/run.json", run->dir);
    int rc = path ? summary_write(path, run->document, err) : error_memory(err);
    free(path);
    return rc;
}

static int open_log(const struct cells *cells, int rank, struct error *err) {
    char *folder = text_new("%s/log", cells_dir(cells)), *path = text_new("%s/log/rank-%04d.jsonl", cells_dir(cells), rank);
    int rc = folder && path ? folder_make(folder, err) : error_memory(err);
    if (rc == 0) rc = log_open(path, err);
    free(path);
    free(folder);
    return rc;
}

/* Rank 0: references are looked at before anything is made. */
static int prepare(struct cells *cells, struct references *references, const json_t *hosts, struct error *err) {
    const struct side *ignored;
    for (size_t i = 0; i < cells->count; i++) {
        const struct run *run = &cells->cells[i].run;
        if (run->job.evaluate.enabled && references_get(references, run, false, &ignored, err) != 0) return -1;
        if (json_object_set(run->document, "hosts", (json_t *)hosts) != 0) return error_memory(err);
    }
    for (size_t i = 0; i < cells->count; i++)
        if (prepare_folder(&cells->cells[i].run, err) != 0) return -1;
    return cells_write(cells, err);
}

/* Scans, and counts what is missing. */
static int look(struct comm *comm, struct cells *cells, bool make_samples, int threads, struct error *err) {
    if (scan_cells(comm, cells, threads, err) != 0) return -1;
    for (size_t i = 0; i < cells->count; i++) {
        struct cell *cell = &cells->cells[i];
        for (uint64_t k = 0; k < layout_shards(&cell->run.layout); k++)
            if (cell->status[k].samples != SHARD_GOOD + 1) cell->missing += layout_rows(&cell->run.layout, (shard_id){k});
        if (!make_samples && scan_gaps(&cell->run, cell->status, true, err) != 0) return -1;
    }
    return 0;
}

/* Rank 0: what came of the cells, once nothing was interrupted. Quarantined shards are the end, but not a silent one. */
static int judge(const struct cells *cells, const struct outcome *outcome, struct error *err) {
    const struct cell *first = NULL, *failed = NULL, *left = NULL;
    uint64_t quarantined = 0;
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->cells[i];
        quarantined += cell->quarantined;
        if (!first && cell->code == CODE_QUARANTINE) first = cell;
        else if (!failed && cell->code != CODE_OK && cell->code != CODE_QUARANTINE) failed = cell;
        else if (!left && !cell->concluded) left = cell;
    }
    const struct error *why = &outcome->first_failure;
    if (failed && cells_sweep(cells))
        return error_set(err, failed->code, "%s could not be evaluated (see above)", failed->run.dir);
    if (failed) {
        *err = (struct error){.code = failed->code}; /* the rank that did it has the word */
        return -1;
    }
    if (first && quarantined > 0)
        return error_set(err, CODE_QUARANTINE, "%" PRIu64 " shards failed twice, the rest is done; the first is shard %" PRIu64
                         " of %s%s%s", quarantined, first->first_quarantined, first->run.dir, why->code ? ": " : "",
                         why->code ? why->message : " (see log/)");
    if (first) return error_set(err, CODE_QUARANTINE, "the evaluation of %s failed twice (see log/)", first->run.dir);
    return left ? error_set(err, CODE_AGAIN, "%s was not concluded: run again to continue", left->run.dir) : 0;
}

static int work(struct comm *comm, struct cells *cells, const struct pipeline_options *options, bool *lost,
                struct error *err) {
    struct place place;
    struct outcome outcome = {0};
    struct references *references = NULL;
    json_t *hosts = NULL;
    int rank = comm_rank(comm), rc = references_new(&references, err);
    if ((rc = ranks_agree(comm, rc, err)) != 0 ||
        (rc = place_rank(comm, &cells->cells[0].run.job, &place, &hosts, err)) != 0)
        goto out;
    if (rank == 0) rc = prepare(cells, references, hosts, err);
    if ((rc = ranks_agree(comm, rc, err)) != 0 || (rc = ranks_agree(comm, open_log(cells, rank, err), err)) != 0 ||
        (rc = look(comm, cells, options->make_samples, place.workers, err)) != 0)
        goto out;
    rc = work_on(comm, cells, references, &place, !options->make_samples, lease_seconds(), &stop, &outcome, err);
    *lost = outcome.ranks_lost > 0;
    if (rc != 0) goto out;
    if (outcome.interrupted) {
        rc = error_set(err, CODE_AGAIN, "interrupted; what is whole is on disk: run again to continue");
        goto out;
    }
    rc = rank == 0 ? judge(cells, &outcome, err) : 0;
    rc = ranks_agree(*lost ? NULL : comm, rc, err);
out:
    free(outcome.quarantine);
    references_free(references);
    json_decref(hosts);
    return rc;
}

int pipeline_run(struct comm *comm, const json_t *list, const struct pipeline_options *options, json_t **results,
                 bool *lost, struct error *err) {
    struct cells cells;
    *results = NULL;
    *lost = false;
    install_handlers();
    int opened = cells_open(&cells, list, options->evaluate, options->count, err), rc = ranks_agree(comm, opened, err);
    if (rc == 0) rc = work(comm, &cells, options, lost, err);
    bool any = false; /* rank 0 knows */
    for (size_t i = 0; opened == 0 && i < cells.count; i++) any |= cells.cells[i].concluded;
    if (any && (rc == 0 || cells_sweep(&cells))) {
        struct error unwritten;
        int reported = cells_results(&cells, results, &unwritten);
        if (rc == 0 && (rc = reported) != 0) *err = unwritten;
    }
    log_close();
    if (opened == 0) cells_close(&cells);
    return rc;
}
