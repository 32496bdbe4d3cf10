/* The executor against a naive interpreter that runs one sample at a time, with a plan written by hand, over both
 * bodies of registers. The model is the fake shim's mixture of two Gaussians. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/text.h"
#include "sample/execute.h"
#include "sample/noise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 5, ELEMENTS = 12, REGISTERS = 4 };

#define CARD \
    "{\"shape\": [2, 2, 3], \"prediction\": \"epsilon\", \"time\": {\"kind\": \"continuous\"}, " \
    "\"schedule\": {\"kind\": \"linear\", \"beta0\": 0.1, \"beta1\": 20}, \"labels\": {\"classes\": 2, \"null\": 2}, " \
    "\"variance\": \"learned\"}"
#define LOW_MEAN "[-0.5, -0.4, -0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]"
#define HIGH_MEAN "[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0, -0.1, -0.2]"
#define MIXTURE "{\"means\": [" LOW_MEAN ", " HIGH_MEAN "], \"std\": 0.3, \"weights\": [0.4, 0.6]}"
#define GAUSSIAN "{\"means\": [" LOW_MEAN "], \"std\": 0.3}"

static const uint64_t seeds[BATCH] = {3, 0, 1234567890123, 42, 7};
static const int64_t labels[BATCH] = {0, 1, 1, 0, 1};
static struct card card;
static struct shim_model *guide; /* GAUSSIAN, described by the same card */

static struct shim_model *model_of(const char *mixture, const char *more) {
    char folder[] = "/tmp/test_execute_XXXXXX", error[SHIM_ERROR];
    struct shim_model *model = NULL;
    assert_non_null(mkdtemp(folder));
    char *path = text_new("%s/model.json", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "{\"card\": " CARD ", \"mixture\": %s%s}", mixture, more);
    assert_int_equal(fclose(file), 0);
    char *data;
    size_t size;
    struct error err;
    if (file_read(path, &data, &size, &err) != 0) fail_msg("%s", err.message);
    if (shim_model_load(&model, data, size, path, SHIM_CPU, error) != 0) fail_msg("%s", error);
    free(data);
    assert_int_equal(remove(path), 0);
    assert_int_equal(rmdir(folder), 0);
    free(path);
    return model;
}

/* ---- a plan with every op, and every order of dst and sources ---- */

#define TERMS(...) \
    .terms = (struct term[]){__VA_ARGS__}, .terms_count = sizeof(struct term[]){__VA_ARGS__} / sizeof(struct term)
static struct op ops_of_every_kind[] = {
    {.kind = OP_EVAL, .dst = 1, .src = 0, .time = 0.9, .labels = EVAL_GIVEN},
    {.kind = OP_EVAL, .dst = 2, .src = 0, .time = 0.9, .labels = EVAL_NULL},
    {.kind = OP_LINCOMB, .dst = 1, TERMS({-0.5, 2}, {1.5, 1})},
    {.kind = OP_LINCOMB, .dst = 3, TERMS({1.01, 0}, {-0.2, 1})},
    {.kind = OP_RESCALE, .dst = 3, .src = 3, .like = 1, .phi = 0.7},
    {.kind = OP_NOISE, .dst = 2, .stream = 1},
    {.kind = OP_EVAL, .dst = 1, .dst2 = 3, .src = 0, .time = 0.7, .labels = EVAL_GIVEN},
    {.kind = OP_MULEXP, .dst = 2, .src = 3, .a = -0.4, .b = 0.3},
    {.kind = OP_EVAL, .dst = 3, .src = 0, .time = 0.7, .labels = EVAL_GIVEN, .model = 1},
    {.kind = OP_LINCOMB, .dst = 1, TERMS({2.5, 1}, {-1.5, 3}), .channels = {0, 1}},
    {.kind = OP_LINCOMB, .dst = 3, TERMS({0.3, 1}, {0.7, 3}), .channels = {1, 2}},
    {.kind = OP_LINCOMB, .dst = 0, TERMS({0.97, 3}, {0.1, 2}, {0.02, 0})},
    {.kind = OP_CLAMP, .dst = 0, .low = -0.7, .high = 0.9},
    {.kind = OP_PROJECT, .dst = 3, .src = 0, .like = 3},
    {.kind = OP_LINCOMB, .dst = 0, TERMS({0.8, 0}, {0.6, 3})},
    {.kind = OP_LIMIT, .dst = 0, .high = 1.5},
    {.kind = OP_THRESHOLD, .dst = 0, .quantile = 0.8, .low = 0.3, .high = 0.9},
    {.kind = OP_EVAL, .dst = 1, .src = 0, .time = 0.4, .labels = EVAL_GIVEN},
    {.kind = OP_LINCOMB, .dst = 0, TERMS({1.1, 0}, {-0.3, 1})},
    {.kind = OP_NOISE, .dst = 1, .stream = 2},
    {.kind = OP_LINCOMB, .dst = 0, TERMS({1, 0}, {0.05, 1}, {0.3, 0}, {-0.3, 0})},
    {.kind = OP_EVAL, .dst = 0, .src = 0, .time = 0.2, .labels = EVAL_NONE},
    {.kind = OP_LINCOMB, .dst = 2},
    {.kind = OP_LINCOMB, .dst = 0, TERMS({0.1, 3}, {3, 2}, {1 / 3., 0})},
    {.kind = OP_CLAMP, .dst = 0, .low = -INFINITY, .high = 0.4},
};
static const struct plan every_op = {.solver = "hand",
                                     .nfe = 3,
                                     .registers = REGISTERS,
                                     .initial_scale = 1.7,
                                     .ops = ops_of_every_kind,
                                     .ops_count = sizeof ops_of_every_kind / sizeof *ops_of_every_kind};

