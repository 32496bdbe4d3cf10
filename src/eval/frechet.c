/* The Frechet distance of two Gaussians (FID). */
#include "eval/frechet.h"

#include "base/blas.h"

#include <cblas.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* The square roots of the variances; new, or NULL when out of memory. */
static double *deviations(const struct statistics *of) {
    double *deviation = malloc(of->dim * sizeof *deviation);
    for (size_t i = 0; deviation && i < of->dim; i++) deviation[i] = sqrt(fmax(of->sigma[i * of->dim + i], 0));
    return deviation;
}

/* LAPACK gives P^T C P = L L^T of the correlations C, so that features of very different size count alike; -1: its own
 * tolerance, which finds the rank N - 1 of a covariance of N <= dim samples. The rows of L then get their deviations.
 */
static int factor(struct frechet *frechet, struct error *err) {
    const struct statistics *of = frechet->of;
    size_t dim = of->dim;
    double *lower = frechet->factor = malloc(dim * dim * sizeof *lower), *deviation = deviations(of);
    int rc = -1;
    frechet->order = malloc(dim * sizeof *frechet->order);
    if (!lower || !frechet->order || !deviation) {
        error_memory(err);
        goto out;
    }
    for (size_t k = 0; k < dim; k++)
        for (size_t i = 0; i < dim; i++) {
            double unit = deviation[i] * deviation[k]; /* 0: a constant feature */
            lower[k * dim + i] = unit > 0 ? of->sigma[k * dim + i] / unit : 0;
        }
    lapack_int info = LAPACKE_dpstrf(LAPACK_COL_MAJOR, 'L', (lapack_int)dim, lower, (lapack_int)dim, frechet->order,
                                     &frechet->rank, -1.0);
    if (info < 0) { /* > 0 only says that the rank is not full */
        error_set(err, CODE_INTERNAL, "LAPACK's dpstrf refused its argument %d", (int)-info);
        goto out;
    }
    for (size_t i = 0; i < dim; i++) frechet->order[i]--; /* LAPACK counts from 1 */
    for (size_t k = 0; k < (size_t)frechet->rank; k++)
        for (size_t i = 0; i < dim; i++)
            lower[k * dim + i] = i < k ? 0 : lower[k * dim + i] * deviation[frechet->order[i]];
    rc = 0;
out:
    free(deviation);
    return rc;
}

/* A factor that does not reproduce the variances says that sigma has a negative eigenvalue. */
static int check_factor(const struct frechet *frechet, struct error *err) {
    size_t dim = frechet->of->dim;
    double largest = 0, worst = 0, *rest = malloc(dim * sizeof *rest);
    if (!rest) return error_memory(err);
    for (size_t i = 0; i < dim; i++) {
        rest[i] = frechet->of->sigma[(size_t)frechet->order[i] * (dim + 1)];
        largest = fmax(largest, rest[i]);
    }
    for (size_t k = 0; k < (size_t)frechet->rank; k++)
        for (size_t i = k; i < dim; i++) rest[i] -= frechet->factor[k * dim + i] * frechet->factor[k * dim + i];
    for (size_t i = 0; i < dim; i++) worst = fmax(worst, fabs(rest[i]));
    free(rest);
    if (worst <= 1e-5 * largest) return 0;
    return error_set(
        err, CODE_DATA,
        "a sigma is no covariance: expected positive semidefinite, found a pivot of %g beside a largest variance of %g",
        -worst, largest);
}

int frechet_prepare(struct frechet *frechet, const struct statistics *of, struct error *err) {
    *frechet = (struct frechet){.of = of};
    if (blas_enter(err) != 0) return -1;
    int rc = factor(frechet, err);
    blas_leave();
    if (rc == 0 && check_factor(frechet, err) == 0) return 0;
    frechet_release(frechet);
    return -1;
}

void frechet_release(struct frechet *frechet) {
    free(frechet->factor);
    free(frechet->order);
    *frechet = (struct frechet){0};
}

/* B^T A, [b->rank][a->rank], column-major with dim as its leading dimension; new, or NULL when out of memory. */
static double *multiply(const struct frechet *a, const struct frechet *b) {
    int dim = (int)a->of->dim, m = b->rank, n = a->rank;
    size_t size = a->of->dim;
    double *product = malloc(size * (size_t)n * sizeof *product);
    int *place = malloc(size * sizeof *place); /* of a feature in A's order */
    if (!product || !place) {
        free(product);
        free(place);
        return NULL;
    }
    for (int i = 0; i < dim; i++) place[a->order[i]] = i;
    for (size_t k = 0; k < (size_t)n; k++) /* A with its rows in B's order, then times B^T in place */
        for (size_t i = 0; i < size; i++) product[k * size + i] = a->factor[k * size + (size_t)place[b->order[i]]];
    cblas_dtrmm(CblasColMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, m, n, 1.0, b->factor, dim, product,
                dim);
    if (m < dim) /* below the triangle */
        cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, m, n, dim - m, 1.0, b->factor + m, dim, product + m, dim,
                    1.0, product, dim);
    free(place);
    return product;
}

