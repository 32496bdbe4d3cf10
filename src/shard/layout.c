/* From positions in the seed list to shards and batches. */
#include "shard/layout.h"

#include <inttypes.h>

static const uint64_t USUAL_ROWS = 256;
static const uint64_t USUAL_BYTES = (uint64_t)256 << 20;
static const uint64_t MOST_ROWS = (uint64_t)1 << 53; /* of a batch or shard; up to here no sum below overflows */

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t divide_up(uint64_t a, uint64_t b) {
    return a / b + (a % b != 0);
}

static int check_range(const char *key, uint64_t rows, struct error *err) {
    if (rows >= 1 && rows <= MOST_ROWS) return 0;
    return error_set(err, CODE_DATA, "%s: expected 1 to %" PRIu64 ", found %" PRIu64, key, MOST_ROWS, rows);
}

int layout_init(struct layout *layout, uint64_t samples, uint64_t batch, uint64_t samples_per_shard,
                size_t sample_bytes, struct error *err) {
    if (samples == 0) return error_set(err, CODE_DATA, "seeds: expected at least one");
    uint64_t rows = samples_per_shard, bytes;
    if (check_range("batch", batch, err) != 0) return -1;
    if (rows == 0) {
        rows = smaller(USUAL_ROWS, USUAL_BYTES / (sample_bytes ? sample_bytes : 1)) / batch * batch;
        if (rows == 0) rows = batch;
    }
    if (check_range("output.samples_per_shard", rows, err) != 0) return -1;
    if (rows % batch != 0) {
        uint64_t near = rows < batch ? batch : rows / batch * batch;
        return error_set(err, CODE_DATA,
                         "output.samples_per_shard: expected whole batches of %" PRIu64 ", found %" PRIu64
                         ": say %" PRIu64 " or %" PRIu64,
                         batch, rows, near, near + batch);
    }
    if (__builtin_mul_overflow(smaller(rows, samples), sample_bytes, &bytes) || bytes > SIZE_MAX / 2)
        return error_set(err, CODE_DATA,
                         "output.samples_per_shard: expected shards that fit memory, found %" PRIu64
                         " samples of %zu bytes: say fewer",
                         smaller(rows, samples), sample_bytes);
    *layout = (struct layout){.samples = samples, .shard_rows = rows, .batch = batch};
    return 0;
}

uint64_t layout_shards(const struct layout *layout) {
    return divide_up(layout->samples, layout->shard_rows);
}

uint64_t layout_first(const struct layout *layout, shard_id shard) {
    return shard.value * layout->shard_rows;
}

uint64_t layout_rows(const struct layout *layout, shard_id shard) {
    return smaller(layout->shard_rows, layout->samples - layout_first(layout, shard));
}

uint64_t layout_batches(const struct layout *layout, shard_id shard) {
    return divide_up(layout_rows(layout, shard), layout->batch);
}

uint64_t layout_batch_first(const struct layout *layout, uint64_t batch_in_shard) {
    return batch_in_shard * layout->batch;
}

uint64_t layout_batch_rows(const struct layout *layout, shard_id shard, uint64_t batch_in_shard) {
    return smaller(layout->batch, layout_rows(layout, shard) - layout_batch_first(layout, batch_in_shard));
}

double layout_idle(const struct layout *layout, uint64_t workers) {
    uint64_t batches = divide_up(layout->samples, layout->batch);
    uint64_t rounds = divide_up(batches, workers);
    return 1 - (double)batches / ((double)rounds * (double)workers);
}
