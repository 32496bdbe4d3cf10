/* Dot products of all pairs of rows of two feature sets, block by block. */
#include "metric/gram.h"

#include "base/blas.h"

#include <cblas.h>
#include <stdlib.h>

int gram_init(struct gram *gram, size_t dim, struct error *err) {
    *gram = (struct gram){malloc(GRAM_BLOCK * dim * sizeof(double)), malloc(GRAM_BLOCK * dim * sizeof(double)),
                          malloc(GRAM_BLOCK * GRAM_BLOCK * sizeof(double)), false};
    int rc = gram->a && gram->b && gram->products ? blas_enter(err) : error_memory(err);
    gram->entered = rc == 0;
    return rc;
}

void gram_release(struct gram *gram) {
    if (gram->entered) blas_leave();
    free(gram->a);
    free(gram->b);
    free(gram->products);
    *gram = (struct gram){0};
}

void gram_block(struct gram *gram, const float *a, size_t na, const float *b, size_t nb, size_t dim) {
    for (size_t i = 0; i < na * dim; i++) gram->a[i] = a[i];
    for (size_t i = 0; i < nb * dim; i++) gram->b[i] = b[i];
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)na, (int)nb, (int)dim, 1.0, gram->a, (int)dim, gram->b,
                (int)dim, 0.0, gram->products, GRAM_BLOCK);
}
