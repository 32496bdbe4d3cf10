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
static int check_factor(const struct statistics *of, const double *r, int rank, const char *which, struct error *err) {
    size_t dim = of->dim;
    double largest = 0, worst = 0;
    for (size_t i = 0; i < dim; i++) {
        double rest = of->sigma[i * dim + i];
        largest = fmax(largest, rest);
        for (size_t k = 0; k < (size_t)rank; k++) rest -= r[k * dim + i] * r[k * dim + i];
        worst = fmax(worst, fabs(rest));
    }
    if (worst <= 1e-5 * largest) return 0;
    return error_set(err, CODE_DATA, "the %s sigma is no covariance: expected positive semidefinite, found a pivot of "
                     "%g beside a largest variance of %g", which, -worst, largest);
}

/* tr (S1 S2)^(1/2): the nuclear norm of A^T B. */
static int trace_root(const struct statistics *a, const struct statistics *b, double *trace, struct error *err) {
    double *left = NULL, *right = NULL, *product = NULL, *values = NULL;
    int m = 0, n = 0, rc = -1, dim = (int)a->dim;
    *trace = 0;
    if (factor(a, &left, &m, err) != 0 || check_factor(a, left, m, "first", err) != 0 ||
        factor(b, &right, &n, err) != 0 || check_factor(b, right, n, "second", err) != 0)
        goto out;
    if (m == 0 || n == 0) { /* a single point has no spread to share */
        rc = 0;
        goto out;
    }
    product = malloc((size_t)m * (size_t)n * sizeof *product);
    values = malloc((size_t)(m < n ? m : n) * sizeof *values);
    if (!product || !values) {
        error_memory(err);
        goto out;
    }
    cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, m, n, dim, 1.0, left, dim, right, dim, 0.0, product, m);
    lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', m, n, product, m, values, NULL, 1, NULL, 1);
    if (info != 0) {
        error_set(err, CODE_INTERNAL, "LAPACK's dgesdd failed with info %d", (int)info);
        goto out;
    }
    for (int i = (m < n ? m : n) - 1; i >= 0; i--) *trace += values[i]; /* from the smallest */
    rc = 0;
out:
    free(left);
    free(right);
    free(product);
    free(values);
    return rc;
}

int frechet_distance(const struct statistics *a, const struct statistics *b, double *distance, struct error *err) {
    double root;
    if (a->dim != b->dim)
        return error_set(err, CODE_DATA, "cannot compare statistics of %zu and %zu features: they come from different "
                         "feature networks", a->dim, b->dim);
    openblas_set_num_threads(1);
    if (trace_root(a, b, &root, err) != 0) return -1;
    double squares = 0, traces = 0;
    for (size_t i = 0; i < a->dim; i++) {
        double difference = a->mu[i] - b->mu[i];
        squares += difference * difference;
        traces += a->sigma[i * a->dim + i] + b->sigma[i * a->dim + i];
    }
    *distance = fmax(squares + (traces - 2 * root), 0); /* equal inputs may round to -1e-16 */
    return 0;
}
