/* Inception score: exp of the mean KL divergence of p(class | sample) from its mean. Salimans et al. 2016. */
#ifndef METRIC_INCEPTION_SCORE_H
#define METRIC_INCEPTION_SCORE_H

#include "base/error.h"
#include "eval/features.h"

enum { INCEPTION_SPLITS = 10 };

/* The rows are logits. Mean and population standard deviation over 10 splits of equal size in the order of the rows, as
 * torch-fidelity does without shuffling. */
int inception_score(const struct features *logits, double *mean, double *deviation, struct error *err);

#endif
