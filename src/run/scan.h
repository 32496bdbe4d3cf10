/* What is on disk: every shard file read and judged, the work split over ranks and threads. */
#ifndef RUN_SCAN_H
#define RUN_SCAN_H

#include "base/error.h"
#include "cluster/comm.h"
#include "run/document.h"

#include <stdbool.h>

struct shard_status {
    /* enum shard_state + 1; 0: not looked at. */
    unsigned char samples, features[NETWORK_OUTPUTS];
    struct shard_info samples_info;
};

/* One file: judges it and, when it is not good, says why (err, code CODE_OK when good). rows (may be NULL): its data when
 * good, new. -1 only when reading itself failed. */
int scan_file(const struct run *run, shard_id shard, int output, enum shard_state *state, struct shard_info *info,
              void **rows, struct error *why, struct error *err);

/* Collective. Judges every shard whose entry in status[shards] has samples == 0 (features too, where the run evaluates)
 * and fills the entries at every rank. threads: per rank. comm NULL: this process alone. */
int scan_run(struct comm *comm, const struct run *run, int threads, struct shard_status *status, struct error *err);

bool scan_good(const struct run *run, const struct shard_status *status); /* nothing to make for this shard */

#endif
