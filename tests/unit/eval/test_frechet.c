/* The Frechet distance against closed forms and independently computed numbers. */
#include "eval/frechet.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int frechet_distance(const struct statistics *a, const struct statistics *b, double *found, struct error *err) {
    struct frechet first;
    if (frechet_prepare(&first, a, err) != 0) return -1;
    int rc = frechet_distance_to(&first, b, found, err);
    frechet_release(&first);
    return rc;
}

/* Distance of N(mu_a, a) and N(mu_b, b), checked to be symmetric. NULL means a mean of 0. */
static double distance(size_t dim, const double *mu_a, const double *a, const double *mu_b, const double *b) {
    double *zero = calloc(dim, sizeof *zero), forward, backward;
    struct statistics left = {.dim = dim, .mu = (double *)(mu_a ? mu_a : zero), .sigma = (double *)a};
    struct statistics right = {.dim = dim, .mu = (double *)(mu_b ? mu_b : zero), .sigma = (double *)b};
    struct error err;
    assert_int_equal(frechet_distance(&left, &right, &forward, &err), 0);
    assert_int_equal(frechet_distance(&right, &left, &backward, &err), 0);
    assert_true(fabs(forward - backward) <= 1e-12 * (fabs(forward) + a[0] + b[0]));
    free(zero);
    return forward;
}

static double trace(size_t dim, const double *s) {
    double sum = 0;
    for (size_t i = 0; i < dim; i++) sum += s[i * dim + i];
    return sum;
}

static void assert_near(double found, double expected, double tolerance) {
    if (fabs(found - expected) > tolerance) fail_msg("expected %.17g, found %.17g", expected, found);
}

/* Uniform in (-1, 1), from a fixed linear congruential sequence (Knuth's MMIX constants). */
static double next_uniform(void) {
    static uint64_t state = 3;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-52 - 1;
}

/* s = Q diag(eigenvalues) Q^T with the reflection Q = I - 2 v v^T / v.v. */
static void rotate(size_t dim, const double *v, const double *eigenvalues, double *s) {
    double norm = 0;
    for (size_t i = 0; i < dim; i++) norm += v[i] * v[i];
    for (size_t i = 0; i < dim; i++)
        for (size_t k = 0; k < dim; k++) {
            s[i * dim + k] = 0;
            for (size_t m = 0; m < dim; m++)
                s[i * dim + k] += ((i == m) - 2 * v[i] * v[m] / norm) * eigenvalues[m] *
                                  ((k == m) - 2 * v[k] * v[m] / norm);
        }
}

/* A = X^T X / 6 and B = Y^T Y / 6 with small random integers X, Y [6,4]. */
static const double A[16] = {23 / 6., 0,       -7 / 6., -6 / 6., 0,       24 / 6., 11 / 6., -1 / 6.,
                             -7 / 6., 11 / 6., 31 / 6., -6 / 6., -6 / 6., -1 / 6., -6 / 6., 28 / 6.};
static const double B[16] = {28 / 6., -5 / 6., 9 / 6.,  -16 / 6., -5 / 6.,  20 / 6., 0,       -6 / 6.,
                             9 / 6.,  0,       23 / 6., -5 / 6.,  -16 / 6., -6 / 6., -5 / 6., 35 / 6.};

static void one_dimension(void **state) {
    (void)state;
    double mu[] = {3, 5}, variance[] = {4, 9};
    assert_near(distance(1, &mu[0], &variance[0], &mu[1], &variance[1]), 4 + 1, 1e-14);
}

static void means_alone(void **state) {
    (void)state;
    double mu[] = {1, -1, 2, 0};
    assert_near(distance(4, mu, A, NULL, A), 6, 1e-13);
}

static void diagonal(void **state) { /* sum of (sqrt a - sqrt b)^2 */
    (void)state;
    double a[9] = {1, 0, 0, 0, 4, 0, 0, 0, 9}, b[9] = {25, 0, 0, 0, 4, 0, 0, 0, 1};
    assert_near(distance(3, NULL, a, NULL, b), 16 + 0 + 4, 1e-13);
}

