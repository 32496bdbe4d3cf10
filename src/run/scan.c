#include "run/scan.h"

#include "run/agree.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

int scan_file(const struct run *run, shard_id shard, int output, enum shard_state *state, struct shard_info *info,
              void **rows, struct error *why, struct error *err) {
    uint64_t count = layout_rows(&run->layout, shard);
    uint64_t *seeds = malloc(count * sizeof *seeds);
    int64_t *labels = malloc(count * sizeof *labels);
    char *path = run_path(run, shard, output);
    int rc = -1;
    if (!seeds || !labels || !path) {
        error_memory(err);
    } else {
        struct shard_meta meta = run_meta(run, shard, output, seeds, labels);
        struct npy npy = run_npy(run, shard, output);
        rc = store_check(path, &meta, &npy, state, info, rows, why, err);
    }
    free(path);
    free(labels);
    free(seeds);
    return rc;
}

static int scan_shard(const struct run *run, shard_id shard, struct shard_status *status, struct error *err) {
    enum shard_state state;
    struct error why;
    if (scan_file(run, shard, SAMPLES, &state, &status->samples_info, NULL, &why, err) != 0) return -1;
    status->samples = (unsigned char)(state + 1);
    for (int k = 0; k < NETWORK_OUTPUTS; k++) {
        struct shard_info ignored;
        if (!run_wants(run, k)) continue;
        if (scan_file(run, shard, k, &state, &ignored, NULL, &why, err) != 0) return -1;
        status->features[k] = (unsigned char)(state + 1);
    }
    return 0;
}

int scan_run(struct comm *comm, const struct run *run, int threads, struct shard_status *status, struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    int rank = comm ? comm_rank(comm) : 0, size = comm ? comm_size(comm) : 1;
    struct error failure = {.code = CODE_OK};
    /* Only what this rank looks at stays non-zero, so that a maximum over ranks merges the tables. */
    struct shard_status *found = calloc(shards, sizeof *found);
    if (!found) error_memory(&failure);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (uint64_t i = (uint64_t)rank; i < shards; i += (uint64_t)size) {
        struct error one;
        if (!found || status[i].samples != 0) continue;
        if (scan_shard(run, (shard_id){i}, &found[i], &one) != 0) {
#pragma omp critical(scan_failure)
            failure = one;
        }
    }
    int rc = failure.code != CODE_OK ? -1 : 0;
    if (rc != 0) *err = failure;
    rc = ranks_agree(comm, rc, err);
    if (rc == 0 && comm) rc = comm_merge(comm, (unsigned char *)found, shards * sizeof *found, err);
    for (uint64_t i = 0; rc == 0 && i < shards; i++)
        if (status[i].samples == 0) status[i] = found[i];
    free(found);
    return rc;
}

bool scan_good(const struct run *run, const struct shard_status *status) {
    bool good = status->samples == SHARD_GOOD + 1;
    for (int k = 0; k < NETWORK_OUTPUTS; k++) good &= !run_wants(run, k) || status->features[k] == SHARD_GOOD + 1;
    return good;
}
