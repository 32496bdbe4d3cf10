/* The steps of a job: folders, logs, scan, work, outcome. */
#include "work/pipeline.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "format/json_file.h"
#include "run/attempt.h"
#include "run/claim.h"
#include "run/failures.h"
#include "run/machines.h"
#include "run/redecode.h"
#include "work/dry_run.h"
#include "work/inputs.h"
#include "cluster/place.h"
#include "work/reference_images.h"
#include "work/result.h"
#include "run/scan.h"
#include "work/pace.h"

#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const double LEASE_SECONDS = 30; /* QTAYLOR_LEASE overrides */

static int read_lease(double *seconds, struct error *err) {
    const char *text = getenv("QTAYLOR_LEASE");
    *seconds = LEASE_SECONDS;
    if (!text || !*text || (text_to_double(text, seconds) && *seconds > 0)) return 0;
    return error_set(err, CODE_USAGE, "QTAYLOR_LEASE: expected seconds, above 0, found %s", text);
}

/* Makes a folder, and clears what killed processes left in it (attempt NULL: none was there). Takes the name over;
 * NULL: out of memory. */
static int make_folder(const struct attempt *attempt, char *folder, struct error *err) {
    int rc = folder ? folder_make(folder, err) : error_memory(err);
    if (rc == 0 && attempt) rc = attempt_clear(attempt, folder, err);
    free(folder);
    return rc;
}

/* Clears what killed processes left of features, those of networks that this job does not ask for too. */
static int clear_features(const struct run *run, const struct attempt *attempt, struct error *err) {
    char *folder = text_new("%s/features", run->dir), *const roots[] = {folder, NULL};
    FTS *tree = folder ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    int rc = tree ? 0 : error_memory(err);
    for (FTSENT *entry; rc == 0 && (errno = 0, entry = fts_read(tree));) {
        bool failed = entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS;
        if (entry->fts_info == FTS_D) rc = attempt_clear(attempt, entry->fts_path, err);
        else if (failed && !file_absent(entry->fts_errno))
            rc = error_set(err, CODE_IO, "cannot list %s: %s", entry->fts_path, strerror(entry->fts_errno));
    }
    if (rc == 0 && errno != 0) rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    if (tree) fts_close(tree);
    free(folder);
    return rc;
}

/* Rank 0: run.json; and all folders of a run, so that one that is missing later has vanished. dir: where its attempts
 * are; unsynced: as in claim_take. */
static int prepare_folder(const struct cell *cell, const char *dir, const struct attempt *attempt, bool unsynced,
                          struct error *err) {
    const struct run *run = &cell->run;
    bool fresh = mkdir(run->dir, 0777) == 0;
    if (fresh) attempt = NULL;
    if (make_folder(attempt, strdup(run->dir), err) != 0 || claim_take(run, dir, cell->name, unsynced, err) != 0)
        return -1;
    if (redecode_link(run->document, run->dir, err) != 0) return -1;
    if (cell->rounds && make_folder(attempt, text_new("%s/" ROUNDS_FOLDER, run->dir), err) != 0) return -1;
    for (int output = LATENTS; output < FEATURE_FILES; output++) {
        if (!run_wants(run, output)) continue;
        char *file = run_path(run, (shard_id){0}, output);
        int rc = make_folder(attempt, file ? path_folder(file) : NULL, err);
        free(file);
        if (rc != 0) return -1;
    }
    return fresh ? 0 : clear_features(run, attempt, err);
}

static int prepare(struct cells *cells, const struct attempt *attempt, json_t *hosts, bool make_samples,
                   struct error *err) {
    if (make_folder(attempt, strdup(cells_dir(cells)), err) != 0 ||
        make_folder(attempt, text_new("%s/log", cells_dir(cells)), err) != 0)
        return -1;
    for (size_t i = 0; i < cells->count; i++) {
        const struct run *run = &cells->cells[i].run;
        /* Else the scan comes first: perhaps nothing is to be made. */
        bool fresh = make_samples && !json_object_get(run->document, "made_with");
        if (fresh && machines_add(run->document, hosts, NULL, err) != 0) return -1;
        if (prepare_folder(&cells->cells[i], cells_dir(cells), attempt, cells->count > 1, err) != 0) return -1;
    }
    if (cells->count > 1 && file_system_sync(cells_dir(cells), err) != 0) return -1;
    attempt_forget(attempt);
    return cells_write(cells, err);
}

