/* Every op on registers through libtorch, as on a GPU, beside those in host memory; and a network's EVAL. Run from the
 * repository's root: it reads jobs/digits/model.pt. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample/model.h"
#include "sample/noise.h"
#include "sample/registers.h"

#include "job/model_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 3, REGISTERS = 4, SAMPLE = 2 * 4 * 5, SIZE = ROWS * SAMPLE };
static const struct shim_shape shape = {ROWS, 2, 4, 5};

struct pair { /* the same registers in both bodies */
    struct registers *host, *device;
    enum state_kind state;
};

static void expect_ok(int rc, const struct error *err) {
    if (rc != 0) fail_msg("%s", err->message);
}

static void set_both(struct pair *pair, int dst, const double *values) {
    struct error err;
    expect_ok(registers_set(pair->host, dst, values, &err), &err);
    expect_ok(registers_set(pair->device, dst, values, &err), &err);
}

/* Registers 0 and 1 are noise, 2 is noise but for a row of zeros, 3 is noise but for a constant row. */
static struct pair open_pair(enum state_kind state, struct shim_shape of) {
    struct pair pair = {.state = state};
    struct error err;
    size_t row = (size_t)of.channels * (size_t)of.height * (size_t)of.width;
    double *values = malloc((size_t)of.batch * row * sizeof *values);
    assert_non_null(values);
    expect_ok(registers_host_new(&pair.host, REGISTERS, of, state, &err), &err);
    expect_ok(registers_device_new(&pair.device, SHIM_CPU, REGISTERS, of, state, &err), &err);
    for (int k = 0; k < REGISTERS; k++) {
        noise_normals(7, (uint32_t)k, (size_t)of.batch * row, values);
        for (size_t i = 0; i < row; i++) {
            if (k == 2) values[row + i] = 0;
            if (k == 3) values[row + i] = 0.25;
        }
        set_both(&pair, k, values);
    }
    free(values);
    return pair;
}

static void close_pair(struct pair *pair) {
    registers_free(pair->host);
    registers_free(pair->device);
}

/* All registers are alike, up to the rounding of sums over a sample in another order. */
static void compare(const struct pair *pair, const char *what) {
    const double tolerance = pair->state == STATE_FLOAT64 ? 1e-13 : 2e-6;
    double host[SIZE], device[SIZE];
    struct error err;
    for (int k = 0; k < REGISTERS; k++) {
        expect_ok(registers_get(pair->host, k, host, &err), &err);
        expect_ok(registers_get(pair->device, k, device, &err), &err);
        for (int i = 0; i < SIZE; i++)
            if (!(fabs(host[i] - device[i]) <= tolerance * fmax(1, fabs(host[i]))) &&
                !(isnan(host[i]) && isnan(device[i])))
                fail_msg("%s, state %d, register %d, element %d: %.17g in host memory, %.17g through libtorch", what,
                         pair->state, k, i, host[i], device[i]);
    }
}

