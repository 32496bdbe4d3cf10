/* Features of a set of samples in memory: float32, as networks give them, in the order of the samples. */
#ifndef EVAL_FEATURES_H
#define EVAL_FEATURES_H

#include "base/error.h"
#include "base/hash.h"
#include "eval/moments.h"
#include "format/images.h"
#include "job/job.h"

#include <stddef.h>
#include <stdint.h>

struct npz;

enum feature_kind {                   /* which of a network's layers */
                    FEATURES_POOL,    /* fid, fid_infinity, kid, prdc, cmmd, mind, vendi */
                    FEATURES_SPATIAL, /* sfid: ADM's are the first 7 channels of mixed_6/conv, [17,17,7], flattened */
                    FEATURES_LOGITS,  /* is */
                    FEATURE_KINDS,
};
extern const char *const feature_kind_names[]; /* "pool", ...; ends with NULL */
enum feature_kind features_of_metric(enum metric metric);

struct features {
    size_t count, dim;
    float *rows; /* [count][dim] */
};

/* How they were made, as far as a file says: a .npy of ours in its header's note, an .npz in its member `network`. */
struct features_origin {
    char network[SHA256_HEX]; /* sha256 of the network's file; "": not known */
    char recipe[RECIPE_SIZE]; /* images_recipe; "": not known */
    int64_t shape[3];         /* of the images, [C,H,W], whose pixels they are (none); 0: not known, or no pixels */
};

/* A .npy [N,D], or an .npz with one array `features` or `arr_0` of that shape, float16, float32 or float64 (rounded to
 * float32). A value that is not finite is CODE_DATA naming row and column. */
int features_read(struct features *features, struct features_origin *origin, const char *path, struct error *err);
/* A .npy. Atomic. */
int features_write(const struct features *features, const struct features_origin *origin, const char *path,
                   struct error *err);
/* A value that is not finite is CODE_DATA naming row and column. */
int features_check(const struct features *features, struct error *err);
/* inverse [count] = 1 / |x| in double, by which a row is taken at unit length; NULL: only looks. A row of
 * zeros is CODE_DATA, naming it. */
int features_lengths(const struct features *features, double *inverse, struct error *err);
/* The member `network` of an .npz: "": it has none. CODE_DATA: it is no digest. */
int features_network(struct npz *npz, char network[SHA256_HEX], const char *path, struct error *err);
void features_release(struct features *features);
/* Moments of rows first..first+count-1. *moments is new. */
int features_moments(const struct features *features, size_t first, size_t count, struct moments *moments,
                     struct error *err);

#endif
