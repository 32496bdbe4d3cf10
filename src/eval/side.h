/* One side of a comparison: features of every sample, or statistics alone, by kind of feature. */
#ifndef EVAL_SIDE_H
#define EVAL_SIDE_H

#include "base/error.h"
#include "base/hash.h"
#include "eval/features.h"
#include "eval/frechet.h"
#include "eval/statistics.h"

struct view {
    struct features features;     /* rows NULL: none */
    struct statistics statistics; /* dim 0: none. Theirs, unless the file has its own beside them */
    struct frechet factor;        /* of the statistics, by side_factor; .of NULL: not made */
};

struct side {
    struct view views[FEATURE_KINDS];
    bool untyped;             /* features from a file, which does not say of what kind: views[0] stands for each */
    char network[SHA256_HEX]; /* that made the features; "": not known */
    char sha256[SHA256_HEX];  /* of the file that was read; "": none, or not asked for */
    char names[SHA256_HEX];   /* of the files that the rows are of (image_names_digest); "": they have none */
};

/* How images become features. */
struct extraction {
    const char *network; /* a file; NULL: pixels */
    unsigned metrics;    /* which features are needed, as bits 1 << METRIC_... */
    bool spatial;        /* those of sfid too, where the network has them */
    int device, workers; /* SHIM_CPU or an index; threads */
};

/* What `path` holds: features (.npy [N,D]; .npz with `features`, or `arr_0` [N,D]), statistics (.npz with `mu` and `sigma`,
 * and perhaps ADM's `mu_s` and `sigma_s`), images (see images.h; they need `how`), or an .npz of several of these, where
 * `mu` and `sigma` are then the statistics. how NULL: images are passed over, and alone an error. */
int side_read(struct side *side, const char *path, const struct extraction *how, struct error *err);
/* Takes the features over; they are freed on failure too. */
int side_take(struct side *side, enum feature_kind kind, struct features *features, struct error *err);
/* Factors what distances of Gaussians need of a reference, for many scores; it borrows from the side, which must stay in
 * its place from here on. */
int side_factor(struct side *side, unsigned metrics, struct error *err);
const struct view *side_view(const struct side *side, enum feature_kind kind);
void side_free(struct side *side);

#endif
