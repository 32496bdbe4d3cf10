/* Whether the samples of two runs are the same. */
#ifndef EXPORT_SAME_H
#define EXPORT_SAME_H

#include "base/error.h"
#include "run/run.h"

#include <stdbool.h>
#include <stdint.h>

struct same {
    uint64_t samples;         /* of the seeds that both have, in the order of the first run's */
    uint64_t differing;       /* of those, whose stored bytes differ */
    bool alike;               /* both store the same type and shape */
    bool levels;              /* pixels were compared: some bytes differ, and both have pixels of one shape */
    uint64_t values, changed; /* pixel values that were compared, and those that differ */
    int largest; /* their largest difference, in levels of 0..255; floats are rounded by their run's rule */
};

/* Every shard is verified as it is read; one that is missing or damaged is CODE_AGAIN. CODE_DATA: no seed in common. */
int same_compare(struct same *same, const struct run *a, const struct run *b, struct error *err);

#endif
