/* Monge distance (MIND): 3 D times the squared sliced Wasserstein distance W2 of D features. Berthet et al. 2026,
 * arXiv:2605.06797. The mean over directions is that over orthonormal frames (Rowland et al. 2019): as unbiased as that
 * over independent directions, with less noise, and for D <= MIND_DIRECTIONS exact for sets that differ by a
 * translation m: 3 |m|^2. Sets of different sizes are compared by their quantiles. In double. */
#ifndef METRIC_MIND_H
#define METRIC_MIND_H

#include "base/error.h"
#include "eval/features.h"
#include "eval/precision.h"

enum { MIND_DIRECTIONS = 1000 }; /* at least: whole frames where D is smaller; the same ones every time */

/* minds[0]: of all rows of a; minds[1 + k]: without block k of a, where a has JACKKNIFE_LEAST rows, else left alone.
 * On all threads; the bits do not depend on their number. */
int mind_without_blocks(const struct features *a, const struct features *b, double minds[1 + JACKKNIFE_BLOCKS],
                        struct error *err);

#endif
