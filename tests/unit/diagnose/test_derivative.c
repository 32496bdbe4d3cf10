/* Derivatives along a path: coefficients against the table of the method's derivation, finite differences against
 * polynomials and functions whose derivatives are known, and root mean squares with their errors. */
#include "interpret.h"

#include "diagnose/derivative.h"
#include "diagnose/ratio.h"

/* d^k x/dtau^k = a_k x + b_k S and dS/dtau = beta (1 - nu)/(2 nu) S of the ideal flow, beta and nu of the linear
 * schedule. */
static void ideal_derivatives_are_the_papers(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR);
    struct schedule *schedule;
    struct error err;
    assert_int_equal(schedule_new(&schedule, &card, &err), 0);
    for (double t = 0.05; t < 1; t += 0.19) {
        double alpha, sigma, b = 0.1 + 19.9 * t, b1 = 19.9; /* beta'' = 0 */
        struct derivative_map map;
        linear_process(t, &alpha, &sigma);
        double nu = sigma * sigma, size = b * b * b / pow(nu, 3);
        assert_int_equal(derivative_map(&map, schedule, CLOCK_T, t, &err), 0);
        const double a[] = {1, b / 2, (b * b - 2 * b1) / 4, (pow(b, 3) - 6 * b * b1) / 8};
        const double on_score[] = {0, b / 2, (b * b / nu - 2 * b1) / 4,
                                   (pow(b, 3) * (nu * nu - 3 * nu + 3) / (nu * nu) - 6 * b * b1 / nu) / 8};
        for (int k = 0; k <= 3; k++) {
            assert_close(map.on_x[k], a[k], 1e-12 * size);
            assert_close(map.path[k][0], -on_score[k] / sigma, 1e-11 * size);
        }
        assert_close(map.score[0][0], -1 / sigma, 1e-12 / sigma);
        assert_close(map.score[1][0], -b * (1 - nu) / (2 * nu) / sigma, 1e-12 * size);
        assert_close(map.score[1][1], -1 / sigma * b / (2 * nu), 1e-12 * size);    /* dlambda/dtau = beta/(2 nu) */
        assert_close(map.path[2][1], -b / 2 / sigma * b / (2 * nu), 1e-11 * size); /* of beta/2 dS/dtau */
    }
    schedule_free(schedule);
}

