/* Solvers against the literature: tables of derivatives, limits, closed-form solutions, orders of convergence, and
 * peers' sampling loops written down again. Plans are run by the interpreter of interpret.h. */
#include "networks.h"

#include "solver/schedule.h"

static struct sampler with_clock(struct sampler sampler, enum clock_kind clock, enum grid_kind grid) {
    sampler.clock = clock;
    sampler.grid = grid;
    return sampler;
}

/* ---- the series ---- */

/* beta and its derivatives at t, of the two schedules whose derivatives do not vanish. */
static void linear_beta(double t, double beta[3]) {
    beta[0] = 0.1 + 19.9 * t;
    beta[1] = 19.9;
    beta[2] = 0;
}

static void cosine_beta(double t, double beta[3]) { /* -2 alpha'/alpha = 2 c tan(a) */
    double c = M_PI / 2 / 1.008, tangent = tan(c * (t + 0.008)), secant2 = 1 + tangent * tangent;
    beta[0] = 2 * c * tangent;
    beta[1] = 2 * c * c * secant2;
    beta[2] = 4 * c * c * c * secant2 * tangent;
}

/* The table of a_k and b_k (k = 1..3): derivatives of the ideal path are a_k x + b_k S, S = -epsilon/sigma. */
static void check_table(const char *solver, const double orders[3], const struct card *card, double t,
                        const double b[3], double nu) {
    bool sde = strcmp(solver, "ito-taylor") == 0;
    const double a_expected[3] = {b[0] / 2, (b[0] * b[0] - 2 * b[1]) / 4,
                                  (pow(b[0], 3) - 6 * b[0] * b[1] + 4 * b[2]) / 8};
    const double ode[3] = {b[0] / 2, (b[0] * b[0] / nu - 2 * b[1]) / 4,
                           (pow(b[0], 3) * (nu * nu - 3 * nu + 3) / (nu * nu) - 6 * b[0] * b[1] / nu + 4 * b[2]) / 8};
    const double ito[3] = {b[0], -b[1], (pow(b[0], 3) + 4 * b[2]) / 4};
    struct step before = {1, 0, 0};
    double s = t - 0.02, h = t - s, factor = 1;
    for (int k = 0; k < 3; k++) {
        struct step step = one_step(with_clock(sampler_of(solver, orders[k], 0), CLOCK_T, GRID_UNSET), card, t, s);
        factor *= h / (k + 1);
        double a = (step.x - before.x) / factor, b_k = -(step.epsilon - before.epsilon) * sqrt(nu) / factor;
        assert_close(a, a_expected[k], 1e-8 * fmax(1, fabs(a)));
        assert_close(b_k, (sde ? ito : ode)[k], 1e-8 * fmax(1, fabs(b_k)));
        before = step;
    }
}

static void table_of_derivatives(void **state) {
    (void)state;
    struct card linear = card_of(SCHEDULE_LINEAR), cosine = card_of(SCHEDULE_COSINE);
    for (double t = 0.15; t < 1; t += 0.2) {
        double b[3], alpha, sigma;
        linear_beta(t, b);
        linear_process(t, &alpha, &sigma);
        check_table("taylor", (double[]){1, 2, 3}, &linear, t, b, sigma * sigma);
        check_table("ito-taylor", (double[]){1, 1.5, 3}, &linear, t, b, sigma * sigma);
        cosine_beta(t, b);
        alpha = cos(M_PI / 2 * (t + 0.008) / 1.008) / cos(M_PI / 2 * 0.008 / 1.008);
        check_table("taylor", (double[]){1, 2, 3}, &cosine, t, b, 1 - alpha * alpha);
        check_table("ito-taylor", (double[]){1, 1.5, 3}, &cosine, t, b, 1 - alpha * alpha);
    }
}