/* The sum of the singular values of product [m][n] with leading dimension `lead`, which is overwritten. */
static int sum_singular(double *product, int lead, int m, int n, double *sum, struct error *err) {
    int least = m < n ? m : n;
    double *values = malloc((size_t)least * sizeof *values);
    if (!values) return error_memory(err);
    lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', m, n, product, lead, values, NULL, 1, NULL, 1);
    *sum = 0;
    for (int i = least; info == 0 && i-- > 0;) *sum += values[i]; /* from the smallest */
    free(values);
    return info == 0 ? 0 : error_set(err, CODE_INTERNAL, "LAPACK's dgesdd failed with info %d", (int)info);
}

struct gram_row {
    double square;
    int number;
};

static int by_size(const void *a, const void *b) {
    const struct gram_row *x = a, *y = b;
    return x->square < y->square ? 1 : x->square > y->square ? -1 : (x->number > y->number) - (x->number < y->number);
}

/* The sum of the roots of gram's eigenvalues, with rows and columns in this order, or (mirrored) its reverse and the
 * triangle across, so that the reduction goes from the large end either way, with other roundings. */
static int sum_roots(const double *gram, const struct gram_row *order, int n, bool mirrored, double *work,
                     double *values, double *sum, struct error *err) {
    for (int k = 0; k < n; k++) {
        int column = order[mirrored ? n - 1 - k : k].number;
        for (int i = mirrored ? 0 : k; i <= (mirrored ? k : n - 1); i++) {
            int row = order[mirrored ? n - 1 - i : i].number;
            int high = row > column ? row : column, low = row > column ? column : row;
            work[(size_t)k * (size_t)n + (size_t)i] = gram[(size_t)low * (size_t)n + (size_t)high];
        }
    }
    lapack_int info = LAPACKE_dsyev_2stage(LAPACK_COL_MAJOR, 'N', mirrored ? 'U' : 'L', n, work, n, values);
    *sum = 0;
    for (int i = 0; info == 0 && i < n; i++) *sum += sqrt(fmax(values[i], 0)); /* from the smallest */
    return info == 0 ? 0 : error_set(err, CODE_INTERNAL, "LAPACK's dsyev_2stage failed with info %d", (int)info);
}

/* The singular values of such a product by the eigenvalues of the smaller of its two squares, in less than half the
 * time, from two computations that round differently; *doubt: what they disagree in. The roots of eigenvalues that are
 * but rounding errors show there. */
static int sum_eigen(const double *product, int lead, int m, int n, double *sum, double *doubt, struct error *err) {
    bool wide = m <= n;
    int least = wide ? m : n;
    size_t square = (size_t)least * (size_t)least;
    double other = 0, *gram = malloc(square * sizeof *gram), *work = malloc(square * sizeof *work);
    double *values = malloc((size_t)least * sizeof *values);
    struct gram_row *order = malloc((size_t)least * sizeof *order);
    int rc = gram && work && values && order ? 0 : error_memory(err);
    if (rc == 0) {
        cblas_dsyrk(CblasColMajor, CblasLower, wide ? CblasNoTrans : CblasTrans, least, wide ? n : m, 1.0, product,
                    lead, 0.0, gram, least);
        for (int i = 0; i < least; i++) order[i] = (struct gram_row){gram[(size_t)i * (size_t)least + (size_t)i], i};
        qsort(order, (size_t)least, sizeof *order, by_size);
        rc = sum_roots(gram, order, least, false, work, values, sum, err);
        if (rc == 0) rc = sum_roots(gram, order, least, true, work, values, &other, err);
        *doubt = fabs(*sum - other);
    }
    free(gram);
    free(work);
    free(values);
    free(order);
    return rc;
}

/* tr (S1 S2)^(1/2): the nuclear norm of B^T A. rest: what the distance is without it, against which doubts count. */
static int trace_root(const struct frechet *a, const struct frechet *b, double rest, double *trace, struct error *err) {
    int dim = (int)a->of->dim, m = b->rank, n = a->rank;
    double doubt = 0;
    *trace = 0;
    if (m == 0 || n == 0) return 0; /* a single point has no spread to share */
    if (blas_enter(err) != 0) return -1;
    double *product = multiply(a, b);
    int rc = product ? sum_eigen(product, dim, m, n, trace, &doubt, err) : error_memory(err);
    bool sure = 2 * doubt <= 1e-11 * (rest - 2 * *trace) || 2 * doubt <= 4 * DBL_EPSILON * rest;
    if (rc == 0 && !sure) rc = sum_singular(product, dim, m, n, trace, err);
    blas_leave();
    free(product);
    return rc;
}

int frechet_distance_to(const struct frechet *first, const struct statistics *second, double *distance,
                        struct error *err) {
    const struct statistics *a = first->of;
    struct frechet other;
    double root;
    if (a->dim != second->dim)
        return error_set(err, CODE_DATA,
                         "cannot compare statistics of %zu and %zu features: they come from different feature networks",
                         a->dim, second->dim);
    double squares = 0, traces = 0;
    for (size_t i = 0; i < a->dim; i++) {
        double difference = a->mu[i] - second->mu[i];
        squares += difference * difference;
        traces += a->sigma[i * a->dim + i] + second->sigma[i * a->dim + i];
    }
    if (frechet_prepare(&other, second, err) != 0) return -1;
    int rc = trace_root(first, &other, squares + traces, &root, err);
    frechet_release(&other);
    if (rc == 0) *distance = fmax(squares + (traces - 2 * root), 0); /* equal inputs may round to -1e-16 */
    return rc;
}
