/* Dot products of all pairs of rows of two feature sets, block by block. */
#include "metric/gram.h"

#include "base/blas.h"

#include <cblas.h>
#include <math.h>
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

void gram_squares(const struct features *features, double *out) {
    for (size_t i = 0; i < features->count; i++) {
        const float *row = features->rows + i * features->dim;
        out[i] = 0;
        for (size_t k = 0; k < features->dim; k++) out[i] += (double)row[k] * row[k];
    }
}

void gram_distances(struct gram *gram, const struct features *a, const double *aa, size_t i, const struct features *b,
                    const double *bb, size_t j) {
    size_t dim = a->dim, na = gram_rows(i, a->count), nb = gram_rows(j, b->count);
    size_t first_a = gram_first(i), first_b = gram_first(j);
    gram_block(gram, a->rows + first_a * dim, na, b->rows + first_b * dim, nb, dim);
    for (size_t p = 0; p < na; p++)
        for (size_t q = 0; q < nb; q++) {
            double *at = &gram->products[p * GRAM_BLOCK + q];
            *at = fmax(aa[first_a + p] + bb[first_b + q] - 2 * *at, 0);
        }
}

int gram_each(size_t count, size_t dim, gram_visit *visit, void *context, struct error *err) {
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct gram gram;
        struct error one;
        failed = gram_init(&gram, dim, &one) != 0;
#pragma omp critical(gram_failure)
        if (failed) *err = one;
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < count; i++)
            if (!failed) visit(&gram, i, context);
        gram_release(&gram);
    }
    return failed ? -1 : 0;
}
