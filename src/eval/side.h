/* One side of a comparison: features of every sample, or statistics alone. */
#ifndef EVAL_SIDE_H
#define EVAL_SIDE_H

#include "base/error.h"
#include "eval/features.h"
#include "eval/statistics.h"

struct side {
    struct features features;     /* rows NULL: the statistics are all there is */
    struct statistics statistics; /* with features: theirs */
};

/* A feature file (.npy, or .npz with `features` or `arr_0`) or statistics (.npz with `mu` and `sigma`). */
int side_read(struct side *side, const char *path, struct error *err);
/* Takes the features over; they are freed on failure too. network: sha256, or NULL when not known. */
int side_take(struct side *side, struct features *features, const char *network, struct error *err);
void side_free(struct side *side);

#endif
