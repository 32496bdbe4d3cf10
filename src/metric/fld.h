/* Feature likelihood divergence (FLD). Jiralerspong et al. 2023, arXiv:2302.04440, with the constants of its authors'
 * program: features are scaled by mean and deviation of the test set; a mixture of equal isotropic Gaussians, one at
 * each sample, has its variances fitted to the training set (Adam at 0.5, at most 50 epochs of batches of at most
 * 10,000 rows, a Gaussian of its own at the mean for what is far from all samples), and FLD is 100 times the mean
 * negative log-likelihood a dimension of the test set, less that of a mixture at half of the training set fitted to the
 * other half. In double. */
#ifndef METRIC_FLD_H
#define METRIC_FLD_H

#include "base/error.h"
#include "eval/features.h"

enum { FLD_MOST = 10000 /* samples: the first so many */ };

struct fld {
    double value; /* the lower the better: 0 as good as training samples */
    double gap;   /* 100 times (training set's - test set's): far below 0 where samples are copies of training images */
};

/* Two rows or more of samples and test, four of training; equal dimensions. Where the authors shuffle, rows are taken
 * evenly spaced: the same every time. Features that do not vary in the test set are left out and counted in *constant;
 * none left is CODE_DATA. Memory: 4 bytes a pair of a training row and a sample. On all threads; the bits do not depend
 * on their number. */
int fld_score(const struct features *samples, const struct features *training, const struct features *test,
              struct fld *fld, size_t *constant, struct error *err);

#endif
