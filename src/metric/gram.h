/* All pairs of rows of two feature sets, block by block: the ground of KID, CMMD, nearest neighbours and FLD. */
#ifndef METRIC_GRAM_H
#define METRIC_GRAM_H

#include "base/error.h"
#include "eval/features.h"

#include <stdbool.h>
#include <stddef.h>

enum { GRAM_BLOCK = 256 };

struct gram {         /* one thread's work space */
    double *a, *b;    /* [GRAM_BLOCK][dim] */
    double *products; /* [GRAM_BLOCK][GRAM_BLOCK] */
    bool entered;     /* BLAS */
};

/* In the thread that uses it. gram_release also after a failure. */
int gram_init(struct gram *gram, size_t dim, struct error *err);
void gram_release(struct gram *gram);
/* products[i * GRAM_BLOCK + j] = a_i . b_j in double, for na and nb <= GRAM_BLOCK rows. */
void gram_block(struct gram *gram, const float *a, size_t na, const float *b, size_t nb, size_t dim);

/* out [count]: |x|^2 of each row. */
void gram_squares(const struct features *features, double *out);
/* products become the squared distances of block i of a and block j of b; aa, bb: their gram_squares. */
void gram_distances(struct gram *gram, const struct features *a, const double *aa, size_t i, const struct features *b,
                    const double *bb, size_t j);

/* Calls visit for each index below count, on all threads, each with a work space of its own. */
typedef void gram_visit(struct gram *gram, size_t index, void *context);
int gram_each(size_t count, size_t dim, gram_visit *visit, void *context, struct error *err);

/* Block `index` of `count` rows: its first row, its number of rows. */
static inline size_t gram_first(size_t index) {
    return index * GRAM_BLOCK;
}
static inline size_t gram_rows(size_t index, size_t count) {
    size_t left = count - gram_first(index);
    return left < GRAM_BLOCK ? left : GRAM_BLOCK;
}
static inline size_t gram_blocks(size_t count) {
    return (count + GRAM_BLOCK - 1) / GRAM_BLOCK;
}

#endif