/* ---- the naive interpreter: one sample, by the definitions of design and headers ---- */

static double kept(double value, enum state_kind state) {
    return state == STATE_FLOAT32 ? (double)(float)value : value;
}

static void naive_lincomb(const struct op *op, enum state_kind state, double (*r)[ELEMENTS]) {
    for (size_t e = 0; e < ELEMENTS; e++) {
        int channel = (int)e / 6;
        if (op->channels[1] > 0 && (channel < op->channels[0] || channel >= op->channels[1])) {
            r[op->dst][e] = r[op->terms[0].source][e];
            continue;
        }
        double wide = 0;
        float narrow = 0;
        for (size_t k = 0; k < op->terms_count; k++) {
            wide += op->terms[k].coefficient * r[op->terms[k].source][e];
            narrow += (float)op->terms[k].coefficient * (float)r[op->terms[k].source][e];
        }
        r[op->dst][e] = state == STATE_FLOAT32 ? (double)narrow : wide;
    }
}

static void naive_eval(const struct op *op, struct shim_model *model, int64_t label, double (*r)[ELEMENTS]) {
    float in[ELEMENTS], out[ELEMENTS], variance[ELEMENTS];
    char error[SHIM_ERROR];
    struct shim_condition condition = {.time = op->time};
    if (op->labels == EVAL_NULL) label = card.null_label;
    if (op->labels != EVAL_NONE) condition.labels = &label;
    for (size_t e = 0; e < ELEMENTS; e++) in[e] = (float)r[op->src][e];
    assert_int_equal(shim_model_run(op->model ? guide : model, in, (struct shim_shape){1, 2, 2, 3}, &condition, out,
                                    variance, error),
                     0);
    for (size_t e = 0; e < ELEMENTS; e++) r[op->dst][e] = out[e];
    for (size_t e = 0; op->dst2 && e < ELEMENTS; e++)
        r[op->dst2][e] = (float)cos((double)e + op->time +
                                    (double)label); /* the fake shim's; none is without label here */
}

static double naive_spread(const double *x) {
    double mean = 0, square = 0;
    for (int e = 0; e < ELEMENTS; e++) mean += x[e] / ELEMENTS;
    for (int e = 0; e < ELEMENTS; e++) square += (x[e] - mean) * (x[e] - mean);
    return sqrt(square / (ELEMENTS - 1));
}

static void naive_rescale(const struct op *op, enum state_kind state, double (*r)[ELEMENTS]) {
    double spread = op->phi * naive_spread(r[op->like]) / naive_spread(r[op->src]);
    double factor = kept(spread + 1 - op->phi, state);
    for (int e = 0; e < ELEMENTS; e++) r[op->dst][e] = kept(r[op->src][e] * factor, state);
}

static void naive_mulexp(const struct op *op, enum state_kind state, double (*r)[ELEMENTS]) {
    for (int e = 0; e < ELEMENTS; e++) {
        double product = kept(kept(op->b, state) * r[op->src][e], state);
        double factor = kept(exp(kept(kept(op->a, state) + product, state)), state);
        r[op->dst][e] = kept(r[op->dst][e] * factor, state);
    }
}

static double naive_dot(const double *a, const double *b) {
    double sum = 0;
    for (int e = 0; e < ELEMENTS; e++) sum += a[e] * b[e];
    return sum;
}

