/* All pairs of rows of two feature sets, block by block: the ground of KID and of nearest neighbours. */
#ifndef METRIC_GRAM_H
#define METRIC_GRAM_H

#include "base/error.h"

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