static void discrete_schedules_have_no_clock_t(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_DISCRETE_LINEAR);
    struct schedule *schedule;
    struct error err;
    struct derivative_map map;
    assert_int_equal(schedule_new(&schedule, &card, &err), 0);
    assert_int_equal(derivative_map(&map, schedule, CLOCK_T, 0.5, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_int_equal(derivative_map(&map, schedule, CLOCK_LOGSNR, 0.5, &err), 0);
    schedule_free(schedule);
}

static double weighted(const struct stencil *stencil, const double *weights, const double *values) {
    double sum = 0;
    for (int i = 0; i < stencil->count; i++) sum += weights[i] * values[i];
    return sum;
}

/* d^k/dx^k of e^x around 0.3, on even and on uneven points, at every place in the range. */
static void finite_differences_converge(void **state) {
    (void)state;
    for (int before = 0; before <= STENCIL_REACH; before++)
        for (int uneven = 0; uneven < 2; uneven++) {
            struct stencil stencil;
            double lambda[STENCIL_POINTS], values[STENCIL_POINTS];
            stencil_place(&stencil, before, STENCIL_REACH - before);
            assert_true(stencil.count <= STENCIL_POINTS);
            assert_true(-stencil.offsets[0] <= before && stencil.offsets[stencil.count - 1] <= STENCIL_REACH - before);
            assert_int_equal(stencil.offsets[stencil.centre], 0);
            for (int i = 0; i < stencil.count; i++) {
                lambda[i] = 0.3 + 0.05 * stencil.offsets[i] * (1 + 0.02 * uneven * stencil.offsets[i]);
                values[i] = exp(lambda[i]);
            }
            stencil_weigh(&stencil, lambda);
            const double width = 0.2 * 4; /* of the widest extrapolated window's half */
            for (int k = 1; k <= EPSILON_ORDERS; k++)
                for (int level = 0; level < STENCIL_LEVELS; level++) {
                    double h = width / (level ? 1 : 2),
                           found = weighted(&stencil, stencil.extrapolated[level][k], values);
                    assert_close(found, exp(0.3), 3 * pow(h, 7 - k));
                    found = weighted(&stencil, stencil.simple[level][k], values);
                    assert_close(found, exp(0.3), 3 * pow(h, 5 - k));
                }
        }
}

/* Five points are exact to the fourth power, the seven of Richardson's extrapolation to the sixth, and not beyond. */
static void finite_differences_are_exact_for_polynomials(void **state) {
    (void)state;
    struct stencil stencil;
    double lambda[STENCIL_POINTS], values[STENCIL_POINTS];
    stencil_place(&stencil, 8, 8);
    for (int i = 0; i < stencil.count; i++) lambda[i] = stencil.offsets[i];
    stencil_weigh(&stencil, lambda);
    for (int power = 0; power <= 8; power++) {
        for (int i = 0; i < stencil.count; i++) values[i] = pow(lambda[i], power);
        for (int k = 1; k <= EPSILON_ORDERS; k++) {
            double truth = power == k ? tgamma(k + 1) : 0;
            bool simple = fabs(weighted(&stencil, stencil.simple[0][k], values) - truth) < 1e-10;
            bool extrapolated = fabs(weighted(&stencil, stencil.extrapolated[0][k], values) - truth) < 1e-9;
            bool even = (power - k) % 2 != 0; /* nothing to see for reasons of symmetry */
            assert_true(power > 4 || simple);
            assert_true(power > 6 || extrapolated);
            assert_true(even || power < 5 || power < k + 4 || !simple);
        }
    }
}

/* Central differences of e^x: five points 1 and 2 apart, (16 D_h - D_2h)/15. */
static void extrapolation_is_richardsons(void **state) {
    (void)state;
    struct stencil stencil;
    double lambda[STENCIL_POINTS], values[STENCIL_POINTS];
    stencil_place(&stencil, 100, 100);
    for (int i = 0; i < stencil.count; i++) {
        lambda[i] = 0.1 * stencil.offsets[i];
        values[i] = exp(lambda[i]);
    }
    stencil_weigh(&stencil, lambda);
    double d[2];
    for (int level = 0; level < 2; level++) {
        double h = 0.1 * (1 << level);
        d[level] = (exp(-2 * h) - 8 * exp(-h) + 8 * exp(h) - exp(2 * h)) / (12 * h);
        assert_close(weighted(&stencil, stencil.simple[level][1], values), d[level], 1e-12);
    }
    assert_close(weighted(&stencil, stencil.extrapolated[0][1], values), (16 * d[0] - d[1]) / 15, 1e-12);
}

static void roots_and_their_errors(void **state) {
    (void)state;
    const double a[] = {4, 4, 4}, b[] = {1, 1, 1}, c[] = {2, 4, 6}, twice[] = {4, 8, 12}, zero[] = {0, 0, 0};
    struct ratio found = root_ratio(a, b, 3);
    assert_close(found.value, 2, 1e-15);
    assert_close(found.error, 0, 1e-15);
    found = root_ratio(c, NULL, 3); /* mean 4, standard error sqrt(4/3); of the root: that over 2 sqrt(4) */
    assert_close(found.value, 2, 1e-15);
    assert_close(found.error, sqrt(4. / 3) / 4, 1e-15);
    found = root_ratio(twice, c, 3); /* paired: no scatter */
    assert_close(found.value, sqrt(2), 1e-15);
    assert_close(found.error, 0, 1e-15);
    found = root_ratio(zero, zero, 3);
    assert_close(found.value, 0, 0);
    const double infinite[] = {1, INFINITY, 1};
    assert_true(isinf(root_ratio(infinite, NULL, 3).value));
    assert_true(isnan(root_ratio(a, NULL, 1).error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ideal_derivatives_are_the_papers),
        cmocka_unit_test(discrete_schedules_have_no_clock_t),
        cmocka_unit_test(finite_differences_converge),
        cmocka_unit_test(finite_differences_are_exact_for_polynomials),
        cmocka_unit_test(extrapolation_is_richardsons),
        cmocka_unit_test(roots_and_their_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