static void multiples(void **state) { /* b = c a: (1 - sqrt c)^2 tr a */
    (void)state;
    double b[16];
    for (int i = 0; i < 16; i++) b[i] = 2.25 * A[i];
    assert_near(distance(4, NULL, A, NULL, b), 0.25 * trace(4, A), 1e-13);
}

static void rotated_pairs(void **state) { /* commuting, not diagonal: sum of (sqrt a - sqrt b)^2 over the eigenvalues */
    (void)state;
    enum { DIM = 40 };
    static double v[DIM], a[DIM], b[DIM], rotated_a[DIM * DIM], rotated_b[DIM * DIM];
    double expected = 0;
    for (int i = 0; i < DIM; i++) {
        v[i] = next_uniform();
        a[i] = exp(4 * next_uniform());
        b[i] = exp(4 * next_uniform());
        expected += (sqrt(a[i]) - sqrt(b[i])) * (sqrt(a[i]) - sqrt(b[i]));
    }
    rotate(DIM, v, a, rotated_a);
    rotate(DIM, v, b, rotated_b);
    assert_near(distance(DIM, NULL, rotated_a, NULL, rotated_b), expected, 1e-12 * expected);
}

static void two_by_two(void **state) { /* tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det A det B)) */
    (void)state;
    for (int i = 0; i < 1000; i++) {
        double p = 1.01 + next_uniform(), q = 1.01 + next_uniform(), r = 0.99 * sqrt(p * q) * next_uniform();
        double s = 1.01 + next_uniform(), t = 1.01 + next_uniform(), u = 0.99 * sqrt(s * t) * next_uniform();
        double a[] = {p, r, r, q}, b[] = {s, u, u, t};
        double root = sqrt(p * s + 2 * r * u + q * t + 2 * sqrt((p * q - r * r) * (s * t - u * u)));
        assert_near(distance(2, NULL, a, NULL, b), p + q + s + t - 2 * root, 1e-12);
    }
}

/* scipy 1.17: A, B, mu as here; np.sum((mu_a - mu_b)**2) + np.trace(A + B) - 2*np.trace(sqrtm(A @ B).real)
 * = 9.9924236967874478; mpmath, 40 digits, with the eigenvalues of A B: 9.9924236967874515... */
static void scipy_sqrtm(void **state) {
    (void)state;
    double mu_a[] = {-1, 1, -2, 2}, mu_b[] = {-1, -1, 0, 2};
    assert_near(distance(4, mu_a, A, mu_b, B), 9.9924236967874516, 1e-13);
}

/* mpmath, 50 digits, eigenvalues e of the product: trace(a + b) - 2*sum(sqrt(e)). */
static void graded(void **state) { /* D = diag(1, 2^-7, 2^-14, 2^-27); D A D against D B D, and against B */
    (void)state;
    double scale[] = {1, 0x1p-7, 0x1p-14, 0x1p-27}, a[16], b[16];
    for (int i = 0; i < 16; i++) {
        a[i] = scale[i / 4] * A[i] * scale[i % 4];
        b[i] = scale[i / 4] * B[i] * scale[i % 4];
    }
    assert_near(distance(4, NULL, a, NULL, b), 0.040960230823538709, 1e-14);
    assert_near(distance(4, NULL, a, NULL, B), 12.98500726628825, 1e-13);
}

static void singular_and_rotated(void **state) { /* as rotated_pairs, but a has 15 eigenvalues of 0 */
    (void)state;
    enum { DIM = 40 };
    static double v[DIM], a[DIM], b[DIM], rotated_a[DIM * DIM], rotated_b[DIM * DIM];
    double expected = 0;
    for (int i = 0; i < DIM; i++) {
        v[i] = next_uniform();
        a[i] = i < 25 ? exp(4 * next_uniform()) : 0;
        b[i] = exp(4 * next_uniform());
        expected += (sqrt(a[i]) - sqrt(b[i])) * (sqrt(a[i]) - sqrt(b[i]));
    }
    rotate(DIM, v, a, rotated_a);
    rotate(DIM, v, b, rotated_b);
    assert_near(distance(DIM, NULL, rotated_a, NULL, rotated_b), expected, 1e-12 * expected);
}

