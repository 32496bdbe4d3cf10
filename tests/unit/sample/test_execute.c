/* The executor against a naive interpreter that runs one sample at a time, with a plan written by hand, over both
 * bodies of registers. The model is the fake shim's mixture of two Gaussians. */
#include "executor.h"

#include <math.h>
#include <string.h>

enum { REGISTERS = 4 };

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
    {.kind = OP_GUIDE, .dst = 3, .src = 3, .like = 0, .channels = {1, 2}},
    {.kind = OP_GUIDE, .dst = 0, .src = 0, .like = 3},
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

/* Of guidance, by seed. */
static double scale_of(uint64_t seed) {
    int row = 0;
    while (seeds[row] != seed) row++;
    return scales[row];
}

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

static void naive_guide(const struct op *op, enum state_kind state, double w, double (*r)[ELEMENTS]) {
    for (int e = 0; e < ELEMENTS; e++) {
        double guided = kept(kept(w, state) * r[op->src][e], state),
               guide_part = kept(kept(1 - w, state) * r[op->like][e], state);
        bool within = op->channels[1] == 0 || (e / 6 >= op->channels[0] && e / 6 < op->channels[1]);
        r[op->dst][e] = within ? kept(guided + guide_part, state) : r[op->src][e];
    }
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
        if (op->kind == OP_GUIDE) naive_guide(op, state, scale_of(seed), r);
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

static void every_row_is_the_naive_one(void **state) {
    (void)state;
    struct shim_model *model = model_of(MIXTURE, "");
    for (int v = 0; v < 2 * VARIANTS; v++) { /* the plan's first two ops in two calls and in one */
        struct sampler sampler = {.guidance.batched = v % 2 ? BATCHED_ON : BATCHED_OFF};
        struct executor_setup setup = setup_of(&every_op, &sampler, model, variants[v / 2]);
        double x[BATCH][ELEMENTS], expected[ELEMENTS];
        run_well(&setup, &whole, x[0]);
        for (int row = 0; row < BATCH; row++) {
            naive(&every_op, variants[v / 2].state, model, seeds[row], labels[row], expected);
            assert_memory_equal(x[row], expected, sizeof expected);
        }
    }
    shim_model_free(model);
}

/* A model whose n-th call is multiplied by 1 + n/10: the second is the batch's first, after the warm-up. */
static void batched_guidance_is_one_call(void **state) {
    (void)state;
    struct op ops[] = {{.kind = OP_EVAL, .dst = 1, .src = 0, .time = 0.9, .labels = EVAL_GIVEN},
                       {.kind = OP_EVAL, .dst = 2, .src = 0, .time = 0.9, .labels = EVAL_NULL},
                       {.kind = OP_LINCOMB, .dst = 0, TERMS({1.5, 1}, {-0.5, 2})}};
    struct plan plan = {.registers = 3, .initial_scale = 1, .nfe = 1, .ops = ops, .ops_count = 3};
    struct shim_model *plain = model_of(MIXTURE, "");
    for (int v = 0; v < 2 * VARIANTS; v++) {
        struct shim_model *drifting = model_of(MIXTURE, ", \"drift\": 0.1");
        struct sampler sampler = {.guidance.batched = v % 2 ? BATCHED_ON : BATCHED_OFF};
        struct executor_setup setup = setup_of(&plan, &sampler, drifting, variants[v / 2]);
        double x[BATCH][ELEMENTS], expected[ELEMENTS], largest = 0;
        run_well(&setup, &whole, x[0]);
        for (int row = 0; row < BATCH; row++) {
            naive(&plan, variants[v / 2].state, plain, seeds[row], labels[row], expected);
            for (int e = 0; e < ELEMENTS; e++) largest = fmax(largest, fabs(x[row][e] - 1.2 * expected[e]));
        }
        if (v % 2) assert_true(largest < 1e-5);
        else assert_true(largest > 1e-2);
        shim_model_free(drifting);
    }
    shim_model_free(plain);
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
            double other_scales[BATCH];
            for (size_t row = 0; row < rows; row++) {
                other_seeds[row] = seeds[BATCH - 1 - row];
                other_labels[row] = labels[BATCH - 1 - row];
                other_scales[row] = scales[BATCH - 1 - row];
            }
            again[rows][0] = 12345; /* not to be written */
            struct batch batch = {.rows = rows, .seeds = other_seeds, .labels = other_labels, .scales = other_scales};
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
        struct batch given = {.rows = BATCH, .seeds = seeds, .labels = labels, .scales = scales, .initial = initial[0]};
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
    struct batch batch = {.rows = 4, .seeds = seeds, .labels = labels, .scales = scales, .initial = initial[0]};
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
    const int64_t undrawn[BATCH] = {0, -1, 1, 0, 1};
    struct batch blind = {.rows = BATCH, .seeds = seeds, .labels = undrawn};
    none.rows = 0;
    many.rows = BATCH + 1;
    for (int v = 0; v < 2; v++) {
        struct sampler sampler = {0};
        struct executor_setup setup = setup_of(&every_op, &sampler, bad, variants[v]);
        run_badly(&setup, &whole, CODE_DATA, "the first call of the model failed");
        setup.model = model;
        run_badly(&setup, &unlabelled, CODE_INTERNAL, "labels");
        run_badly(&setup, &blind, CODE_DATA, "the label of seed 0 could not be drawn");
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_the_naive_one),
        cmocka_unit_test(batched_guidance_is_one_call),
        cmocka_unit_test(rows_do_not_see_each_other),
        cmocka_unit_test(float32_is_close_to_float64),
        cmocka_unit_test(starts),
        cmocka_unit_test(stops_between_ops),
        cmocka_unit_test(what_is_not_finite_is_named),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, setup_models, release_models);
}
