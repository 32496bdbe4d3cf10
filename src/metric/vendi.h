/* The Vendi score, the effective number of different samples: exp(-sum_i l_i log l_i) with the eigenvalues l of K/N and
 * K the cosines of all pairs of rows. Friedman & Dieng 2023, arXiv:2210.02410, order q = 1. In double. */
#ifndef METRIC_VENDI_H
#define METRIC_VENDI_H

#include "base/error.h"
#include "eval/features.h"

/* Through the [dim][dim] matrix that has the same eigenvalues. A row of zeros is CODE_DATA, naming it. */
int vendi_score(const struct features *features, double *score, struct error *err);

#endif