/* At order 30 the series are their limits, and the error falls by about h/R an order. */
static void limits(void **state) {
    (void)state;
    const enum schedule_kind kinds[] = {SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_LOG_LINEAR, SCHEDULE_EDM};
    for (int k = 0; k < 4; k++)
        for (enum clock_kind clock = CLOCK_T; clock <= CLOCK_LOGSNR; clock++)
            for (double t = 0.1; t < 0.95; t += 0.2) {
                struct card card = card_of(kinds[k]);
                struct schedule *schedule;
                struct error err;
                assert_int_equal(schedule_new(&schedule, &card, &err), 0);
                double h = 0.35 * fmin(schedule_radius(schedule, clock, t), clock == CLOCK_T ? t : 2);
                double s = clock == CLOCK_T ? t - h : schedule_time(schedule, schedule_logsnr(schedule, t) + h);
                struct sampler none = with_clock(sampler_of("taylor", INFINITY, 0), clock, GRID_UNSET);
                struct step exact = one_step(none, &card, t, s),
                            ddim = one_step(sampler_of("ddim", NAN, 0), &card, t, s);
                double alpha = schedule_alpha(schedule, s) / schedule_alpha(schedule, t);
                assert_close(exact.x, alpha, 1e-15 * alpha);
                assert_close(exact.epsilon, schedule_sigma(schedule, s) - schedule_sigma(schedule, t) * alpha, 1e-15);
                assert_close(ddim.x, exact.x, 1e-15 * alpha);
                assert_close(ddim.epsilon, exact.epsilon, 1e-15);
                double before = INFINITY;
                for (int order = 6; order <= 30; order += 6) {
                    none.order = order;
                    struct step cut = one_step(none, &card, t, s);
                    double error = fmax(fabs(cut.x - exact.x), fabs(cut.epsilon - exact.epsilon));
                    assert_true(error < before / 30 || error < 1e-12);
                    before = error;
                }
                assert_true(before < 1e-12);
                schedule_free(schedule);
            }
}

/* ito-taylor's limit is DDPM: mean e^{B/2} x + 2 sinh(B/2) S, variance (1 - e^-B) nu(s)/nu(t). */
static void ito_limits(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR);
    for (double t = 0.2; t <= 1; t += 0.2) {
        double s = t - 0.3 * fmin(t, 0.7), alpha[2], sigma[2];
        linear_process(t, &alpha[0], &sigma[0]);
        linear_process(s, &alpha[1], &sigma[1]);
        double b = 0.1 * (t - s) + 19.9 * (t * t - s * s) / 2, noise = sqrt(1 - exp(-b)) * sigma[1] / sigma[0];
        const struct sampler samplers[] = {with_clock(sampler_of("ito-taylor", INFINITY, 0), CLOCK_T, GRID_UNSET),
                                           with_clock(sampler_of("ito-taylor", 40, 0), CLOCK_T, GRID_UNSET),
                                           with_clock(sampler_of("ito-taylor", 40, 0), CLOCK_LOGSNR, GRID_UNSET),
                                           sampler_of("ddpm", NAN, 0)};
        for (int i = 0; i < 4; i++) {
            if (i == 2 && t > 0.5) continue; /* the step is too long in lambda */
            struct step step = one_step(samplers[i], &card, t, s);
            assert_close(step.x, exp(b / 2), 1e-10);
            assert_close(step.epsilon, -2 * sinh(b / 2) / sigma[0], 1e-10);
            assert_close(step.noise, noise, 1e-10);
        }
        struct sampler large = sampler_of("ddpm", NAN, 0);
        large.variance = VARIANCE_LARGE;
        assert_close(one_step(large, &card, t, s).noise, sqrt(1 - exp(-b)), 1e-14);
    }
}

/* Order 1 is Euler-Maruyama; order 1.5's noise is n = g dW + c dZ + d (h dW - dZ). */
static void ito_noise(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR);
    for (double t = 0.2; t <= 1; t += 0.2) {
        double s = t - 0.1, h = t - s, b[3], alpha, sigma;
        linear_beta(t, b);
        linear_process(t, &alpha, &sigma);
        double g = sqrt(b[0]), c = g * b[0] / 2 * (1 - 2 / (sigma * sigma)), d = -b[1] / (2 * g);
        double on_w = g + d * h, on_z = c - d;
        struct sampler sampler = with_clock(sampler_of("ito-taylor", 1.5, 0), CLOCK_T, GRID_UNSET);
        double variance = on_w * on_w * h + 2 * on_w * on_z * h * h / 2 + on_z * on_z * h * h * h / 3;
        assert_close(one_step(sampler, &card, t, s).noise, sqrt(variance), 1e-12);
        struct sampler euler = with_clock(sampler_of("euler-maruyama", NAN, 0), CLOCK_T, GRID_UNSET);
        sampler.order = 1;
        struct step one = one_step(sampler, &card, t, s), same = one_step(euler, &card, t, s);
        assert_close(one.noise, sqrt(b[0] * h), 1e-14);
        assert_close(one.x, 1 + b[0] / 2 * h, 1e-13);
        assert_close(one.epsilon, -b[0] * h / sigma, 1e-13);
        assert_close(same.x, one.x, 1e-14);
        assert_close(same.epsilon, one.epsilon, 1e-13);
        assert_close(same.noise, one.noise, 1e-14);
    }
}