static void singular(void **state) {
    (void)state;
    /* X^T X / 2 of X = [[2, -1, 0, 1], [1, 1, -3, 0]], rank 2; mpmath as above */
    double s[16], x[2][4] = {{2, -1, 0, 1}, {1, 1, -3, 0}};
    for (int i = 0; i < 16; i++) s[i] = (x[0][i / 4] * x[0][i % 4] + x[1][i / 4] * x[1][i % 4]) / 2;
    assert_near(distance(4, NULL, s, NULL, B), 11.543630002972428, 1e-12);
    assert_near(distance(4, NULL, s, NULL, s), 0, 1e-9 * trace(4, s));
    /* two of rank 1, u u^T and v v^T: tr (AB)^(1/2) = |u.v| */
    double uu[16], vv[16], u[] = {1, 2, 3, 4}, v[] = {2, -1, 1, -3};
    for (int i = 0; i < 16; i++) uu[i] = u[i / 4] * u[i % 4], vv[i] = v[i / 4] * v[i % 4];
    assert_near(distance(4, NULL, uu, NULL, vv), 30 + 15 - 2 * 9, 1e-9 * 45);
    /* constant features, in one of the two and in both; and no spread at all */
    double zero[9] = {0}, a[9] = {4, 0, 0, 0, 0, 0, 0, 0, 0}, b[9] = {9, 0, 3, 0, 0, 0, 3, 0, 2};
    assert_near(distance(3, NULL, a, NULL, b), 4 + 11 - 2 * 6, 1e-13); /* only the first feature is shared */
    assert_near(distance(3, NULL, zero, NULL, b), 11, 1e-13);
    assert_near(distance(3, NULL, zero, NULL, zero), 0, 0);
}

static void identical(void **state) {
    (void)state;
    enum { DIM = 60, ROWS = 40 }; /* fewer rows than features: rank 40 */
    static double x[ROWS][DIM], s[DIM * DIM];
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < DIM; k++) x[i][k] = next_uniform();
    for (int i = 0; i < DIM * DIM; i++) {
        s[i] = 0;
        for (int row = 0; row < ROWS; row++) s[i] += x[row][i / DIM] * x[row][i % DIM];
    }
    assert_near(distance(4, NULL, A, NULL, A), 0, 1e-9 * trace(4, A));
    assert_near(distance(DIM, NULL, s, NULL, s), 0, 1e-9 * trace(DIM, s));
}

static void refused(void **state) {
    (void)state;
    double mu[4] = {0}, indefinite[] = {1, 2, 2, 1}, unit[] = {1, 0, 0, 1}, ignored;
    struct statistics two = {.dim = 2, .mu = mu, .sigma = unit}, three = {.dim = 3, .mu = mu, .sigma = unit};
    struct statistics bad = {.dim = 2, .mu = mu, .sigma = indefinite};
    struct error err;
    assert_int_equal(frechet_distance(&two, &three, &ignored, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "2 and 3 features"));
    assert_int_equal(frechet_distance(&two, &bad, &ignored, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "sigma is no covariance"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_dimension), cmocka_unit_test(means_alone),   cmocka_unit_test(diagonal),
        cmocka_unit_test(multiples),     cmocka_unit_test(rotated_pairs), cmocka_unit_test(two_by_two),
        cmocka_unit_test(scipy_sqrtm),   cmocka_unit_test(graded),        cmocka_unit_test(singular),
        cmocka_unit_test(identical),     cmocka_unit_test(refused),       cmocka_unit_test(singular_and_rotated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