static void naive_project(const struct op *op, enum state_kind state, double (*r)[ELEMENTS]) {
    double y[ELEMENTS], factor = kept(naive_dot(r[op->src], r[op->like]) / naive_dot(r[op->like], r[op->like]), state);
    memcpy(y, r[op->like], sizeof y);
    for (int e = 0; e < ELEMENTS; e++) r[op->dst][e] = kept(factor * y[e], state);
}

static void naive_limit(const struct op *op, enum state_kind state, double *x) {
    double own = sqrt(naive_dot(x, x)), factor = kept(op->high / own, state);
    for (int e = 0; e < ELEMENTS && own > op->high; e++) x[e] = kept(x[e] * factor, state);
}

/* The quantile by counting how many are smaller. */
static void naive_threshold(const struct op *op, enum state_kind state, double *x) {
    double place = op->quantile * (ELEMENTS - 1), around[2] = {0, 0};
    for (int e = 0; e < ELEMENTS; e++) {
        int smaller = 0;
        for (int k = 0; k < ELEMENTS; k++) smaller += fabs(x[k]) < fabs(x[e]) || (fabs(x[k]) == fabs(x[e]) && k < e);
        for (int side = 0; side < 2; side++)
            if (smaller == (int)place + side) around[side] = fabs(x[e]);
    }
    double s = kept(fmin(fmax(around[0] + (place - (int)place) * (around[1] - around[0]), op->low), op->high), state);
    double factor = kept(op->low / s, state);
    for (int e = 0; e < ELEMENTS; e++) x[e] = kept(fmax(-s, fmin(s, x[e])) * factor, state);
}

static void naive(const struct plan *plan, enum state_kind state, struct shim_model *model, uint64_t seed,
                  int64_t label, double *x) {
    double r[REGISTERS][ELEMENTS], normals[ELEMENTS];
    noise_normals(seed, 0, ELEMENTS, normals);
    for (size_t e = 0; e < ELEMENTS; e++) r[0][e] = kept(plan->initial_scale * normals[e], state);
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        if (op->kind == OP_EVAL) naive_eval(op, model, label, r);
        if (op->kind == OP_LINCOMB) naive_lincomb(op, state, r);
        if (op->kind == OP_RESCALE) naive_rescale(op, state, r);
        if (op->kind == OP_MULEXP) naive_mulexp(op, state, r);
        if (op->kind == OP_PROJECT) naive_project(op, state, r);
        if (op->kind == OP_LIMIT) naive_limit(op, state, r[op->dst]);
        if (op->kind == OP_THRESHOLD) naive_threshold(op, state, r[op->dst]);
        if (op->kind == OP_NOISE) noise_normals(seed, op->stream, ELEMENTS, normals);
        for (size_t e = 0; e < ELEMENTS; e++) {
            if (op->kind == OP_NOISE) r[op->dst][e] = kept(normals[e], state);
            if (op->kind == OP_CLAMP) r[op->dst][e] = kept(fmax(op->low, fmin(op->high, r[op->dst][e])), state);
        }
    }
    memcpy(x, r[0], sizeof r[0]);
}

/* ---- running the executor ---- */

struct variant { /* what does not change the numbers, and the state, which does */
    enum state_kind state;
    bool device_registers;
};
static const struct variant variants[] = {
    {STATE_FLOAT64, false}, {STATE_FLOAT64, true}, {STATE_FLOAT32, false}, {STATE_FLOAT32, true}};
enum { VARIANTS = sizeof variants / sizeof *variants };

static struct executor_setup setup_of(const struct plan *plan, struct sampler *sampler, struct shim_model *model,
                                      struct variant variant) {
    sampler->state = variant.state;
    return (struct executor_setup){.plan = plan,
                                   .sampler = sampler,
                                   .card = &card,
                                   .model = model,
                                   .guide = guide,
                                   .device = SHIM_CPU,
                                   .device_registers = variant.device_registers,
                                   .batch = BATCH};
}

static int run(const struct executor_setup *setup, const struct batch *batch, double *x, int *nfe, struct error *err) {
    struct executor *executor = NULL;
    if (executor_new(&executor, setup, err) != 0) return -1;
    int rc = executor_run(executor, batch, x, nfe, err);
    executor_free(executor);
    return rc;
}

static void run_well(const struct executor_setup *setup, const struct batch *batch, double *x) {
    struct error err;
    int nfe = -1;
    if (run(setup, batch, x, &nfe, &err) != 0) fail_msg("%s", err.message);
    if (!setup->plan->adaptive) assert_int_equal(nfe, setup->plan->nfe);
}