/* Each rank's own log, and the record of failures. Jobs that are at work at one time write to files of their own. */
static int open_logs(const struct cells *cells, int rank, const struct turn *turn, const json_t *hosts,
                     struct error *err) {
    const char *dir = cells_dir(cells);
    const json_t *host = json_array_get(hosts, (size_t)rank);
    char *path = turn->ahead ? text_new("%s/log/rank-%04d-attempt-%04d.jsonl", dir, rank, turn->number)
                             : text_new("%s/log/rank-%04d.jsonl", dir, rank);
    char *members = host ? json_text(host, JSON_COMPACT) : NULL;
    int rc = path && members ? log_open(path, err) : error_memory(err);
    if (rc == 0) log_event("\"attempt\": %d, \"place\": %s", turn->number, members);
    if (rc == 0) rc = failures_open(dir, rank, err);
    free(members);
    free(path);
    return rc;
}

/* What may not be missing. */
static int check_gaps(const struct cells *cells, const struct pipeline_options *options, struct error *err) {
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->cells[i];
        if (!options->make_samples && scan_gaps(&cell->run, cell->status, GAP_SAMPLES, err) != 0) return -1;
        if (options->only_decode && scan_gaps(&cell->run, cell->status, GAP_LATENTS, err) != 0) return -1;
    }
    return 0;
}

/* A cell that failed in a round has no further one: its other samples were not tried. */
static int say_dropped(const struct cells *cells, struct error *err) {
    struct text names = {0};
    size_t count = 0;
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->cells[i];
        if (!cell->rounds || !cell->idle) continue;
        text_add(&names, "%s%s after %" PRIu64 " of %" PRIu64 " samples", count++ ? ", " : "", cell->run.dir,
                 cell->run.layout.samples, (uint64_t)cell->run.job.seeds.count);
    }
    if (count > 0)
        error_set(err, CODE_DATA,
                  "%zu of %zu cells dropped out, as a round of theirs failed (see above, and their quarantine.json), "
                  "and the rest of them is not made and not judged: %s; to try again delete %s/log/failures.jsonl and "
                  "run again",
                  count, cells->count, names.data ? names.data : "?", cells_dir(cells));
    text_release(&names);
    return count > 0 ? -1 : 0;
}

/* Rank 0, when nothing was interrupted: the error that the cells' outcomes add up to. Quarantined shards end a run,
 * with a message and a code of their own. */
static int sum_up(const struct cells *cells, struct error *err) {
    const struct cell *first = NULL, *failed = NULL, *left = NULL;
    uint64_t quarantined = 0;
    if (say_dropped(cells, err) != 0) return -1;
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->cells[i];
        quarantined += json_array_size(cell->quarantine);
        if (!first && cell->code == CODE_QUARANTINE) first = cell;
        else if (!failed && cell->code != CODE_OK && cell->code != CODE_QUARANTINE) failed = cell;
        else if (!left && !cell->concluded) left = cell;
    }
    if (failed && cells_sweep(cells))
        return error_set(err, failed->code, "%s could not be made or evaluated (see above)", failed->run.dir);
    if (failed) {
        *err = (struct error){.code = failed->code}; /* the rank that concluded it has logged why */
        return -1;
    }
    if (first && json_array_size(first->quarantine) > 0) {
        const json_t *shard = json_array_get(first->quarantine, 0);
        return error_set(
            err, CODE_QUARANTINE,
            "%" PRIu64
            " shards failed twice and are left out, the rest is done; the first is shard %lld (seeds %s): %s. They are "
            "named in %s/quarantine.json; to try them again delete %s/log/failures.jsonl and run again",
            quarantined, (long long)json_integer_value(json_object_get(shard, "shard")),
            json_string_value(json_object_get(shard, "seeds")), json_string_value(json_object_get(shard, "reason")),
            first->run.dir, cells_dir(cells));
    }
    if (first) return error_set(err, CODE_QUARANTINE, "the evaluation of %s failed twice (see log/)", first->run.dir);
    return left ? error_set(err, CODE_AGAIN, "%s was not concluded: run again to continue", left->run.dir) : 0;
}