#define BOTH(function, ...) \
    do { \
        struct error err; \
        expect_ok(registers_##function(pair.host, __VA_ARGS__, &err), &err); \
        expect_ok(registers_##function(pair.device, __VA_ARGS__, &err), &err); \
        compare(&pair, #function "(" #__VA_ARGS__ ")"); \
    } while (0)

static const enum state_kind states[] = {STATE_FLOAT64, STATE_FLOAT32};

static void linear_ops(void **state) {
    (void)state;
    const struct term one[] = {{1.5, 0}}, own[] = {{0.5, 1}, {-2.25, 0}, {1 / 3., 3}, {1e-3, 1}};
    const int all[2] = {0, 0}, first[2] = {0, 1}, second[2] = {1, 2};
    for (size_t s = 0; s < 2; s++) {
        struct pair pair = open_pair(states[s], shape);
        BOTH(lincomb, 2, one, 1, all);
        BOTH(lincomb, 1, own, 4, all); /* the destination is a source */
        BOTH(lincomb, 3, own, 3, first);
        BOTH(lincomb, 0, own, 2, second);
        BOTH(lincomb, 2, one, 0, all);
        close_pair(&pair);
    }
}

static void ops_of_an_element(void **state) {
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        struct pair pair = open_pair(states[s], shape);
        BOTH(clamp, 0, -0.5, 0.75);
        BOTH(clamp, 1, -INFINITY, 0.1);
        BOTH(mulexp, 2, 3, -0.4, 0.3);
        BOTH(mulexp, 3, 3, 0.2, -0.1);
        double values[SIZE];
        noise_normals(1, 0, SIZE, values);
        values[5] = NAN;
        set_both(&pair, 0, values);
        BOTH(clamp, 0, -0.5, 0.75); /* NaN stays, to be found */
        close_pair(&pair);
    }
}

static void ops_of_a_sample(void **state) {
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        struct pair pair = open_pair(states[s], shape);
        BOTH(rescale, 1, 0, 2, 0.7);
        BOTH(rescale, 0, 3, 1, 0.4); /* a row of 3 has no spread */
        BOTH(rescale, 2, 2, 1, 1.0);
        close_pair(&pair);
        pair = open_pair(states[s], shape);
        BOTH(project, 3, 0, 1);
        BOTH(project, 3, 1, 2); /* onto a row of zeros: zeros */
        BOTH(project, 0, 0, 1);
        BOTH(project, 1, 0, 1);
        close_pair(&pair);
        pair = open_pair(states[s], shape);
        BOTH(limit, 0, 1.5);
        BOTH(limit, 1, 100.0);
        BOTH(limit, 2, 0.5); /* a row of zeros has no length */
        close_pair(&pair);
        const double scales[ROWS] = {1.5, 0, -2.75};
        const int all[2] = {0, 0}, first[2] = {0, 1};
        pair = open_pair(states[s], shape);
        BOTH(guide, 2, 0, 1, scales, all);
        BOTH(guide, 0, 0, 3, scales, first);
        BOTH(guide, 1, 3, 1, scales, first); /* the destination is what guides */
        close_pair(&pair);
        pair = open_pair(states[s], shape);
        BOTH(threshold, 0, 0.995, 1.0, INFINITY);
        BOTH(threshold, 1, 0.8, 0.3, 0.9);
        BOTH(threshold, 2, 0.0, 0.01, 2.0);
        BOTH(threshold, 3, 1.0, 0.5, INFINITY);
        close_pair(&pair);
    }
}

static void network(void **state) {
    (void)state;
    const struct shim_shape digits = {ROWS, 1, 8, 8};
    const int64_t labels[ROWS] = {0, 9, 10};
    const struct shim_condition condition = {.time = 0.4, .labels = labels};
    const char *path = "jobs/digits/model.pt";
    char sha256[SHA256_HEX];
    double host[ROWS * 64], device[ROWS * 64];
    struct shim_model *model;
    struct error err;
    expect_ok(model_file_digest(path, sha256, &err), &err);
    expect_ok(model_load(&model, "model", path, sha256, SHIM_CPU, &err), &err);
    for (size_t s = 0; s < 2; s++) {
        struct pair pair = open_pair(states[s], digits);
        expect_ok(registers_eval(pair.host, model, 1, 0, 0, &condition, &err), &err);
        expect_ok(registers_eval(pair.device, model, 1, 0, 0, &condition, &err), &err);
        expect_ok(registers_get(pair.host, 1, host, &err), &err);
        expect_ok(registers_get(pair.device, 1, device, &err), &err);
        for (int i = 0; i < ROWS * 64; i++) assert_true(host[i] == device[i] && fabs(host[i]) > 0);
        close_pair(&pair);
    }
    shim_model_free(model);
}

static int start(void **state) {
    char message[SHIM_ERROR];
    (void)state;
    if (shim_start(0, message) == 0 && shim_thread_start(SHIM_CPU, message) == 0) return 0;
    fprintf(stderr, "%s\n", message);
    return -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_ops),
        cmocka_unit_test(ops_of_an_element),
        cmocka_unit_test(ops_of_a_sample),
        cmocka_unit_test(network),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