static void negative_variance(void **state) {
    (void)state;
    struct card card = card_of(SCHEDULE_LINEAR);
    double times[2] = {1, 0.9};
    struct sampler sampler = with_clock(sampler_of("ito-taylor", 2, 0), CLOCK_T, GRID_TIMES);
    struct plan plan;
    struct error err;
    sampler.times = times;
    sampler.times_count = 2;
    assert_int_equal(try_compile(&plan, sampler, &card, NULL, &err), -1);
    /* beta h + h^2 (beta^2/2 - beta^2/nu - beta'/2) at t = 1, h = 0.1: 2 + 0.01 (200 - 400.017 - 9.95) */
    assert_non_null(strstr(err.message, "-0.0997"));
    assert_non_null(strstr(err.message, "t = 1 to 0.9"));
    sampler = with_clock(sampler_of("ito-taylor", 2, 0), CLOCK_T, GRID_UNIFORM);
    sampler.steps = 5;
    assert_int_equal(try_compile(&plan, sampler, &card, NULL, &err), -1);
    const char *number = strstr(err.message, "works is ");
    assert_non_null(number);
    sampler.steps = (int)strtol(number + strlen("works is "), NULL, 10);
    assert_in_range(sampler.steps, 6, 1000);
    plan = compile(sampler, &card);
    plan_release(&plan);
    sampler.steps--;
    assert_int_equal(try_compile(&plan, sampler, &card, NULL, &err), -1);
}

/* ---- closed-form solutions and orders ---- */

static double largest_error(struct sampler sampler, const struct network *network, const double *expected) {
    struct card card = card_of(SCHEDULE_LINEAR);
    struct plan plan = compile(sampler, &card);
    double x[ELEMENTS], largest = 0;
    memcpy(x, start, sizeof x);
    interpret(&plan, network, no_noise, x);
    for (int e = 0; e < ELEMENTS; e++) largest = fmax(largest, fabs(x[e] - expected[e]));
    plan_release(&plan);
    return largest;
}

/* log2 of how much the error falls when the steps double. */
static double observed_order(struct sampler sampler, const struct network *network, const double *expected) {
    double coarse = largest_error(sampler, network, expected);
    sampler.steps *= 2;
    return log2(coarse / largest_error(sampler, network, expected));
}

/* x_s = alpha_s m + sqrt((alpha_s^2 std^2 + nu_s)/(alpha_t^2 std^2 + nu_t)) (x_t - alpha_t m), from t = 1. */
static void closed_form(const struct network *network, double end, double *x) {
    double alpha[2], sigma[2], m = network->mean[0], std = network->std[0];
    linear_process(1, &alpha[0], &sigma[0]);
    linear_process(end, &alpha[1], &sigma[1]);
    double ratio = hypot(alpha[1] * std, sigma[1]) / hypot(alpha[0] * std, sigma[0]);
    for (int e = 0; e < ELEMENTS; e++) x[e] = alpha[1] * m + ratio * (start[e] - alpha[0] * m);
}

static struct sampler ode(const char *solver, double order, int steps, enum clock_kind clock, enum grid_kind grid) {
    struct sampler sampler = with_clock(sampler_of(solver, order, 0), clock, grid);
    sampler.steps = steps;
    sampler.t_end = 0.1;
    return sampler;
}