/* Rank 0's record of this attempt is *attempt from early on. *results: of a dry run alone. */
static int make_and_conclude(struct comm *comm, struct cells *cells, const struct pipeline_options *options,
                             struct attempt **attempt, json_t **results, bool *lost, struct error *err) {
    struct place place;
    struct turn turn;
    struct outcome outcome = {0};
    struct references *references = NULL;
    json_t *hosts = NULL;
    double lease;
    int rank = comm_rank(comm), rc = read_lease(&lease, err) == 0 ? references_new(&references, err) : -1;
    if ((rc = ranks_agree(comm, rc, err)) != 0 ||
        (rc = place_rank(comm, &cells->cells[0].run.job, &place, &hosts, err)) != 0)
        goto out;
    if ((rc = reference_images_agree(comm, cells, &place, !options->dry_run, err)) != 0 ||
        (rc = inputs_agree(comm, cells, references, err)) != 0)
        goto out;
    if (options->dry_run) {
        rc = pace_look(comm, cells, err);
        if (rc == 0) rc = scan_cells(comm, cells, place.workers, err);
        if (rc == 0) rc = ranks_agree(comm, check_gaps(cells, options, err), err);
        if (rc == 0) rc = dry_run(comm, cells, &place, results, err);
        goto out;
    }
    if ((rc = attempt_begin(attempt, &turn, comm, cells_dir(cells), err)) != 0) goto out;
    if (rank == 0) rc = prepare(cells, *attempt, hosts, options->make_samples, err);
    if ((rc = ranks_agree(comm, rc, err)) != 0 ||
        (rc = ranks_agree(comm, open_logs(cells, rank, &turn, hosts, err), err)) != 0)
        goto out;
    struct crew crew = {comm, references, &place, hosts, *attempt, lease, !options->make_samples};
    rc = pace_begin(&crew, cells, err);
    if (rc == 0) rc = ranks_agree(comm, check_gaps(cells, options, err), err);
    if (rc == 0) rc = pace_run(&crew, cells, &outcome, err);
    *lost = outcome.ranks_lost > 0;
    if (rc != 0) goto out;
    if (outcome.interrupted) {
        for (size_t i = 0; rank == 0 && rc == 0 && i < cells->count; i++) rc = claim_check(&cells->cells[i].run, err);
        static const char why[] = "interrupted; what is whole is on disk: run again to continue";
        if (rc == 0) rc = error_set(err, CODE_AGAIN, "%s", rank == 0 ? why : "");
        goto out;
    }
    rc = rank == 0 ? sum_up(cells, err) : 0;
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
    struct attempt *attempt = NULL;
    int opened = cells_open(&cells, list, options->evaluate, options->count, err), rc = ranks_agree(comm, opened, err);
    for (size_t i = 0; rc == 0 && !options->make_samples && i < cells.count; i++)
        cells.cells[i].run.keeps_latents = false; /* not needed, there or not */
    for (size_t i = 0; rc == 0 && !options->make_samples && i < cells.count; i++)
        if (!cells.cells[i].run.job.evaluate.enabled && log_leads())
            log_warn("%s: its job has no evaluate block: nothing is evaluated", cells.cells[i].run.dir);
    if (rc == 0) rc = ranks_agree(comm, pace_plan(&cells, options->make_samples && !options->only_decode, err), err);
    if (rc == 0) rc = make_and_conclude(comm, &cells, options, &attempt, results, lost, err);
    bool any = false, ours = true; /* rank 0 knows */
    struct error other;
    for (size_t i = 0; opened == 0 && i < cells.count; i++) any |= cells.cells[i].concluded;
    for (size_t i = 0; any && ours && rc != 0 && i < cells.count; i++)
        ours = claim_check(&cells.cells[i].run, &other) == 0; /* else the results are another job's, too */
    if (any && ours && (rc == 0 || cells_sweep(&cells))) {
        struct error unwritten;
        int reported = cells_results(&cells, results, &unwritten);
        if (rc == 0 && (rc = reported) != 0) *err = unwritten;
    }
    attempt_end(attempt, rc == 0 ? 0 : (int)err->code);
    failures_close();
    if (opened == 0) cells_close(&cells);
    return rc;
}
