#include "eval/frechet.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

/* The square roots of the variances; new, or NULL when out of memory. */
static double *deviations(const struct statistics *of) {
    double *deviation = malloc(of->dim * sizeof *deviation);
    for (size_t i = 0; deviation && i < of->dim; i++) deviation[i] = sqrt(fmax(of->sigma[i * of->dim + i], 0));
    return deviation;
}

/* r [dim][*rank], column-major, new, with sigma = r r^T. LAPACK gives P^T C P = L L^T of the correlations C, so that
 * features of very different size count alike, with P in `pivots`; -1: its own tolerance, which finds the rank N - 1 of
 * a covariance of N <= dim samples. */
static int factor(const struct statistics *of, double **r, int *rank, struct error *err) {
    size_t dim = of->dim;
    double *lower = malloc(dim * dim * sizeof *lower), *deviation = deviations(of);
    lapack_int *pivots = malloc(dim * sizeof *pivots);
    lapack_int order = (lapack_int)dim;
    int rc = -1;
    *r = calloc(dim * dim, sizeof **r);
    if (!lower || !deviation || !pivots || !*r) {
        error_memory(err);
        goto out;
    }
    for (size_t k = 0; k < dim; k++)
        for (size_t i = 0; i < dim; i++) {
            double unit = deviation[i] * deviation[k]; /* 0: a constant feature */
            lower[k * dim + i] = unit > 0 ? of->sigma[k * dim + i] / unit : 0;
        }
    lapack_int info = LAPACKE_dpstrf(LAPACK_COL_MAJOR, 'L', order, lower, order, pivots, rank, -1.0);
    if (info < 0) { /* > 0 only says that the rank is not full */
        error_set(err, CODE_INTERNAL, "LAPACK's dpstrf refused its argument %d", (int)-info);
        goto out;
    }
    for (size_t k = 0; k < (size_t)*rank; k++)
        for (size_t i = k; i < dim; i++) {
            size_t feature = (size_t)pivots[i] - 1;
            (*r)[k * dim + feature] = deviation[feature] * lower[k * dim + i];
        }
    rc = 0;
out:
    free(lower);
    free(deviation);
    free(pivots);
    return rc;
}

/* A factor that does not reproduce the variances says that sigma has a negative eigenvalue. */
static int check_factor(const struct statistics *of, const double *r, int rank, struct error *err) {
    size_t dim = of->dim;
    double largest = 0, worst = 0;
    for (size_t i = 0; i < dim; i++) {
        double rest = of->sigma[i * dim + i];
        largest = fmax(largest, rest);
        for (size_t k = 0; k < (size_t)rank; k++) rest -= r[k * dim + i] * r[k * dim + i];
        worst = fmax(worst, fabs(rest));
    }
    if (worst <= 1e-5 * largest) return 0;
    return error_set(err, CODE_DATA, "a sigma is no covariance: expected positive semidefinite, found a pivot of %g "
                     "beside a largest variance of %g", -worst, largest);
}

int frechet_prepare(struct frechet *frechet, const struct statistics *of, struct error *err) {
    *frechet = (struct frechet){.of = of};
    openblas_set_num_threads(1);
    if (factor(of, &frechet->factor, &frechet->rank, err) == 0 &&
        check_factor(of, frechet->factor, frechet->rank, err) == 0)
        return 0;
    frechet_free(frechet);
    return -1;
}

void frechet_free(struct frechet *frechet) {
    free(frechet->factor);
    *frechet = (struct frechet){0};
}

/* tr (S1 S2)^(1/2): the nuclear norm of A^T B. */
static int trace_root(const struct frechet *a, const struct frechet *b, double *trace, struct error *err) {
    int dim = (int)a->of->dim, m = a->rank, n = b->rank, least = m < n ? m : n;
    *trace = 0;
    if (least == 0) return 0; /* a single point has no spread to share */
    double *product = malloc((size_t)m * (size_t)n * sizeof *product), *values = malloc((size_t)least * sizeof *values);
    int rc = product && values ? 0 : error_memory(err);
    if (rc == 0) {
        cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, m, n, dim, 1.0, a->factor, dim, b->factor, dim, 0.0,
                    product, m);
        lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', m, n, product, m, values, NULL, 1, NULL, 1);
        if (info != 0) rc = error_set(err, CODE_INTERNAL, "LAPACK's dgesdd failed with info %d", (int)info);
        for (int i = least; rc == 0 && i-- > 0;) *trace += values[i]; /* from the smallest */
    }
    free(product);
    free(values);
    return rc;
}

int frechet_distance_to(const struct frechet *first, const struct statistics *second, double *distance,
                        struct error *err) {
    const struct statistics *a = first->of;
    struct frechet other;
    double root;
    if (a->dim != second->dim)
        return error_set(err, CODE_DATA, "cannot compare statistics of %zu and %zu features: they come from different "
                         "feature networks", a->dim, second->dim);
    if (frechet_prepare(&other, second, err) != 0) return -1;
    int rc = trace_root(first, &other, &root, err);
    frechet_free(&other);
    if (rc != 0) return -1;
    double squares = 0, traces = 0;
    for (size_t i = 0; i < a->dim; i++) {
        double difference = a->mu[i] - second->mu[i];
        squares += difference * difference;
        traces += a->sigma[i * a->dim + i] + second->sigma[i * a->dim + i];
    }
    *distance = fmax(squares + (traces - 2 * root), 0); /* equal inputs may round to -1e-16 */
    return 0;
}

int frechet_distance(const struct statistics *a, const struct statistics *b, double *distance, struct error *err) {
    struct frechet first;
    if (frechet_prepare(&first, a, err) != 0) return -1;
    int rc = frechet_distance_to(&first, b, distance, err);
    frechet_free(&first);
    return rc;
}
