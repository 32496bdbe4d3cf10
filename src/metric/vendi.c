/* The Vendi score. */
#include "metric/vendi.h"

#include "base/blas.h"
#include "metric/gram.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

/* matrix [dim][dim], one triangle: X^T X / N of the rows at unit length; block [GRAM_BLOCK][dim] is work space. */
static void add_up(const struct features *features, const double *inverse, double *block, double *matrix) {
    size_t dim = features->dim, count = features->count;
    for (size_t b = 0; b < gram_blocks(count); b++) {
        size_t first = gram_first(b), rows = gram_rows(b, count);
        for (size_t i = 0; i < rows; i++)
            for (size_t k = 0; k < dim; k++)
                block[i * dim + k] = features->rows[(first + i) * dim + k] * inverse[first + i];
        cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)dim, (int)rows, 1 / (double)count, block, (int)dim,
                    1.0, matrix, (int)dim);
    }
}

static int entropy_of(double *matrix, int dim, double *values, double *entropy, struct error *err) {
    lapack_int info = LAPACKE_dsyev_2stage(LAPACK_COL_MAJOR, 'N', 'L', dim, matrix, dim, values);
    *entropy = 0;
    for (int i = 0; info == 0 && i < dim; i++)
        if (values[i] > 0) *entropy -= values[i] * log(values[i]);
    return info == 0 ? 0 : error_set(err, CODE_INTERNAL, "LAPACK's dsyev_2stage failed with info %d", (int)info);
}

int vendi_score(const struct features *features, double *score, struct error *err) {
    size_t dim = features->dim;
    double *inverse = malloc(features->count * sizeof *inverse), *block = malloc(GRAM_BLOCK * dim * sizeof *block);
    double *matrix = calloc(dim * dim, sizeof *matrix), *values = malloc(dim * sizeof *values), entropy = 0;
    int rc = inverse && block && matrix && values ? 0 : error_memory(err);
    if (rc == 0 && (rc = features_lengths(features, inverse, err)) != 0) error_prefix(err, "vendi: the sample side");
    if (rc == 0 && (rc = blas_enter(err)) == 0) {
        add_up(features, inverse, block, matrix);
        rc = entropy_of(matrix, (int)dim, values, &entropy, err);
        blas_leave();
    }
    *score = exp(entropy);
    free(inverse);
    free(block);
    free(matrix);
    free(values);
    return rc;
}
