/* Frechet distance of two Gaussians (Dowson & Landau 1982): |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2). Of the
 * features of samples and reference it is the FID (Heusel et al. 2017). In float64; no epsilon is added to the
 * diagonals. Several threads may call these at a time, for one `struct frechet` too once it is prepared. */
#ifndef EVAL_FRECHET_H
#define EVAL_FRECHET_H

#include "base/error.h"
#include "eval/statistics.h"

/* One side, factored once for many distances. Borrows the statistics. */
struct frechet {
    const struct statistics *of;
    double *factor; /* [dim][rank], column-major, zero above the diagonal: factor factor^T is sigma with its rows ... */
    int *order;     /* ... and columns in this order of the features, [dim] */
    int rank;
};

/* Cholesky with complete pivoting of the correlations, where pivots below dim * 2^-53 count as 0, so that singular
 * covariances (dead features, fewer samples than features) keep their digits. A sigma that is not positive semidefinite
 * is CODE_DATA. The statistics must stay until frechet_release. */
int frechet_prepare(struct frechet *frechet, const struct statistics *of, struct error *err);
void frechet_release(struct frechet *frechet);

/* With S1 = A A^T, tr (S1 S2)^(1/2) is the sum of the singular values of A^T B, S2 = B B^T: no root of a rounding error
 * is ever taken, so that strongly graded covariances keep their digits. Eigenvalues of the square, at half the cost,
 * are taken where they are seen to be as good. Different dimensions are CODE_DATA. */
int frechet_distance_to(const struct frechet *first, const struct statistics *second, double *distance,
                        struct error *err);

#endif
