/* Images through a feature network. */
#ifndef EVAL_EXTRACT_H
#define EVAL_EXTRACT_H

#include "eval/side.h"
#include "format/image_names.h"

#include <stdbool.h>
#include <stdint.h>

/* How images become features. */
struct extraction {
    const struct named_path *networks; /* [count] files, path NULL: pixels; name NULL: their own */
    size_t count;                      /* 1 to EVALUATED_MOST */
    unsigned metrics;                  /* which features are needed, as bits 1 << METRIC_... */
    bool spatial;                      /* those of sfid too, where the network has them */
    int device, workers;               /* SHIM_CPU or an index; threads */
    enum image_order order;            /* of files of images */
    double low, high;                  /* of arrays of floats, which do not say: black and white; equal: not known */
    size_t first;                      /* only the first so many images, where there are as many; 0: all */
    bool afresh;                       /* of images alone: a file's own statistics beside them are passed over */
    bool foresee;                      /* nothing goes through a network: sides as they will be (side.foreseen) */
};

struct picture_source {
    const char *name; /* for messages */
    size_t count;
    int height, width, channels;
    bool floats;      /* float32 [C,H,W] each, else uint8 [H,W,C] */
    double low, high; /* of floats: black and white */
    /* The next `rows` of them into out [rows,H,W,C] or [rows,C,H,W]. */
    int (*read)(void *context, size_t rows, void *out, struct error *err);
    void *context;
};

/* All pictures in their order, in batches of 64, by how->workers threads, each batch through all networks; the features
 * do not depend on the number of threads. Adds to empty sides [how->count], one a network. */
int extract(struct side *sides, const struct picture_source *source, const struct extraction *how, struct error *err);
/* The same of the images of `path` (images.h). */
int extract_images(struct side *sides, const char *path, const struct extraction *how, struct error *err);

#endif
