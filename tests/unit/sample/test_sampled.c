/* Every stochastic program with its real noise through the real executor: 200,000 draws of Gaussian data, whose epsilon
 * is affine in x, so that the mean and the covariance of the samples are known from the plan exactly (registers as
 * affine forms of the start and the noises). A right program fails one of its nine comparisons with probability 1e-4.
 */
#include "sample/fake_model.h"
#include "interpret.h"

#include "sample/execute.h"

#include <stdio.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
enum { DRAWS = 5000 }; /* memory errors show in a few */
#else
enum { DRAWS = 200000 };
#endif
enum { BATCH = 500, SIZE = 3, FORM = 64 };
static const double DATA_STD = 0.4, LARGEST_Z = 4.42; /* two-sided 1e-5 */
static double data_mean(int e) {
    return 0.3 * e - 0.4;
}

#define CARD_TEXT "\"shape\": [1, 1, 3], \"prediction\": \"epsilon\", \"labels\": null"
#define LINEAR CARD_TEXT ", \"time\": {\"kind\": \"continuous\"}, \"schedule\": {\"kind\": \"linear\"}"
#define EDM CARD_TEXT ", \"time\": {\"kind\": \"sigma\"}, \"schedule\": {\"kind\": \"edm\"}"
#define DDPM \
    CARD_TEXT ", \"time\": {\"kind\": \"discrete\"}, \"schedule\": {\"kind\": \"discrete-linear\"}, \"variance\": " \
              "\"learned\""

static struct shim_model *model_of(const char *card) {
    char *json = text_new("{\"card\": {%s}, \"mixture\": {\"means\": [[%.17g, %.17g, %.17g]], \"std\": %.17g}}", card,
                          data_mean(0), data_mean(1), data_mean(2), DATA_STD);
    assert_non_null(json);
    struct shim_model *model = fake_model(json);
    free(json);
    return model;
}

/* Element e of the samples as a form: its mean, and the coefficients of the start and of noises 1, 2, ... */
static void affine(const struct plan *plan, void (*process)(double, double *, double *), int e, double form[FORM]) {
    double r[16][FORM] = {{0}}, alpha, sigma;
    r[0][1] = plan->initial_scale;
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        double result[FORM] = {0};
        for (int k = 0; k < FORM; k++) {
            if (op->kind == OP_LINCOMB)
                for (size_t j = 0; j < op->terms_count; j++)
                    result[k] += op->terms[j].coefficient * r[op->terms[j].source][k];
            if (op->kind == OP_MULEXP) result[k] = r[op->dst][k] * exp(op->a + op->b * r[op->src][0]);
        }
        if (op->kind == OP_NOISE) result[1 + op->stream] = 1;
        if (op->kind == OP_EVAL) {
            process(op->time, &alpha, &sigma);
            double factor = sigma / (pow(alpha * DATA_STD, 2) + sigma * sigma);
            for (int k = 0; k < FORM; k++) result[k] = factor * (r[op->src][k] - (k == 0 ? alpha * data_mean(e) : 0));
        }
        memcpy(r[op->dst], result, sizeof result);
        if (op->kind == OP_EVAL && op->dst2) {
            memset(r[op->dst2], 0, sizeof result);
            r[op->dst2][0] = cos(e + op->time); /* the fake shim's, of no label */
        }
    }
    memcpy(form, r[0], sizeof r[0]);
}

/* Sums over all draws of x - mean and of its products. */
static void draw(const struct plan *plan, const struct card *card, struct shim_model *model, const double mean[SIZE],
                 double sum[SIZE], double product[SIZE][SIZE]) {
    struct sampler sampler = {.state = STATE_FLOAT64};
    struct executor_setup setup = {
        .plan = plan, .sampler = &sampler, .card = card, .model = model, .device = SHIM_CPU, .batch = BATCH};
    struct executor *executor;
    struct error err;
    static double x[BATCH][SIZE];
    uint64_t seeds[BATCH];
    int nfe;
    if (executor_new(&executor, &setup, &err) != 0) fail_msg("%s", err.message);
    for (uint64_t first = 0; first < DRAWS; first += BATCH) {
        for (uint64_t row = 0; row < BATCH; row++) seeds[row] = first + row;
        if (executor_run(executor, &(struct batch){.rows = BATCH, .seeds = seeds}, x[0], &nfe, &err) != 0)
            fail_msg("%s", err.message);
        for (int row = 0; row < BATCH; row++)
            for (int a = 0; a < SIZE; a++) {
                sum[a] += x[row][a] - mean[a];
                for (int b = 0; b < SIZE; b++) product[a][b] += (x[row][a] - mean[a]) * (x[row][b] - mean[b]);
            }
    }
    executor_free(executor);
}

