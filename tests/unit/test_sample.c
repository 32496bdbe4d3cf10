/* Noise, quantising, and the executor: against published vectors, a table, and a naive interpreter. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample/execute.h"
#include "sample/noise.h"
#include "sample/quantise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Random123's known answers for philox4x32-10, counter and key 0. */
static void noise_known_answers(void **state) {
    (void)state;
    const uint32_t w[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    double u1 = ((double)((((uint64_t)w[0] << 32) | w[1]) >> 11) + 1) / 9007199254740992.0;
    double u2 = (double)((((uint64_t)w[2] << 32) | w[3]) >> 11) / 9007199254740992.0;
    double normal[2], r = sqrt(-2 * log(u1));
    noise_normals(0, 0, 2, normal);
    assert_true(fabs(normal[0] - r * cos(2 * M_PI * u2)) < 1e-15);
    assert_true(fabs(normal[1] - r * sin(2 * M_PI * u2)) < 1e-15);
}

static void noise_is_normal(void **state) {
    (void)state;
    enum { COUNT = 1000001 };
    double *x = malloc(COUNT * sizeof *x), mean = 0, square = 0, fourth = 0, neighbour = 0;
    noise_normals(12345678901234567u, 3, COUNT, x);
    for (int i = 0; i < COUNT; i++) {
        mean += x[i] / COUNT;
        square += x[i] * x[i] / COUNT;
        fourth += pow(x[i], 4) / COUNT;
        neighbour += i ? x[i] * x[i - 1] / COUNT : 0;
    }
    /* five standard errors each */
    assert_true(fabs(mean) < 0.005 && fabs(square - 1) < 0.0071 && fabs(fourth - 3) < 0.049 && fabs(neighbour) < 0.005);
    double other[2];
    noise_normals(12345678901234567u, 4, 2, other);
    assert_true(other[0] != x[0]);
    noise_normals(12345678901234567u + ((uint64_t)1 << 32), 3, 2, other);
    assert_true(other[0] != x[0]);
    free(x);
}

static void labels_are_uniform(void **state) {
    (void)state;
    int counts[10] = {0};
    for (uint64_t seed = 0; seed < 100000; seed++) counts[noise_label(seed, 10)]++;
    for (int i = 0; i < 10; i++) assert_true(abs(counts[i] - 10000) < 500);
}

static void rounding_rules(void **state) {
    (void)state;
    static const struct { double x; uint8_t edm, adm, diffusers; } table[] = {
        {-2, 0, 0, 0}, {-1, 0, 0, 0}, {-1 + 0.5 / 127.5, 1, 0, 0}, {-1 + 0.499 / 127.5, 0, 0, 0},
        {-1 + 1.5 / 127.5, 2, 1, 2}, {-1 + 2.5 / 127.5, 3, 2, 2}, {0, 128, 127, 128}, {1, 255, 255, 255}, {2, 255, 255, 255},
        {1 - 0.6 / 127.5, 254, 254, 254}, {1 - 0.4 / 127.5, 255, 254, 255},
    };
    struct card card = {.channels = 1, .height = 1, .width = 1, .low = -1, .high = 1};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t out[3];
        quantise_uint8(&table[i].x, 1, &card, ROUNDING_EDM, out);
        quantise_uint8(&table[i].x, 1, &card, ROUNDING_ADM, out + 1);
        quantise_uint8(&table[i].x, 1, &card, ROUNDING_DIFFUSERS, out + 2);
        /* at exact halves the product's own rounding decides: allow what x +- 1 ulp gives */
        assert_int_equal(out[1], table[i].adm);
        if (i != 2 && i != 4 && i != 5) {
            assert_int_equal(out[0], table[i].edm);
            assert_int_equal(out[2], table[i].diffusers);
        }
    }
    struct card other = {.channels = 2, .height = 1, .width = 2, .low = 0, .high = 1};
    double x[4] = {0, 1, 0.5, 0.25};
    uint8_t out[4];
    quantise_uint8(x, 1, &other, ROUNDING_EDM, out);
    const uint8_t expected[4] = {0, 128, 255, 64}; /* HWC */
    assert_memory_equal(out, expected, 4);
}

