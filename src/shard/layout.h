/* Pure arithmetic from positions in the seed list to batches and shards. Batches are fixed slices of the seed list,
 * shards are whole batches; neither depends on ranks. Thread-safe. */
#ifndef SHARD_LAYOUT_H
#define SHARD_LAYOUT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t value;
} shard_id; /* not a sample id, not a row: a type of its own */

struct layout {
    uint64_t samples;    /* seeds in all */
    uint64_t shard_rows; /* samples a shard; a multiple of batch; the last shard may have fewer */
    uint64_t batch;
};

/* samples_per_shard 0: as many whole batches as stay within 256 samples and 256 MiB of sample_bytes each, at least one.
 * CODE_DATA: one that is not a multiple of batch (the nearest ones that are get named), or a shard beyond all memory.
 */
int layout_init(struct layout *layout, uint64_t samples, uint64_t batch, uint64_t samples_per_shard,
                size_t sample_bytes, struct error *err);
uint64_t layout_shards(const struct layout *layout);
/* For shard < layout_shards and batch_in_shard < layout_batches: */
uint64_t layout_first(const struct layout *layout, shard_id shard); /* position of the shard's first sample */
uint64_t layout_rows(const struct layout *layout, shard_id shard);
uint64_t layout_batches(const struct layout *layout, shard_id shard);
uint64_t layout_batch_first(const struct layout *layout, uint64_t batch_in_shard); /* row in the shard */
uint64_t layout_batch_rows(const struct layout *layout, shard_id shard, uint64_t batch_in_shard);
/* Share of worker time spent idle when `workers` >= 1 workers take the job's batches one at a time: 0 to 1. */
double layout_idle(const struct layout *layout, uint64_t workers);

#endif
