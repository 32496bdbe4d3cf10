/* rk45, whose steps depend on the batch: against a closed form and scipy's, with rows that are no samples, and where it
 * ends without a result. */
#include "executor.h"

#include <math.h>
#include <string.h>

static void linear_process(double t, double *alpha, double *sigma) {
    double integral = 0.1 * t + 19.9 * t * t / 2;
    *alpha = exp(-integral / 2);
    *sigma = sqrt(-expm1(-integral));
}

static struct plan rk45_plan(struct sampler *resolved, double tolerance) {
    struct sampler wanted;
    struct plan plan;
    struct error err;
    sampler_init(&wanted);
    strcpy(wanted.solver, "rk45");
    wanted.rtol = wanted.atol = tolerance;
    if (plan_resolve(resolved, &wanted, &card, &err) != 0 || plan_compile(&plan, resolved, &card, NULL, &err) != 0)
        fail_msg("%s", err.message);
    return plan;
}

/* Data of one Gaussian: the probability-flow ODE leaves (x - alpha mean)/sqrt(alpha^2 std^2 + sigma^2) as it is. */
static void rk45_follows_the_closed_form(void **state) {
    (void)state;
    struct sampler sampler;
    struct plan plan = rk45_plan(&sampler, 1e-6);
    struct shim_model *model = model_of(GAUSSIAN, "");
    double alpha, sigma, alpha0, sigma0, x[BATCH][ELEMENTS], normals[ELEMENTS];
    linear_process(sampler.t_start, &alpha, &sigma);
    linear_process(sampler.t_end, &alpha0, &sigma0);
    struct executor_setup setup = setup_of(&plan, &sampler, model, variants[0]);
    run_well(&setup, &whole, x[0]);
    for (int row = 0; row < BATCH; row++) {
        noise_normals(seeds[row], 0, ELEMENTS, normals);
        for (int e = 0; e < ELEMENTS; e++) {
            double mean = -0.5 + 0.1 * e; /* LOW_MEAN */
            double invariant = (normals[e] - alpha * mean) / hypot(alpha * 0.3, sigma);
            double expected = alpha0 * mean + hypot(alpha0 * 0.3, sigma0) * invariant;
            if (fabs(x[row][e] - expected) > 2e-5) fail_msg("%.9g, expected %.9g", x[row][e], expected);
        }
    }
    plan_release(&plan);
    sampler_release(&sampler);
    shim_model_free(model);
}

/* scipy 1.x: solve_ivp(f, (1, 1e-3), normals of all rows, method="RK45", rtol=1e-3, atol=1e-3) with the closed-form
 * probability-flow ODE; loose tolerances, so that steps chosen otherwise show. The model is float32, scipy's is not. */
static void rk45_is_scipys(void **state) {
    (void)state;
    const struct {
        size_t rows;
        int nfe;
        double first, middle, last;
    } cases[] = {
        {5, 32, -0.6050941962910129, -0.6658231203587918, 0.32520229726071126},
        {2, 32, -0.6052215262981665, 0.6529324784336165, 0.26572223994984606},
        {1, 32, -0.6052506920049193, -0.19619752883053734, 0.3084712782031682},
    };
    struct sampler sampler;
    struct plan plan = rk45_plan(&sampler, 1e-3);
    struct shim_model *model = model_of(GAUSSIAN, "");
    struct executor_setup setup = setup_of(&plan, &sampler, model, variants[0]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct batch batch = {.rows = cases[i].rows, .seeds = seeds, .labels = labels};
        struct error err;
        double x[BATCH][ELEMENTS];
        int nfe;
        assert_int_equal(run(&setup, &batch, x[0], &nfe, &err), 0);
        assert_int_equal(nfe, cases[i].nfe);
        assert_true(fabs(x[0][0] - cases[i].first) < 1e-5);
        assert_true(fabs(x[cases[i].rows / 2][5] - cases[i].middle) < 1e-5);
        assert_true(fabs(x[cases[i].rows - 1][11] - cases[i].last) < 1e-5);
    }
    plan_release(&plan);
    sampler_release(&sampler);
    shim_model_free(model);
}

/* Steps are chosen by the real rows: a batch of two is the same, NFE too, whether three fillers follow or none. */
static void rk45_leaves_fillers_out(void **state) {
    (void)state;
    struct sampler sampler;
    struct plan plan = rk45_plan(&sampler, 1e-6);
    struct shim_model *model = model_of(MIXTURE, "");
    struct batch two = {.rows = 2, .seeds = seeds, .labels = labels};
    double x[BATCH][ELEMENTS], expected[BATCH][ELEMENTS];
    struct error err;
    for (int v = 0; v < VARIANTS; v++) {
        int nfe[2] = {0};
        struct executor_setup setup = setup_of(&plan, &sampler, model, variants[v]);
        assert_int_equal(run(&setup, &two, x[0], &nfe[0], &err), 0);
        setup.batch = 2;
        assert_int_equal(run(&setup, &two, expected[0], &nfe[1], &err), 0);
        assert_memory_equal(x, expected, 2 * sizeof x[0]);
        assert_int_equal(nfe[0], nfe[1]);
        assert_int_equal(nfe[0] % 6, 2); /* two to choose the first step, six a step */
        assert_true(nfe[0] > 8);
    }
    plan_release(&plan);
    sampler_release(&sampler);
    shim_model_free(model);
}

static void rk45_gives_up(void **state) {
    (void)state;
    struct sampler sampler;
    struct plan plan = rk45_plan(&sampler, 1e-6);
    struct shim_model *model = model_of(MIXTURE, ""), *bad = model_of(MIXTURE, ", \"nan_call\": -1");
    volatile sig_atomic_t stop = 1;
    struct executor_setup setup = setup_of(&plan, &sampler, bad, variants[0]);
    run_badly(&setup, &whole, CODE_DATA, "rk45: the batch is not finite after 1 of");
    setup.model = model;
    setup.stop = &stop;
    run_badly(&setup, &whole, CODE_AGAIN, "interrupted");
    plan_release(&plan);
    sampler_release(&sampler);
    shim_model_free(bad);
    shim_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rk45_follows_the_closed_form),
        cmocka_unit_test(rk45_is_scipys),
        cmocka_unit_test(rk45_leaves_fillers_out),
        cmocka_unit_test(rk45_gives_up),
    };
    return cmocka_run_group_tests(tests, setup_models, release_models);
}
