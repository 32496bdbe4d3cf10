#include "cmd/command.h"
#include "base/text.h"
#include "run/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints one line a file that is not as it should be; counts it. */
static int judge(const struct run *run, shard_id shard, bool features, size_t counts[], struct shard_info *info,
                 struct error *err) {
    enum shard_state state;
    struct error why;
    if (scan_file(run, shard, features, &state, info, NULL, &why, err) != 0) return -1;
#pragma omp critical(verify)
    {
        counts[state]++;
        if (state != SHARD_GOOD) {
            char *path = run_path(run, shard, features);
            printf("%-8s %s%s%s\n", shard_state_names[state], path ? path : "?", why.message[0] ? ": " : "", why.message);
            free(path);
        }
    }
    return 0;
}

static int verify_run(const struct run *run, size_t counts[], size_t *strangers, char digest[SHA256_HEX],
                      struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    struct shard_info *infos = calloc(shards, sizeof *infos);
    int rc = infos ? 0 : error_memory(err);
#pragma omp parallel for schedule(dynamic)
    for (uint64_t i = 0; i < shards; i++) {
        struct error one;
        struct shard_info ignored;
        if (!infos) continue;
        if (judge(run, (shard_id){i}, false, counts, &infos[i], &one) != 0 ||
            (run->job.evaluate.enabled && judge(run, (shard_id){i}, true, counts, &ignored, &one) != 0)) {
#pragma omp critical(verify)
            rc = (*err = one, -1);
        }
    }
    if (rc == 0) store_payload_digest(infos, shards, digest);
    free(infos);
    struct text names = {0};
    if (rc == 0) rc = store_strangers(run->dir, "", NULL, shards, &names, strangers, err);
    if (rc == 0 && run->job.evaluate.enabled)
        rc = store_strangers(run->dir, run->network.sha256, run->network.output, shards, &names, strangers, err);
    for (char *line = names.data ? strtok(names.data, "\n") : NULL; line; line = strtok(NULL, "\n"))
        printf("foreign  %s: not one of this run's files\n", line);
    text_free(&names);
    return rc;
}

static int verify(int argc, char **argv, struct error *err) {
    struct options options;
    json_t *document = NULL;
    struct run run;
    size_t counts[SHARD_STALE + 1] = {0}, strangers = 0;
    char digest[SHA256_HEX] = "";
    bool done;
    int rc = options_parse(&options, argc, argv, &command_verify, "", &done, err);
    if (rc != 0 || done) goto out;
    rc = -1;
    if (document_read(&document, options.operand, err) != 0 || run_open(&run, document, options.operand, err) != 0) goto out;
    rc = verify_run(&run, counts, &strangers, digest, err);
    if (rc == 0) {
        size_t bad = counts[SHARD_MISSING] + counts[SHARD_DAMAGED] + counts[SHARD_FOREIGN] + counts[SHARD_STALE];
        printf("%zu files good, %zu missing, %zu damaged, %zu foreign or doubled, %zu stale\n", counts[SHARD_GOOD],
               counts[SHARD_MISSING], counts[SHARD_DAMAGED], counts[SHARD_FOREIGN] + strangers, counts[SHARD_STALE]);
        if (bad > 0)
            rc = error_set(err, CODE_AGAIN, "%s: %zu files are missing or bad: run the job again to make them", run.dir, bad);
        else if (strangers > 0)
            rc = error_set(err, CODE_DATA, "%s holds %zu files that are not this run's: move them away", run.dir, strangers);
        else
            printf("%s holds exactly its %llu samples, digest %s\n", run.dir, (unsigned long long)run.layout.samples, digest);
    }
    run_close(&run);
out:
    options_free(&options);
    return rc;
}

const struct command command_verify = {
    "verify", "RUN", "Read every file of a run again and say what is missing, damaged, doubled or foreign",
    "Exit status: 0 complete; 75 files are missing or bad, run the job again; 65 only foreign files besides.\n", verify};
