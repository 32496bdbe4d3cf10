#include "run/pipeline.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "report/summary.h"
#include "run/agree.h"
#include "run/produce.h"
#include "run/result.h"
#include "run/scan.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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
        if (rc == 0) rc = file_remove_stale(folder, err);
        free(folder);
        if (rc != 0) return -1;
    }
    for (int output = 0; output < NETWORK_OUTPUTS; output++) {
        if (!run_wants(run, output)) continue;
        char *file = run_path(run, (shard_id){0}, output), *folder = file ? path_folder(file) : NULL;
        int rc = folder ? file_remove_stale(folder, err) : error_memory(err);
        free(folder);
        free(file);
        if (rc != 0) return -1;
    }
    char *path = text_new("%s/run.json", run->dir);
    int rc = path ? summary_write(path, run->document, err) : error_memory(err);
    free(path);
    return rc;
}

static int open_log(const struct run *run, int rank, struct error *err) {
    char *path = text_new("%s/log/rank-%04d.jsonl", run->dir, rank);
    int rc = path ? log_open(path, err) : error_memory(err);
    free(path);
    return rc;
}

/* Names the gaps, "shards 3-5, 9 (1,024 samples)"; CODE_AGAIN. */
static int report_gaps(const struct run *run, const struct shard_status *status, struct error *err) {
    struct text list = {0};
    uint64_t shards = layout_shards(&run->layout), samples = 0, ranges = 0;
    for (uint64_t i = 0; i < shards; i++) {
        if (scan_good(run, &status[i])) continue;
        uint64_t last = i;
        for (; last < shards && !scan_good(run, &status[last]); last++)
            samples += layout_rows(&run->layout, (shard_id){last});
        last--;
        if (ranges < 10) text_add(&list, last > i ? "%s%" PRIu64 "-%" PRIu64 : "%s%" PRIu64, ranges ? ", " : "", i, last);
        else if (ranges == 10) text_add(&list, ", ...");
        ranges++;
        i = last;
    }
    if (ranges == 0) return 0;
    error_set(err, CODE_AGAIN, "%s is incomplete: %" PRIu64 " of %" PRIu64 " samples are missing (shards %s); run again to "
              "continue", run->dir, samples, run->layout.samples, list.data ? list.data : "?");
    text_free(&list);
    return -1;
}

/* How the samples were made: this time, or, when nothing was missing, as the last metrics.json tells. */
static json_t *generation(const struct run *run, const struct production *production, int ranks, int workers) {
    if (production->samples > 0) {
        double nfe = production->batches ? (double)production->evaluations / (double)production->batches : 0;
        return json_pack("{s:I, s:f, s:f, s:f, s:i, s:i}", "samples", (json_int_t)production->samples, "seconds",
                         production->seconds, "samples_per_second", (double)production->samples / production->seconds,
                         "nfe", nfe, "ranks", ranks, "workers_per_rank", workers);
    }
    struct error ignored;
    json_t *older = NULL, *kept = NULL;
    char *path = text_new("%s/metrics.json", run->dir);
    if (path && file_exists(path) && summary_read(&older, path, &ignored) == 0)
        kept = json_incref(json_object_get(older, "generation"));
    json_decref(older);
    free(path);
    return kept ? kept : json_null();
}

/* Rank 0, on a complete set: metrics.json and grid.png. */
static int conclude(const struct run *run, const struct shard_status *status, const struct production *production,
                    const struct pipeline_options *options, int ranks, int workers, json_t **result, struct error *err) {
    char digest[SHA256_HEX] = "", *picture = NULL, *path = NULL;
    json_t *metrics = NULL;
    int rc = -1;
    uint64_t shards = layout_shards(&run->layout);
    struct shard_info *infos = calloc(shards, sizeof *infos);
    for (uint64_t i = 0; infos && i < shards; i++) infos[i] = status[i].samples_info;
    if ((infos ? result_manifest(run, infos, digest, err) : error_memory(err)) != 0) goto out;
    if (options->evaluate && !options->defer && run->job.evaluate.enabled && result_metrics(run, options->reference, &metrics, err) != 0) goto out;
    if (run->job.output.dtype == SAMPLE_UINT8 && result_picture(run, &picture, err) != 0) goto out;
    *result = json_pack("{s:s, s:s, s:I, s:s, s:i, s:i, s:I, s:o, s:o, s:s?}", "run", run->dir, "solver", run->plan.solver,
                        "samples", (json_int_t)run->layout.samples, "payload_sha256", digest, "nfe", run->plan.nfe,
                        "model_calls", run->plan.model_calls, "made_now", (json_int_t)production->missing, "generation",
                        generation(run, production, ranks, workers), "metrics", metrics ? metrics : json_null(), "picture",
                        picture);
    metrics = NULL; /* *result has it */
    path = text_new("%s/metrics.json", run->dir);
    rc = *result && path ? summary_write(path, *result, err) : error_memory(err);
out:
    json_decref(metrics);
    free(infos);
    free(path);
    free(picture);
    return rc;
}

