/* How fast a network is for batches and workers on this machine. */
#ifndef SAMPLE_SPEED_H
#define SAMPLE_SPEED_H

#include "base/error.h"
#include "job/card.h"
#include "torch_shim.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { SPEED_LARGEST = 256, SPEED_GPU_WORKERS = 2 };

struct speed_trial {         /* a network to be timed; outside of parallel regions */
    const struct card *card; /* its inputs are zeros */
    struct shim_model *model;
    int device;
    double time; /* the network's t, in the middle of its schedule: speed_middle */
};
int speed_middle(struct speed_trial *trial, struct error *err); /* sets time */

struct speed_range {
    size_t first, last; /* batches: first, twice that, ... to last */
    int fewest, most;   /* workers: these two */
};
/* Added to the array `speeds`: {"batch", "workers", "rows_per_second" (all workers together), "peak_bytes" (of this
 * process so far)} of each pair, until two larger batches in a row bring nothing. A first batch that fails is
 * CODE_DATA; a larger one (memory?) is warned of and ends it. */
int speed_measure(json_t *speeds, const struct speed_trial *trial, struct speed_range range, struct error *err);
/* The smallest batch, and of its workers the fewest, that is as good (0.97) as the best. Borrowed. */
const json_t *speed_recommended(const json_t *speeds);
double speed_rate(const json_t *speed);
/* Is it faster by more than what counts as equal? */
bool speed_beats(double rate, double other);

#endif
