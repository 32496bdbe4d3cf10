/* Mean and scatter of features, added up in blocks. */
#include "eval/moments.h"

#include "base/blas.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

int moments_init(struct moments *moments, size_t dim, struct error *err) {
    *moments = (struct moments){.dim = dim};
    if (dim == 0 || dim > MOMENTS_DIM_MAX)
        return error_set(err, CODE_DATA,
                         "expected 1 to %d features a sample, found %zu: use a feature network with fewer outputs",
                         MOMENTS_DIM_MAX, dim);
    moments->mean = calloc(dim, sizeof *moments->mean);
    moments->scatter = calloc(dim * dim, sizeof *moments->scatter);
    if (moments->mean && moments->scatter) return 0;
    moments_release(moments);
    return error_memory(err);
}

void moments_release(struct moments *moments) {
    free(moments->mean);
    free(moments->scatter);
    *moments = (struct moments){0};
}

static int check_finite(const float *rows, size_t count, size_t dim, struct error *err) {
    for (size_t i = 0; i < count * dim; i++)
        if (!isfinite(rows[i]))
            return error_set(err, CODE_DATA, "features: row %zu, column %zu: expected a finite number, found %g",
                             i / dim, i % dim, (double)rows[i]);
    return 0;
}

/* block [count + 1][dim]: the centred rows, and below them the difference of the means times the root of Chan's weight,
 * so that one product of the whole adds the block's scatter and the merge's rank-one term. */
static void centre(struct moments *moments, const float *rows, size_t count, double *block) {
    size_t dim = moments->dim;
    double *mean = block + count * dim; /* in the last row until delta takes its place */
    for (size_t k = 0; k < dim; k++) mean[k] = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < dim; k++) mean[k] += rows[i * dim + k];
    for (size_t k = 0; k < dim; k++) mean[k] /= (double)count;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < dim; k++) block[i * dim + k] = rows[i * dim + k] - mean[k];
    double before = (double)moments->count, total = before + (double)count;
    double weight = sqrt(before * (double)count / total);
    for (size_t k = 0; k < dim; k++) {
        double delta = mean[k] - moments->mean[k];
        moments->mean[k] += delta * ((double)count / total);
        mean[k] = weight * delta;
    }
    moments->count += count;
}

int moments_add(struct moments *moments, const float *rows, size_t count, struct error *err) {
    size_t dim = moments->dim;
    if (check_finite(rows, count, dim, err) != 0) return -1;
    double *block = malloc((MOMENTS_BLOCK + 1) * dim * sizeof *block);
    if (!block) return error_memory(err);
    if (blas_enter(err) != 0) {
        free(block);
        return -1;
    }
    for (size_t first = 0; first < count; first += MOMENTS_BLOCK) {
        size_t n = count - first < MOMENTS_BLOCK ? count - first : MOMENTS_BLOCK;
        centre(moments, rows + first * dim, n, block);
        cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)dim, (int)n + 1, 1.0, block, (int)dim, 1.0,
                    moments->scatter, (int)dim);
    }
    blas_leave();
    for (size_t i = 0; i < dim; i++)
        for (size_t k = 0; k < i; k++) moments->scatter[i * dim + k] = moments->scatter[k * dim + i];
    free(block);
    return 0;
}

void moments_remove(struct moments *whole, const struct moments *part) {
    if (part->count == 0) return;
    size_t dim = whole->dim;
    double all = (double)whole->count, gone = (double)part->count, left = all - gone;
    for (size_t k = 0; k < dim; k++) whole->mean[k] += (whole->mean[k] - part->mean[k]) * (gone / left);
    double weight = gone * left / all;
    for (size_t i = 0; i < dim; i++)
        for (size_t k = 0; k < dim; k++) {
            double product = (part->mean[i] - whole->mean[i]) * (part->mean[k] - whole->mean[k]);
            whole->scatter[i * dim + k] -= part->scatter[i * dim + k] + weight * product;
        }
    whole->count -= part->count;
}
