/* Mean and covariance against a two-pass reference in 113-bit arithmetic. */
#include "eval/moments.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 1000, DIM = 12 };

static float data[ROWS * DIM];

/* Numbers near normal with deviation 1 from a fixed linear congruential sequence (Knuth's MMIX constants). */
static double next_normal(void) {
    static uint64_t state = 7;
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(state >> 11) * 0x1p-53;
    }
    return sum - 6;
}

static void fill(const double *offset, const double *scale) {
    for (size_t i = 0; i < ROWS; i++) {
        double shared = next_normal(); /* correlates the columns */
        for (size_t k = 0; k < DIM; k++)
            data[i * DIM + k] = (float)(offset[k] + scale[k] * (0.6 * next_normal() + 0.8 * shared));
    }
}

/* Each entry within 1e-9 of the reference, relative to the deviations of its two columns. */
static void check(const struct moments *moments, size_t rows) {
    __float128 mean[DIM] = {0}, scatter[DIM][DIM] = {{0}};
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < DIM; k++) mean[k] += data[i * DIM + k];
    for (size_t k = 0; k < DIM; k++) mean[k] /= rows;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < DIM; k++)
            for (size_t l = 0; l < DIM; l++)
                scatter[k][l] += (data[i * DIM + k] - mean[k]) * (data[i * DIM + l] - mean[l]);
    assert_int_equal(moments->count, rows);
    for (size_t k = 0; k < DIM; k++) {
        double deviation = sqrt((double)scatter[k][k] / (double)rows);
        assert_true(fabs((double)(moments->mean[k] - mean[k])) <= 1e-9 * deviation + 1e-15 * fabs((double)mean[k]));
        for (size_t l = 0; l < DIM; l++) {
            double bound = 1e-9 * sqrt((double)(scatter[k][k] * scatter[l][l]));
            assert_true(fabs((double)(moments->scatter[k * DIM + l] - scatter[k][l])) <= bound);
            assert_true(moments->scatter[k * DIM + l] == moments->scatter[l * DIM + k]);
        }
    }
}

static struct moments start(void) {
    struct moments moments;
    struct error err;
    assert_int_equal(moments_init(&moments, DIM, &err), 0);
    return moments;
}

static void add(struct moments *moments, size_t first, size_t count) {
    struct error err;
    assert_int_equal(moments_add(moments, data + first * DIM, count, &err), 0);
}

static void check_filled(const double *offset, const double *scale) {
    fill(offset, scale);
    struct moments moments = start();
    add(&moments, 0, ROWS);
    check(&moments, ROWS);
    moments_release(&moments);
}

static const double zeros[DIM], ones[DIM] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

static void well_conditioned(void **state) {
    (void)state;
    check_filled(zeros, ones);
}

static void graded_over_8_decades(void **state) {
    (void)state;
    double scale[DIM];
    for (int k = 0; k < DIM; k++) scale[k] = pow(10, -8.0 * k / (DIM - 1));
    check_filled(zeros, scale);
}

static void far_from_zero(void **state) {
    (void)state;
    double offset[DIM];
    for (int k = 0; k < DIM; k++) offset[k] = k % 2 ? 1e4 : -1e4;
    check_filled(offset, ones);
}

static void constant_columns(void **state) {
    (void)state;
    double offset[DIM] = {0.1, 3e7}, scale[DIM] = {0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    check_filled(offset, scale); /* their bound is 0: exact */
}

static void same_bits_however_grouped(void **state) {
    (void)state;
    static const size_t groups[][5] = {{1000}, {256, 744}, {512, 488}, {256, 256, 256, 232}, {768, 232}};
    fill(ones, ones);
    struct moments whole = start();
    add(&whole, 0, ROWS);
    for (size_t g = 1; g < sizeof groups / sizeof *groups; g++) {
        struct moments parts = start();
        size_t first = 0;
        for (size_t i = 0; i < 5; first += groups[g][i++]) add(&parts, first, groups[g][i]);
        assert_int_equal(first, ROWS);
        assert_memory_equal(parts.mean, whole.mean, DIM * sizeof(double));
        assert_memory_equal(parts.scatter, whole.scatter, DIM * DIM * sizeof(double));
        moments_release(&parts);
    }
    moments_release(&whole);
}

static void uneven_calls(void **state) {
    (void)state;
    fill(ones, ones);
    struct moments moments = start();
    add(&moments, 0, 1);
    check(&moments, 1);
    add(&moments, 1, 300);
    add(&moments, 301, 0);
    add(&moments, 301, 699);
    check(&moments, ROWS);
    moments_release(&moments);
}

static void not_finite(void **state) {
    (void)state;
    fill(ones, ones);
    struct moments moments = start();
    struct error err;
    add(&moments, 0, 10);
    float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        float kept = data[417 * DIM + 5];
        data[417 * DIM + 5] = bad[i];
        assert_int_equal(moments_add(&moments, data, ROWS, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        assert_non_null(strstr(err.message, "row 417, column 5"));
        data[417 * DIM + 5] = kept;
    }
    check(&moments, 10);
    moments_release(&moments);
}

static void impossible_dimensions(void **state) {
    (void)state;
    struct moments moments;
    struct error err;
    assert_int_equal(moments_init(&moments, 0, &err), -1);
    assert_int_equal(moments_init(&moments, MOMENTS_DIM_MAX + 1, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "16385"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_conditioned),
        cmocka_unit_test(graded_over_8_decades),
        cmocka_unit_test(far_from_zero),
        cmocka_unit_test(constant_columns),
        cmocka_unit_test(same_bits_however_grouped),
        cmocka_unit_test(uneven_calls),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(impossible_dimensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