static void check(const char *name, const char *what, double found, double expected, double error) {
    double z = (found - expected) / error;
    if (fabs(z) > LARGEST_Z)
        fail_msg("%s: %s: %.6g, expected %.6g: %.1f standard errors", name, what, found, expected, z);
}

static void compare(const char *name, const char *card_text, void (*process)(double, double *, double *),
                    struct sampler sampler) {
    struct card card;
    struct error err;
    char *text = text_new("{%s}", card_text);
    json_t *json = json_loads(text, 0, NULL);
    assert_int_equal(card_parse(&card, json, "card", &err), 0);
    struct plan plan = compile(sampler, &card);
    struct shim_model *model = model_of(card_text);
    double mean[SIZE], variance[SIZE] = {0}, sum[SIZE] = {0}, product[SIZE][SIZE] = {{0}}, n = DRAWS;
    int noises = 0;
    for (int e = 0; e < SIZE; e++) {
        double form[FORM];
        affine(&plan, process, e, form);
        mean[e] = form[0];
        for (int k = 1; k < FORM; k++) variance[e] += form[k] * form[k];
        for (int k = 2; k < FORM; k++) noises += form[k] != 0;
    }
    assert_true(noises >= SIZE * 4);
    draw(&plan, &card, model, mean, sum, product);
    for (int a = 0; a < SIZE; a++) {
        check(name, "mean", sum[a] / n, 0, sqrt(variance[a] / n));
        for (int b = 0; b <= a; b++)
            check(name, a == b ? "variance" : "covariance", product[a][b] / n, a == b ? variance[a] : 0,
                  sqrt(variance[a] * variance[b] * (a == b ? 2 : 1) / n));
    }
    shim_model_free(model);
    plan_release(&plan);
    card_release(&card);
    json_decref(json);
    free(text);
}

static void samplers_on_the_linear_schedule(void **state) {
    (void)state;
    static const struct {
        const char *solver;
        double order;
        int nfe;
    } cases[] = {{"ito-taylor", 1, 24},
                 {"ito-taylor", 1.5, 12},
                 {"ito-taylor", INFINITY, 6},
                 {"euler-maruyama", NAN, 24},
                 {"euler-ancestral", NAN, 6},
                 {"sde-dpmpp", 1, 6},
                 {"sde-dpmpp", 2, 6},
                 {"er-sde", 1, 6},
                 {"er-sde", 3, 6},
                 {"sa-solver", 1, 6},
                 {"sa-solver", 3, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare(cases[i].solver, LINEAR, linear_process, sampler_of(cases[i].solver, cases[i].order, cases[i].nfe));
    struct sampler ddim = sampler_of("ddim", NAN, 6);
    ddim.eta = 0.6;
    compare("ddim", LINEAR, linear_process, ddim);
}

static void ddpm_with_every_variance(void **state) {
    (void)state;
    static const char *const names[] = {
        [VARIANCE_SMALL] = "ddpm small", [VARIANCE_LARGE] = "ddpm large", [VARIANCE_LEARNED] = "ddpm learned"};
    for (enum variance_kind variance = VARIANCE_SMALL; variance <= VARIANCE_LEARNED; variance++) {
        struct sampler sampler = sampler_of("ddpm", NAN, 6);
        sampler.variance = variance;
        sampler.final = FINAL_NONE;
        compare(names[variance], DDPM, ddpm_process, sampler);
    }
}

static void edm_with_churn(void **state) {
    (void)state;
    struct sampler sampler = sampler_of("edm", NAN, 19);
    sampler.churn = (struct churn){4, 0.01, 50, 1.007};
    sampler.final = FINAL_NONE;
    sampler.t_end = 0.3;
    compare("edm", EDM, edm_process, sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(samplers_on_the_linear_schedule),
                                       cmocka_unit_test(ddpm_with_every_variance), cmocka_unit_test(edm_with_churn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
