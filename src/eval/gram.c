#include "eval/gram.h"

#include <cblas.h>
#include <stdlib.h>

struct gram gram_new(size_t dim) {
    struct gram gram = {malloc(GRAM_BLOCK * dim * sizeof(double)), malloc(GRAM_BLOCK * dim * sizeof(double)),
                        malloc(GRAM_BLOCK * GRAM_BLOCK * sizeof(double))};
    openblas_set_num_threads(1); /* the callers' threads share the blocks */
    if (!gram.a || !gram.b || !gram.products) gram_free(&gram);
    return gram;
}

void gram_free(struct gram *gram) {
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