static void run_badly(const struct executor_setup *setup, const struct batch *batch, enum code code,
                      const char *message) {
    struct error err;
    double x[BATCH][ELEMENTS];
    int nfe;
    assert_int_equal(run(setup, batch, x[0], &nfe, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, message)) fail_msg("expected \"%s\" in: %s", message, err.message);
}

static const struct batch whole = {.rows = BATCH, .seeds = seeds, .labels = labels};

static void every_row_is_the_naive_one(void **state) {
    (void)state;
    struct shim_model *model = model_of(MIXTURE, "");
    for (int v = 0; v < VARIANTS; v++) {
        struct sampler sampler = {0};
        struct executor_setup setup = setup_of(&every_op, &sampler, model, variants[v]);
        double x[BATCH][ELEMENTS], expected[ELEMENTS];
        run_well(&setup, &whole, x[0]);
        for (int row = 0; row < BATCH; row++) {
            naive(&every_op, variants[v].state, model, seeds[row], labels[row], expected);
            assert_memory_equal(x[row], expected, sizeof expected);
        }
    }
    shim_model_free(model);
}

/* A batch of fewer rows, the same rows in another order, and an executor that has run before: the same samples. */
static void rows_do_not_see_each_other(void **state) {
    (void)state;
    struct shim_model *model = model_of(MIXTURE, "");
    for (int v = 0; v < VARIANTS; v++) {
        struct sampler sampler = {0};
        struct executor_setup setup = setup_of(&every_op, &sampler, model, variants[v]);
        struct executor *executor;
        struct error err;
        double x[BATCH][ELEMENTS], again[BATCH + 1][ELEMENTS];
        int nfe;
        run_well(&setup, &whole, x[0]);
        assert_int_equal(executor_new(&executor, &setup, &err), 0);
        for (size_t rows = BATCH; rows >= 1; rows--) {
            uint64_t other_seeds[BATCH];
            int64_t other_labels[BATCH];
            for (size_t row = 0; row < rows; row++) {
                other_seeds[row] = seeds[BATCH - 1 - row];
                other_labels[row] = labels[BATCH - 1 - row];
            }
            again[rows][0] = 12345; /* not to be written */
            struct batch batch = {.rows = rows, .seeds = other_seeds, .labels = other_labels};
            assert_int_equal(executor_run(executor, &batch, again[0], &nfe, &err), 0);
            for (size_t row = 0; row < rows; row++) assert_memory_equal(again[row], x[BATCH - 1 - row], sizeof x[0]);
            assert_true(again[rows][0] == 12345);
        }
        executor_free(executor);
    }
    shim_model_free(model);
}

static void float32_is_close_to_float64(void **state) {
    (void)state;
    struct shim_model *model = model_of(MIXTURE, "");
    struct sampler sampler = {0};
    double wide[BATCH][ELEMENTS], narrow[BATCH][ELEMENTS], largest = 0;
    struct executor_setup setup = setup_of(&every_op, &sampler, model, variants[0]);
    run_well(&setup, &whole, wide[0]);
    setup = setup_of(&every_op, &sampler, model, variants[2]);
    run_well(&setup, &whole, narrow[0]);
    for (int row = 0; row < BATCH; row++)
        for (int e = 0; e < ELEMENTS; e++) largest = fmax(largest, fabs(wide[row][e] - narrow[row][e]));
    assert_true(largest > 0 && largest < 1e-5);
    shim_model_free(model);
}

static void starts(void **state) {
    (void)state;
    struct plan plan = {.registers = 1, .initial_scale = 80}; /* no ops: what goes in comes out */
    struct shim_model *model = model_of(MIXTURE, "");
    struct sampler sampler = {0};
    float initial[BATCH][ELEMENTS];
    double x[BATCH][ELEMENTS], normals[ELEMENTS];
    for (size_t i = 0; i < BATCH * ELEMENTS; i++) initial[i / ELEMENTS][i % ELEMENTS] = (float)i / 7;
    for (int v = 0; v < 2; v++) {
        struct executor_setup setup = setup_of(&plan, &sampler, model, variants[v]);
        run_well(&setup, &whole, x[0]);
        for (int row = 0; row < BATCH; row++) {
            noise_normals(seeds[row], 0, ELEMENTS, normals);
            for (int e = 0; e < ELEMENTS; e++) assert_true(x[row][e] == 80 * normals[e]);
        }
        struct batch given = {.rows = BATCH, .seeds = seeds, .labels = labels, .initial = initial[0]};
        run_well(&setup, &given, x[0]);
        for (int row = 0; row < BATCH; row++)
            for (int e = 0; e < ELEMENTS; e++) assert_true(x[row][e] == (double)initial[row][e]);
        setup.noise = NOISE_TORCH_CPU;
        run_badly(&setup, &whole, CODE_DATA, "libtorch");
        run_well(&setup, &given, x[0]); /* needs no noise */
        setup.noise = NOISE_TORCH_CUDA;
        run_badly(&setup, &whole, CODE_DATA, "torch-cuda");
    }
    shim_model_free(model);
}

