/* Features of a set of samples in memory: float32, as networks give them, in the order of the samples. */
#ifndef EVAL_FEATURES_H
#define EVAL_FEATURES_H

#include "base/error.h"
#include "eval/moments.h"

#include <stdbool.h>
#include <stddef.h>

struct features {
    size_t count, dim;
    float *rows; /* [count][dim] */
};

/* A .npy [N,D], or an .npz with one array `features` or `arr_0` of that shape, float16, float32 or float64 (rounded to
 * float32). A value that is not finite is CODE_DATA naming row and column. */
int features_read(struct features *features, const char *path, struct error *err);
/* True for an .npz that features_read would look into, false for one of statistics (mu, sigma) or a damaged one. */
bool features_in_npz(const char *path);
void features_free(struct features *features);
/* Moments of rows first..first+count-1. *moments is new. */
int features_moments(const struct features *features, size_t first, size_t count, struct moments *moments,
                     struct error *err);

#endif
