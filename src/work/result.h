/* What a run's shards amount to: manifest and picture. Nothing here is collective; each function may be called
 * by any one thread, but for one run only by one at a time. */
#ifndef WORK_RESULT_H
#define WORK_RESULT_H

#include "base/draft.h"
#include "base/error.h"
#include "cluster/cluster.h"
#include "cluster/place.h"
#include "run/run.h"
#include "shard/store.h"

/* Rewrites manifest.jsonl (infos: [shards], the sha256 empty where a shard is not good). digest:
 * store_payload_digest. */
int result_manifest(const struct run *run, const struct shard_info *infos, const struct file_guard *guard,
                    char digest[SHA256_HEX], struct error *err);
/* Is it what result_manifest would write? */
int result_manifest_same(const struct run *run, const struct shard_info *infos, bool *same, struct error *err);
/* New: how the samples of `made` were made, "generation" of metrics.json. NULL: out of memory. */
json_t *result_generation(const struct run *run, const struct tally *made, const struct place *place);
bool result_has_picture(const struct run *run); /* samples of 1 or 3 channels of bytes: not latents */
/* DIR/grid.png: 10 x 10 samples in seed order, one class a row where there are classes. *path new. */
int result_picture(const struct run *run, char **path, struct error *err);

/* Runs that get their samples in rounds (pace.h). What a round came to is in DIR/rounds/SAMPLES.json, in the form of
 * metrics.json; what is decided after it is a function of these files alone, and they are of the samples, whose digest
 * they have: so every job, on any number of ranks, decides alike. */
#define ROUNDS_FOLDER "rounds"
char *rounds_path(const struct run *run, uint64_t samples); /* new */
/* New: what the round with so many samples came to. */
int rounds_read(json_t **result, const struct run *run, uint64_t samples, struct error *err);
/* *more: how many samples are on disk, by their shards' names, behind the first `samples`, in whole shards. */
int rounds_surplus(const struct run *run, uint64_t samples, uint64_t *more, struct error *err);
/* Adds to a "generation" of metrics.json ({}: none) those of the rounds of at most as many samples as the run has.
 * Returns `own`, or json_null in its place where it stays empty; NULL: out of memory. */
json_t *rounds_generation(const struct run *run, json_t *own);

#endif
