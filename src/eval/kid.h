/* Kernel distance (KID): unbiased squared MMD with the kernel (x.y/d + 1)^3. Binkowski et al. 2018. In double. */
#ifndef EVAL_KID_H
#define EVAL_KID_H

#include "base/error.h"
#include "eval/features.h"

#include <stdint.h>

enum { KID_SUBSETS = 100, KID_SUBSET_SIZE = 1000 };

/* Over all pairs of rows. At least two rows each; equal dimensions. */
int kid_full(const struct features *a, const struct features *b, double *kid, struct error *err);

/* The customary estimate (torch-fidelity, EDM's successors): mean and population standard deviation over subsets.
 * indices [subsets][2][size]: rows of a and of b. */
int kid_subsets(const struct features *a, const struct features *b, const int64_t *indices, size_t subsets, size_t size,
                double *mean, double *deviation, struct error *err);
/* KID_SUBSETS subsets of KID_SUBSET_SIZE (or of all rows, where there are fewer) without replacement; the same ones
 * every time. *indices new. */
int kid_draw(size_t a_count, size_t b_count, int64_t **indices, size_t *size, struct error *err);

#endif
