#include "cmd/command.h"
#include "base/log.h"
#include "base/text.h"
#include "run/result.h"
#include "run/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verdict {
    FILE *out;                      /* where the lines go: with --json not to stdout */
    size_t counts[SHARD_STALE + 1]; /* files, by their state */
    size_t strangers;
    char digest[SHA256_HEX];
};

/* Prints one line a file that is not as it should be; counts it. */
static int judge(const struct run *run, shard_id shard, int output, struct verdict *verdict, struct shard_info *info,
                 struct error *err) {
    enum shard_state state;
    struct error why;
    if (scan_file(run, shard, output, &state, info, NULL, &why, err) != 0) return -1;
#pragma omp critical(verify)
    {
        verdict->counts[state]++;
        if (state != SHARD_GOOD) {
            char *path = run_path(run, shard, output);
            fprintf(verdict->out, "%-8s %s%s%s\n", shard_state_names[state], path ? path : "?",
                    why.message[0] ? ": " : "", why.message);
            free(path);
        }
    }
    return 0;
}

static int verify_files(const struct run *run, struct verdict *verdict, struct shard_info *infos, struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    int rc = 0;
#pragma omp parallel for schedule(dynamic)
    for (uint64_t i = 0; i < shards; i++) {
        struct error one;
        struct shard_info ignored;
        int failed = judge(run, (shard_id){i}, SAMPLES, verdict, &infos[i], &one);
        for (int k = 0; failed == 0 && k < NETWORK_OUTPUTS; k++)
            if (run_wants(run, k)) failed = judge(run, (shard_id){i}, k, verdict, &ignored, &one);
        if (failed) {
#pragma omp critical(verify)
            rc = (*err = one, -1);
        }
    }
    return rc;
}

static int verify_run(const struct run *run, struct verdict *verdict, struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    struct shard_info *infos = calloc(shards, sizeof *infos);
    struct text names = {0};
    struct error unwritten;
    int rc = infos ? verify_files(run, verdict, infos, err) : error_memory(err);
    if (rc == 0) rc = store_strangers(run->dir, "", NULL, shards, &names, &verdict->strangers, err);
    for (int k = 0; rc == 0 && k < NETWORK_OUTPUTS; k++)
        if (run_wants(run, k))
            rc = store_strangers(run->dir, run->network.sha256, run->network.outputs[k].name, shards, &names,
                                 &verdict->strangers, err);
    for (char *line = names.data ? strtok(names.data, "\n") : NULL; line; line = strtok(NULL, "\n"))
        fprintf(verdict->out, "foreign  %s: not one of this run's files\n", line);
    if (rc == 0 && result_manifest(run, infos, verdict->digest, &unwritten) != 0) { /* an archive may be read-only */
        log_warn("the manifest is as it was: %s", unwritten.message);
        store_payload_digest(infos, shards, verdict->digest);
    }
    text_free(&names);
    free(infos);
    return rc;
}

/* What was found in numbers; 0 when that is exactly the run. */
static int sum_up(const struct run *run, const struct verdict *verdict, bool as_json, struct error *err) {
    const size_t *counts = verdict->counts;
    size_t bad = counts[SHARD_MISSING] + counts[SHARD_DAMAGED] + counts[SHARD_FOREIGN] + counts[SHARD_STALE];
    size_t foreign = counts[SHARD_FOREIGN] + verdict->strangers;
    if (as_json) {
        json_t *json = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s*}", "run", run->dir, "complete", bad == 0,
                                 "samples", (json_int_t)run->layout.samples, "good", (json_int_t)counts[SHARD_GOOD],
                                 "missing", (json_int_t)counts[SHARD_MISSING], "damaged",
                                 (json_int_t)counts[SHARD_DAMAGED], "foreign", (json_int_t)foreign, "stale",
                                 (json_int_t)counts[SHARD_STALE], "payload_sha256", bad == 0 ? verdict->digest : NULL);
        int rc = json ? print_json(json, err) : error_memory(err);
        json_decref(json);
        if (rc != 0) return -1;
    } else {
        printf("%zu files good, %zu missing, %zu damaged, %zu foreign or doubled, %zu stale\n", counts[SHARD_GOOD],
               counts[SHARD_MISSING], counts[SHARD_DAMAGED], foreign, counts[SHARD_STALE]);
    }
    if (bad > 0)
        return error_set(err, CODE_AGAIN, "%s: %zu files are missing or bad: run the job again to make them", run->dir, bad);
    if (verdict->strangers > 0)
        return error_set(err, CODE_DATA, "%s holds %zu files that are not this run's: move them away", run->dir,
                         verdict->strangers);
    if (!as_json)
        printf("%s holds exactly its %llu samples, digest %s\n", run->dir, (unsigned long long)run->layout.samples,
               verdict->digest);
    return 0;
}

static int verify(int argc, char **argv, struct error *err) {
    struct options options;
    json_t *document = NULL;
    struct run run;
    struct verdict verdict = {0};
    bool done;
    int rc = options_parse(&options, argc, argv, &command_verify, "j", &done, err);
    if (rc != 0 || done) goto out;
    rc = -1;
    if (document_read(&document, options.operand, err) != 0 || run_open(&run, document, options.operand, err) != 0) goto out;
    verdict.out = options.json ? stderr : stdout;
    rc = verify_run(&run, &verdict, err);
    if (rc == 0) rc = sum_up(&run, &verdict, options.json, err);
    run_close(&run);
out:
    options_free(&options);
    return rc;
}

const struct command command_verify = {
    "verify", "RUN [--json]", "Read every file of a run again and say what is missing, damaged, doubled or foreign",
    "Rewrites the manifest from what it finds. Exit status: 0 complete; 75 files are missing or bad, run the job again;\n"
    "65 only foreign files besides.\n", verify};
