/* Reference statistics: .npz files with `mu` [D] and `sigma` [D,D] in float64, covariance over N - 1: pytorch-fid's and
 * EDM's format. Ours also hold `count` (int64), `network` (sha256 of the feature network's file, |S64); of pixels
 * (none) `shape` (int64 [3]: C, H, W) and, of images that say so, `recipe` (how tools/prepare_images.py prepared them,
 * bytes). */
#ifndef EVAL_STATISTICS_H
#define EVAL_STATISTICS_H

#include "base/error.h"
#include "base/hash.h"
#include "eval/features.h"
#include "eval/moments.h"
#include "format/images.h"

struct statistics {
    size_t dim;
    double *mu;               /* [dim] */
    double *sigma;            /* [dim][dim] */
    uint64_t count;           /* 0: the file does not say */
    char network[SHA256_HEX]; /* "": the file does not say */
    int64_t shape[3];         /* of the images whose pixels they are of, [C,H,W]; 0: the file does not say */
    char recipe[RECIPE_SIZE]; /* of the images; "": the file does not say */
};

/* suffix: "" for `mu` and `sigma`, "_s" for ADM's `mu_s` and `sigma_s` (spatial features). Missing members, wrong types
 * (float32 is widened) and shapes, non-finite values, and a sigma that is asymmetric or has a negative variance beyond
 * 1e-6 of its largest variance are errors. Within that, sigma becomes (sigma + sigma^T)/2. */
int statistics_read(struct statistics *statistics, const char *path, const char *suffix, struct error *err);
/* spatial: NULL, or what goes to `mu_s` and `sigma_s`. features: NULL, or the rows that go to `features`. Atomic. */
int statistics_write(const struct statistics *statistics, const struct statistics *spatial,
                     const struct features *features, const char *path, struct error *err);
/* From at least two samples. Leaves `network` and `shape` for the caller to fill. */
int statistics_from_moments(struct statistics *statistics, const struct moments *moments, struct error *err);
void statistics_release(struct statistics *statistics);

#endif
