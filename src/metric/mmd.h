/* Kernel distances (squared MMD) of two sets of features, in double.
 * KID: unbiased, kernel (x.y/d + 1)^3. Binkowski et al. 2018.
 * CMMD: 1,000 times the plain (biased) estimate, rows scaled to norm 1, kernel exp(-|x - y|^2/(2 sigma^2)) with sigma
 * = 10. Jayasumana et al. 2023 (arXiv 2401.09603), whose features are CLIP's. */
#ifndef METRIC_MMD_H
#define METRIC_MMD_H

#include "base/error.h"
#include "eval/features.h"
#include "eval/precision.h"

#include <stdint.h>

enum { KID_SUBSETS = 100, KID_SUBSET_SIZE = 1000 };

/* Over all pairs of rows. At least two rows each; equal dimensions. */
int kid_full(const struct features *a, const struct features *b, double *kid, struct error *err);

/* kids[0]: the same; kids[1 + k]: without block k of a's rows (precision.h), where a has JACKKNIFE_LEAST. */
int kid_without_blocks(const struct features *a, const struct features *b, double kids[1 + JACKKNIFE_BLOCKS],
                       struct error *err);

/* The customary estimate (torch-fidelity, EDM's successors): mean and population standard deviation over subsets.
 * indices [subsets][2][size]: rows of a and of b, as kid_check takes them. */
int kid_subsets(const struct features *a, const struct features *b, const int64_t *indices, size_t subsets, size_t size,
                double *mean, double *deviation, struct error *err);
/* CODE_DATA: an index is of no row. */
int kid_check(const int64_t *indices, size_t subsets, size_t size, size_t a_count, size_t b_count, struct error *err);
/* KID_SUBSETS subsets of KID_SUBSET_SIZE (or of all rows, where there are fewer) without replacement; the same ones
 * every time. *indices new. */
int kid_draw(size_t a_count, size_t b_count, int64_t **indices, size_t *size, struct error *err);

/* cmmd[0]: of all rows; cmmd[1 + k]: without block k of a's rows (precision.h), where a has JACKKNIFE_LEAST; a row of
 * norm 0 is CODE_DATA. Never holds more than blocks of the matrix of pairs. */
int cmmd_without_blocks(const struct features *a, const struct features *b, double cmmd[1 + JACKKNIFE_BLOCKS],
                        struct error *err);

#endif