static void stops_between_ops(void **state) {
    (void)state;
    struct shim_model *model = model_of(MIXTURE, "");
    struct sampler sampler = {0};
    volatile sig_atomic_t stop = 0;
    double x[BATCH][ELEMENTS];
    struct executor_setup setup = setup_of(&every_op, &sampler, model, variants[0]);
    setup.stop = &stop;
    run_well(&setup, &whole, x[0]);
    stop = 1;
    run_badly(&setup, &whole, CODE_AGAIN, "interrupted");
    shim_model_free(model);
}

static void what_is_not_finite_is_named(void **state) {
    (void)state;
    struct op ops[] = {{.kind = OP_LINCOMB, TERMS({0.5, 0})}, {.kind = OP_CLAMP, .low = -1, .high = 1}};
    struct plan plan = {.registers = 2, .initial_scale = 1, .ops = ops, .ops_count = 2};
    struct shim_model *model = model_of(MIXTURE, ""), *bad = model_of(MIXTURE, ", \"nan_call\": -1");
    float initial[BATCH][ELEMENTS] = {0};
    struct batch batch = {.rows = 4, .seeds = seeds, .labels = labels, .initial = initial[0]};
    initial[2][7] = NAN;
    initial[3][0] = NAN;
    for (int v = 0; v < VARIANTS; v++) {
        struct sampler sampler = {0};
        struct executor_setup setup = setup_of(&plan, &sampler, model, variants[v]);
        run_badly(&setup, &batch, CODE_DATA, "seed 1234567890123 (row 2 of its batch) is not finite: element 7 is");
        setup = setup_of(&every_op, &sampler, bad, variants[v]);
        run_badly(&setup, &whole, CODE_DATA, "seed 3 (row 0 of its batch) is not finite: element 0 is");
    }
    shim_model_free(bad);
    shim_model_free(model);
}

static void mistakes(void **state) {
    (void)state;
    struct shim_model *model = model_of(MIXTURE, ""), *bad = model_of(MIXTURE, ", \"fail_call\": -1");
    struct batch unlabelled = {.rows = BATCH, .seeds = seeds}, none = whole, many = whole;
    none.rows = 0;
    many.rows = BATCH + 1;
    for (int v = 0; v < 2; v++) {
        struct sampler sampler = {0};
        struct executor_setup setup = setup_of(&every_op, &sampler, bad, variants[v]);
        run_badly(&setup, &whole, CODE_DATA, "the first call of the model failed");
        setup.model = model;
        run_badly(&setup, &unlabelled, CODE_INTERNAL, "labels");
        run_badly(&setup, &none, CODE_INTERNAL, "0 rows, expected 1 to 5");
        run_badly(&setup, &many, CODE_INTERNAL, "6 rows, expected 1 to 5");
        setup.guide = NULL;
        run_badly(&setup, &whole, CODE_INTERNAL, "there is none");
        setup.guide = bad;
        run_badly(&setup, &whole, CODE_DATA, "the first call of the guiding model failed");
    }
    shim_model_free(bad);
    shim_model_free(model);
}

/* ---- rk45 ---- */

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
        cmocka_unit_test(every_row_is_the_naive_one),
        cmocka_unit_test(rows_do_not_see_each_other),
        cmocka_unit_test(float32_is_close_to_float64),
        cmocka_unit_test(starts),
        cmocka_unit_test(stops_between_ops),
        cmocka_unit_test(what_is_not_finite_is_named),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(rk45_follows_the_closed_form),
        cmocka_unit_test(rk45_is_scipys),
        cmocka_unit_test(rk45_leaves_fillers_out),
        cmocka_unit_test(rk45_gives_up),
    };
    struct error err;
    json_t *json = json_loads(CARD, 0, NULL);
    if (card_parse(&card, json, "card", &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    struct card same = card;
    guide = model_of(GAUSSIAN, "");
    card.guide = &same;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    shim_model_free(guide);
    card.guide = NULL;
    card_release(&card);
    json_decref(json);
    return failed;
}