static void gaussian_data(void **state) {
    (void)state;
    double expected[ELEMENTS];
    closed_form(&gaussian, 0.1, expected);
    assert_true(largest_error(ode("rk4", NAN, 400, CLOCK_LOGSNR, GRID_UNIFORM_LOGSNR), &gaussian, expected) < 1e-10);
    assert_true(largest_error(ode("rk4", NAN, 400, CLOCK_T, GRID_UNIFORM), &gaussian, expected) < 1e-6);
    assert_true(largest_error(ode("heun", NAN, 400, CLOCK_LOGSNR, GRID_UNIFORM), &gaussian, expected) < 1e-5);
    assert_true(largest_error(ode("ddim", NAN, 2000, CLOCK_T, GRID_QUADRATIC), &gaussian, expected) < 1e-3);
    assert_true(largest_error(ode("taylor", 3, 2000, CLOCK_T, GRID_QUADRATIC), &gaussian, expected) < 1e-3);
}

static void orders_on_a_mixture(void **state) {
    (void)state;
    double reference[ELEMENTS];
    struct card card = card_of(SCHEDULE_LINEAR);
    struct plan fine = compile(ode("rk4", NAN, 4000, CLOCK_LOGSNR, GRID_UNIFORM), &card);
    memcpy(reference, start, sizeof reference);
    interpret(&fine, &mixture, no_noise, reference);
    plan_release(&fine);
    const struct {
        const char *solver;
        double order, expected;
        int steps;
    } cases[] = {
        {"euler", NAN, 1, 400}, {"ddim", NAN, 1, 400},        {"taylor", 1, 1, 400}, {"taylor", 2, 1, 400},
        {"taylor", 5, 1, 400},  {"taylor", INFINITY, 1, 400}, {"heun", NAN, 2, 200}, {"rk4", NAN, 4, 80},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (enum clock_kind clock = CLOCK_T; clock <= CLOCK_LOGSNR; clock++) {
            struct sampler sampler = ode(cases[i].solver, cases[i].order, cases[i].steps, clock, GRID_UNIFORM);
            assert_close(observed_order(sampler, &mixture, reference), cases[i].expected, 0.15 * cases[i].expected);
        }
}

/* One data point: DDIM is exact in one step, order n of quasi-Taylor is order n. */
static void orders_on_a_point_mass(void **state) {
    (void)state;
    double expected[ELEMENTS];
    closed_form(&point_mass, 0.1, expected);
    for (int steps = 1; steps <= 4; steps++) {
        assert_true(largest_error(ode("ddim", NAN, steps, CLOCK_T, GRID_UNIFORM), &point_mass, expected) < 1e-12);
        assert_true(largest_error(ode("taylor", INFINITY, steps, CLOCK_T, GRID_UNIFORM), &point_mass, expected) <
                    1e-12);
    }
    for (int order = 1; order <= 5; order++)
        for (enum clock_kind clock = CLOCK_T; clock <= CLOCK_LOGSNR; clock++) {
            struct sampler sampler = ode("taylor", order, order < 3 ? 400 : 60, clock, GRID_UNIFORM);
            assert_close(observed_order(sampler, &point_mass, expected), order, 0.2);
        }
}

static void euler_is_taylor_1(void **state) {
    (void)state;
    const enum schedule_kind kinds[] = {SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_LOG_LINEAR, SCHEDULE_EDM};
    for (int k = 0; k < 4; k++)
        for (enum clock_kind clock = CLOCK_T; clock <= CLOCK_LOGSNR; clock++) {
            struct card card = card_of(kinds[k]);
            struct step euler = one_step(with_clock(sampler_of("euler", NAN, 0), clock, GRID_UNSET), &card, 0.8, 0.7);
            struct step taylor = one_step(with_clock(sampler_of("taylor", 1, 0), clock, GRID_UNSET), &card, 0.8, 0.7);
            assert_close(euler.x, taylor.x, 1e-14);
            assert_close(euler.epsilon, taylor.epsilon, 1e-13);
        }
}

/* ---- peers' loops ---- */

/* DDIM's and DDPM's papers on the trained integers 0, 200, ..., 800 (diffusers' leading), last step to alpha = 1. */
static void ddim_and_ddpm_loops(void **state) {
    (void)state;
    const struct {
        const char *solver;
        double eta;
        enum variance_kind variance;
    } cases[] = {{"ddim", 0, VARIANCE_UNSET},
                 {"ddim", 0.6, VARIANCE_UNSET},
                 {"ddim", 1, VARIANCE_UNSET},
                 {"ddpm", NAN, VARIANCE_SMALL},
                 {"ddpm", NAN, VARIANCE_LARGE}};
    struct network network = mixture;
    network.process = ddpm_process;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct card card = card_of(SCHEDULE_DISCRETE_LINEAR);
        struct sampler sampler = sampler_of(cases[i].solver, NAN, 5);
        sampler.grid = GRID_LEADING;
        sampler.eta = cases[i].eta;
        sampler.variance = cases[i].variance;
        struct plan plan = compile(sampler, &card);
        double x[ELEMENTS];
        memcpy(x, start, sizeof x);
        interpret(&plan, &network, some_noise, x);
        for (size_t e = 0; e < ELEMENTS; e++) {
            double y = start[e];
            for (int n = 800, step = 1; n >= 0; n -= 200, step++) {
                double a = ddpm_cumprod(n), b = n == 0 ? 1 : ddpm_cumprod(n - 200), beta = 1 - a / b;
                double epsilon = true_epsilon(&network, y, sqrt(a), sqrt(1 - a)), z = some_noise((uint32_t)step, e);
                double x0 = (y - sqrt(1 - a) * epsilon) / sqrt(a), small = (1 - b) / (1 - a) * beta;
                if (cases[i].solver[2] == 'p') { /* DDPM, eq. 7; no noise in the last step */
                    double s = n == 0 ? 0 : cases[i].variance == VARIANCE_SMALL ? sqrt(small) : sqrt(beta);
                    y = sqrt(b) * beta / (1 - a) * x0 + sqrt(1 - beta) * (1 - b) / (1 - a) * y + s * z;
                } else { /* DDIM, eq. 12 and 16 */
                    double s = cases[i].eta * sqrt(small);
                    y = sqrt(b) * x0 + sqrt(1 - b - s * s) * epsilon + s * z;
                }
            }
            assert_close(x[e], y, 1e-11);
        }
        plan_release(&plan);
    }
}

