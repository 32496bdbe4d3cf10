/* Mean and covariance of features, in double, by centred blocks merged in a fixed order (Chan, Golub & LeVeque 1983),
 * so that the result depends on the blocks alone: bit-identical for any number of ranks and threads. Never
 * E[x^2] - E[x]^2. Several threads may each work on moments of their own. */
#ifndef EVAL_MOMENTS_H
#define EVAL_MOMENTS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MOMENTS_BLOCK = 256,     /* rows centred at a time */
    MOMENTS_DIM_MAX = 16384, /* features: a covariance of 2 GiB */
};

struct moments {
    size_t dim;
    uint64_t count;
    double *mean;    /* [dim] */
    double *scatter; /* [dim][dim], full symmetric: sum of (x - mean)(x - mean)^T */
};

/* No rows yet. dim beyond 1..MOMENTS_DIM_MAX is CODE_DATA. */
int moments_init(struct moments *moments, size_t dim, struct error *err);
void moments_release(struct moments *moments);
/* Adds rows [count][dim] in blocks of MOMENTS_BLOCK, the last one shorter: the same rows in calls of other multiples of
 * MOMENTS_BLOCK give the same bits. A value that is not finite is CODE_DATA naming row (of this call) and column, and
 * then nothing is added. */
int moments_add(struct moments *moments, const float *rows, size_t count, struct error *err);
/* Takes back rows that were added before, fewer than all; equal dimensions. Where `part` holds most of the rows the
 * rest is a small difference of large numbers, and has fewer correct digits. */
void moments_remove(struct moments *whole, const struct moments *part);

#endif
