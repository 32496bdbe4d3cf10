/* Precision and recall (Kynkaanniemi et al. 2019; ADM's rule: a distance equal to the radius counts), density and
 * coverage (Naeem et al. 2020), from the radii of k-th nearest neighbours. In double. */
#ifndef METRIC_NEIGHBOURS_H
#define METRIC_NEIGHBOURS_H

#include "base/error.h"
#include "eval/features.h"

enum { NEIGHBOURS = 3 }; /* k; the point itself is none of them */

struct prdc {
    double precision; /* the part of samples within the radius of some reference point */
    double recall;    /* the part of reference points within the radius of some sample */
    double density;   /* reference balls around a sample, over k, on average: may exceed 1 */
    double coverage;  /* the part of reference points with a sample in their ball */
};

/* More than NEIGHBOURS rows each; equal dimensions. Time grows with (samples + reference)^2. */
int neighbours_prdc(const struct features *samples, const struct features *reference, struct prdc *prdc,
                    struct error *err);

#endif