/* EDM's sampler (Karras et al. 2022, algorithm 1) with its steps, N = 18: NFE 35. */
static void edm_loop(void **state) {
    (void)state;
    enum { N = 18 };
    struct card card = card_of(SCHEDULE_EDM);
    struct network network = mixture;
    struct sampler sampler = sampler_of("heun", NAN, 0);
    double t[N + 1] = {0}, x[ELEMENTS];
    network.process = edm_process;
    network.prediction = card.prediction = PREDICTION_EDM;
    sampler.clock = CLOCK_T;
    sampler.steps = N;
    struct plan plan = compile(sampler, &card);
    assert_int_equal(plan.nfe, 2 * N - 1);
    assert_close(plan.initial_scale, 80, 0);
    for (int e = 0; e < ELEMENTS; e++) x[e] = 80 * start[e];
    interpret(&plan, &network, no_noise, x);
    for (int i = 0; i < N; i++)
        t[i] = pow(pow(80, 1. / 7) + (double)i / (N - 1) * (pow(0.002, 1. / 7) - pow(80, 1. / 7)), 7);
    for (int e = 0; e < ELEMENTS; e++) {
        double y = 80 * start[e];
        for (int i = 0; i < N; i++) {
            double d = true_epsilon(&network, y, 1, t[i]), next = y + (t[i + 1] - t[i]) * d;
            if (i < N - 1) next = y + (t[i + 1] - t[i]) * (d + true_epsilon(&network, next, 1, t[i + 1])) / 2;
            y = next;
        }
        assert_close(x[e], y, 1e-11);
    }
    plan_release(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_of_derivatives),
        cmocka_unit_test(limits),
        cmocka_unit_test(ito_limits),
        cmocka_unit_test(ito_noise),
        cmocka_unit_test(negative_variance),
        cmocka_unit_test(gaussian_data),
        cmocka_unit_test(orders_on_a_mixture),
        cmocka_unit_test(orders_on_a_point_mass),
        cmocka_unit_test(euler_is_taylor_1),
        cmocka_unit_test(ddim_and_ddpm_loops),
        cmocka_unit_test(edm_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
