/* What is on disk: shard files read and judged. */
#ifndef RUN_SCAN_H
#define RUN_SCAN_H

#include "base/error.h"
#include "cluster/comm.h"
#include "eval/features.h"
#include "run/cells.h"

#include <stdbool.h>

/* One file: judges it and, when it is not good, says why (err, code CODE_OK when good). samples: of features, the
 * sha256 of the samples they must be of; "": any. rows (may be NULL): its data
 * when good, new. -1 only when reading itself failed. */
int scan_file(const struct run *run, shard_id shard, int output, const char *samples, enum shard_state *state,
              struct shard_info *info, void **rows, struct error *why, struct error *err);

/* A shard's wanted files, as far as status does not say that they are good; fills status. features: NULL, or
 * [FEATURE_FILES]: the rows of those that have memory (the first `count` samples of the run) are read into their
 * places. -1 as above, and CODE_DATA for another job's work (store_yields). */
int scan_shard(const struct run *run, shard_id shard, struct shard_status *status, struct features *features,
               struct error *err);

/* Collective. Judges every shard of every cell, the work split over ranks and threads, and fills their status at every
 * rank, which must be zeros, or good on every rank, before; counts what is missing. */
int scan_cells(struct comm *comm, struct cells *cells, int threads, struct error *err);

enum gap { GAP_ANY, GAP_SAMPLES, GAP_LATENTS };
/* Names the shards of which something is missing, damaged, foreign or stale, or just their samples or latents:
 * CODE_AGAIN. */
int scan_gaps(const struct run *run, const struct shard_status *status, enum gap gap, struct error *err);

bool scan_good(const struct run *run, const struct shard_status *status); /* nothing to make for this shard */
/* Must the solver run for it? Else its samples are there, or can be decoded of latents that are. */
bool scan_solves(const struct run *run, const struct shard_status *status);

#endif