/* ---- the executor ---- */

enum { BATCH = 4, ELEMENTS = 6 };
static char model_path[64];
static struct card card;
static struct shim_model *model;

static int make_model(void **state) {
    (void)state;
    static const char text[] =
        "{\"card\": {\"shape\": [1, 2, 3], \"prediction\": \"epsilon\", \"time\": {\"kind\": \"continuous\"}, \"schedule\": "
        "{\"kind\": \"linear\"}, \"labels\": {\"classes\": 2, \"null\": 2}}, \"mixture\": {\"std\": 0.3, \"means\": "
        "[[1, 0, 0, -1, 0.5, 0], [0, 1, 0, 0.5, -1, 0.2]]}}";
    char message[SHIM_ERROR];
    struct error err;
    strcpy(model_path, "/tmp/qtaylor-sample-XXXXXX");
    int fd = mkstemp(model_path);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) return -1;
    close(fd);
    return card_read(&card, model_path, &err) == 0 && shim_model_load(&model, model_path, SHIM_CPU, message) == 0 ? 0 : -1;
}

static int remove_model(void **state) {
    (void)state;
    shim_model_free(model);
    card_free(&card);
    return unlink(model_path);
}

static struct term sum_terms[] = {{0.7, 0}, {-0.2, 1}, {0.1, 2}}, swap_terms[] = {{2, 1}}, blend_terms[] = {{-1, 2}, {1.5, 1}};
static struct op every_op[] = {
    {.kind = OP_EVAL, .dst = 1, .src = 0, .time = 0.8, .labels = EVAL_GIVEN},
    {.kind = OP_EVAL, .dst = 2, .src = 0, .time = 0.8, .labels = EVAL_NULL},
    {.kind = OP_LINCOMB, .dst = 1, .terms = blend_terms, .terms_count = 2}, /* dst is a source */
    {.kind = OP_NOISE, .dst = 2, .stream = 1},
    {.kind = OP_LINCOMB, .dst = 0, .terms = sum_terms, .terms_count = 3},
    {.kind = OP_CLAMP, .dst = 0, .low = -1.1, .high = 0.9},
    {.kind = OP_LINCOMB, .dst = 2, .terms = swap_terms, .terms_count = 1},
};
static const struct plan plan = {.registers = 3, .initial_scale = 1.5, .nfe = 1, .model_calls = 2, .ops = every_op,
                                 .ops_count = sizeof every_op / sizeof *every_op};

static void run(const struct executor_setup *changes, const uint64_t *seeds, const int64_t *labels, size_t rows, double *x) {
    struct executor *executor;
    struct error err;
    int nfe;
    struct sampler sampler = {.state = changes->sampler ? STATE_FLOAT32 : STATE_FLOAT64, .t_start = 1};
    struct executor_setup setup = {.plan = &plan, .sampler = &sampler, .card = &card, .model = model, .device = SHIM_CPU,
                                   .batch = BATCH, .device_registers = changes->device_registers};
    struct batch batch = {.rows = rows, .seeds = seeds, .labels = labels};
    assert_int_equal(executor_new(&executor, &setup, &err), 0);
    assert_int_equal(executor_run(executor, &batch, x, &nfe, &err), 0);
    assert_int_equal(nfe, 1);
    executor_free(executor);
}

/* The ops by hand for one row. */
static void naive(uint64_t seed, int64_t label, double *x) {
    float input[ELEMENTS], given[ELEMENTS], null[ELEMENTS];
    double noise[ELEMENTS];
    char message[SHIM_ERROR];
    int64_t none = 2;
    struct shim_shape shape = {1, 1, 2, 3};
    noise_normals(seed, 0, ELEMENTS, x);
    for (int i = 0; i < ELEMENTS; i++) input[i] = (float)(x[i] *= 1.5);
    assert_int_equal(shim_model_run(model, input, shape, &(struct shim_condition){0.8, 0, &label}, given, message), 0);
    assert_int_equal(shim_model_run(model, input, shape, &(struct shim_condition){0.8, 0, &none}, null, message), 0);
    noise_normals(seed, 1, ELEMENTS, noise);
    for (int i = 0; i < ELEMENTS; i++) {
        double blend = -1.0 * (double)null[i] + 1.5 * (double)given[i];
        x[i] = fmin(fmax(0.7 * x[i] + -0.2 * blend + 0.1 * noise[i], -1.1), 0.9);
    }
}