/* Units that failed twice are the run's end, but not a silent one. */
static int report_quarantine(const struct production *production, struct error *err) {
    const struct outcome *outcome = &production->outcome;
    for (uint64_t i = 0; i < outcome->quarantined; i++)
        log_error("shard %" PRIu64 " failed twice and is left out", outcome->quarantine[i]);
    if (outcome->quarantined == 0) return 0;
    return error_set(err, CODE_QUARANTINE, "%" PRIu64 " shards failed twice, the rest is done; the first is shard %" PRIu64
                     "%s%s", outcome->quarantined, outcome->quarantine[0], outcome->first_failure.code ? ": " : "",
                     outcome->first_failure.code ? outcome->first_failure.message : " (see log/)");
}

static int work(struct comm *comm, struct run *run, const struct pipeline_options *options, json_t **result, bool *lost,
                struct error *err) {
    struct place place;
    struct production production = {0};
    uint64_t shards = layout_shards(&run->layout);
    struct shard_status *status = calloc(shards, sizeof *status);
    int rank = comm_rank(comm), rc = status ? 0 : error_memory(err);
    if ((rc = ranks_agree(comm, rc, err)) != 0 || (rc = place_rank(comm, run, &place, err)) != 0) goto out;
    struct side reference = {0}; /* looked at before anything is made */
    if (rank == 0 && run->job.evaluate.enabled) rc = result_reference(run, &reference, err);
    side_free(&reference);
    if (rank == 0 && rc == 0) rc = prepare_folder(run, err);
    if ((rc = ranks_agree(comm, rc, err)) != 0) goto out;
    if ((rc = ranks_agree(comm, open_log(run, rank, err), err)) != 0) goto out;
    if ((rc = scan_run(comm, run, place.workers, status, err)) != 0) goto out;
    for (uint64_t i = 0; !options->make_samples && i < shards && rc == 0; i++)
        if (status[i].samples != SHARD_GOOD + 1) rc = report_gaps(run, status, err);
    if (rc != 0) goto out;
    rc = produce(comm, run, status, &place, lease_seconds(), &stop, &production, err);
    *lost = production.outcome.ranks_lost > 0;
    if (rc != 0) goto out;
    if (production.outcome.interrupted) {
        rc = error_set(err, CODE_AGAIN, "interrupted; what is whole is on disk: run again to continue");
        goto out;
    }
    rc = rank == 0 ? report_quarantine(&production, err) : 0;
    if ((rc = ranks_agree(*lost ? NULL : comm, rc, err)) != 0) goto out;
    for (uint64_t i = 0; i < shards; i++)
        if (!scan_good(run, &status[i])) status[i] = (struct shard_status){0};
    if (*lost && rank != 0) goto out; /* ranks that died can't take part: rank 0 verifies alone */
    if ((rc = scan_run(*lost ? NULL : comm, run, place.workers, status, err)) != 0) goto out;
    if (rank == 0 && (rc = report_gaps(run, status, err)) == 0)
        rc = conclude(run, status, &production, options, comm_size(comm), place.workers, result, err);
out:
    free(production.outcome.quarantine);
    free(status);
    return rc;
}

int pipeline_run(struct comm *comm, json_t *document, const char *dir, const struct pipeline_options *options,
                 json_t **result, bool *lost, struct error *err) {
    struct run run;
    *result = NULL;
    *lost = false;
    install_handlers();
    int opened = run_open(&run, document, dir, err);
    if (ranks_agree(comm, opened, err) != 0) {
        if (opened == 0) run_close(&run);
        return -1;
    }
    if (!options->evaluate) run.job.evaluate.enabled = false;
    if (options->count) run.job.evaluate.count = options->count;
    int rc = work(comm, &run, options, result, lost, err);
    log_close();
    run_close(&run);
    return rc;
}

int pipeline_conclude(json_t *document, const struct side *reference, json_t **result, struct error *err) {
    struct run run;
    struct production nothing = {0};
    const struct pipeline_options options = {.evaluate = true, .reference = reference};
    *result = NULL;
    if (run_open(&run, document, NULL, err) != 0) return -1;
    struct shard_status *status = calloc(layout_shards(&run.layout), sizeof *status);
    int rc = status ? scan_run(NULL, &run, 1, status, err) : error_memory(err);
    if (rc == 0) rc = report_gaps(&run, status, err);
    if (rc == 0) rc = conclude(&run, status, &nothing, &options, 1, 1, result, err);
    free(status);
    run_close(&run);
    return rc;
}
