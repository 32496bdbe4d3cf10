/* Frechet distance of two Gaussians (FID): |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), float64, no epsilon. */
#ifndef EVAL_FRECHET_H
#define EVAL_FRECHET_H

#include "base/error.h"
#include "eval/statistics.h"

/* With S1 = A A^T and S2 = B B^T, tr (S1 S2)^(1/2) is the sum of the singular values of A^T B: no root of a rounding
 * error is ever taken, so that strongly graded covariances keep their digits. A and B come from Cholesky with complete
 * pivoting of the correlations, where pivots below dim * 2^-53 count as 0, so that singular covariances (dead features,
 * fewer samples than features) keep theirs too. Different dimensions, and a sigma that is not positive semidefinite,
 * are CODE_DATA. Sets OpenBLAS to one thread. */
int frechet_distance(const struct statistics *a, const struct statistics *b, double *distance, struct error *err);

#endif