static const uint64_t seeds[BATCH] = {5, 1u << 31, 7, (uint64_t)9 << 40};
static const int64_t labels[BATCH] = {0, 1, 1, 0};

static void executor_is_the_naive_interpreter(void **state) {
    (void)state;
    double x[BATCH * ELEMENTS], device[BATCH * ELEMENTS], narrow[BATCH * ELEMENTS], expected[ELEMENTS];
    run(&(struct executor_setup){0}, seeds, labels, BATCH, x);
    run(&(struct executor_setup){.device_registers = true}, seeds, labels, BATCH, device);
    run(&(struct executor_setup){.sampler = (void *)1}, seeds, labels, BATCH, narrow);
    for (int row = 0; row < BATCH; row++) {
        naive(seeds[row], labels[row], expected);
        for (int i = 0; i < ELEMENTS; i++) {
            assert_true(x[row * ELEMENTS + i] == expected[i]);
            assert_true(fabs(narrow[row * ELEMENTS + i] - expected[i]) < 1e-5);
        }
    }
    assert_memory_equal(x, device, sizeof x);
}

static void rows_do_not_see_each_other(void **state) {
    (void)state;
    double whole[BATCH * ELEMENTS], part[BATCH * ELEMENTS], turned[BATCH * ELEMENTS];
    const uint64_t other_seeds[BATCH] = {seeds[3], seeds[2], seeds[1], seeds[0]};
    const int64_t other_labels[BATCH] = {labels[3], labels[2], labels[1], labels[0]};
    run(&(struct executor_setup){0}, seeds, labels, BATCH, whole);
    run(&(struct executor_setup){0}, seeds, labels, 2, part); /* two filler rows */
    run(&(struct executor_setup){0}, other_seeds, other_labels, BATCH, turned);
    assert_memory_equal(whole, part, 2 * ELEMENTS * sizeof(double));
    for (int row = 0; row < BATCH; row++)
        assert_memory_equal(whole + row * ELEMENTS, turned + (BATCH - 1 - row) * ELEMENTS, ELEMENTS * sizeof(double));
}

static void stop_and_nan(void **state) {
    (void)state;
    volatile sig_atomic_t stop = 1;
    struct sampler sampler = {.state = STATE_FLOAT64, .t_start = 1};
    struct executor_setup setup = {.plan = &plan, .sampler = &sampler, .card = &card, .model = model, .device = SHIM_CPU,
                                   .batch = BATCH, .stop = &stop};
    struct batch batch = {.rows = 2, .seeds = seeds, .labels = labels};
    struct executor *executor;
    struct error err;
    double x[BATCH * ELEMENTS];
    int nfe;
    assert_int_equal(executor_new(&executor, &setup, &err), 0);
    assert_int_equal(executor_run(executor, &batch, x, &nfe, &err), -1);
    assert_int_equal(err.code, CODE_AGAIN);
    stop = 0;
    float start[2 * ELEMENTS] = {[ELEMENTS + 2] = INFINITY};
    batch.initial = start;
    assert_int_equal(executor_run(executor, &batch, x, &nfe, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "2147483648")); /* the seed of the second row */
    executor_free(executor);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_known_answers), cmocka_unit_test(noise_is_normal),
        cmocka_unit_test(labels_are_uniform), cmocka_unit_test(rounding_rules),
        cmocka_unit_test_setup_teardown(executor_is_the_naive_interpreter, make_model, remove_model),
        cmocka_unit_test_setup_teardown(rows_do_not_see_each_other, make_model, remove_model),
        cmocka_unit_test_setup_teardown(stop_and_nan, make_model, remove_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
