/* The counter-based noise, against Random123's known answers, a Philox written from the paper, numbers computed
 * elsewhere with 40 digits, and the moments of the normal distribution. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample/noise.h"

#include <math.h>
#include <stdlib.h>

static void assert_near(double a, double b, double tolerance) {
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.17g and %.17g differ by more than %g", a, b, tolerance);
}

/* Philox4x32-10 as Salmon et al. 2011 describe it. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t c[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < 4; i++) c[i] = counter[i];
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)p0;
    }
}

/* Random123's kat_vectors: proof that the Philox above is the one meant. */
static void known_answers(void **state) {
    (void)state;
    const struct {
        uint32_t counter[4], key[2], expected[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t words[4];
        philox(cases[i].counter, cases[i].key, words);
        assert_memory_equal(words, cases[i].expected, sizeof words);
    }
}

static void normals_are_those_of_the_contract(void **state) {
    (void)state;
    const uint64_t seeds[] = {0, 1, 0xffffffff, 0x100000000, 0x0123456789abcdef, UINT64_MAX};
    const uint32_t streams[] = {0, 1, 77, 0xfffffffe};
    enum { COUNT = 301 };
    double out[COUNT];
    for (size_t s = 0; s < sizeof seeds / sizeof *seeds; s++)
        for (size_t t = 0; t < sizeof streams / sizeof *streams; t++) {
            noise_normals(seeds[s], streams[t], COUNT, out);
            for (uint32_t e = 0; e < COUNT; e++) {
                const uint32_t key[2] = {(uint32_t)seeds[s], (uint32_t)(seeds[s] >> 32)};
                const uint32_t counter[4] = {e / 2, streams[t], 0, 0};
                uint32_t w[4];
                philox(counter, key, w);
                long double u1 = (long double)((((uint64_t)w[0] << 32 | w[1]) >> 11) + 1) / 0x1p53L;
                long double u2 = (long double)(((uint64_t)w[2] << 32 | w[3]) >> 11) / 0x1p53L;
                long double angle = 2 * 3.14159265358979323846264338327950288L * u2;
                long double expected = sqrtl(-2 * logl(u1)) * (e % 2 ? sinl(angle) : cosl(angle));
                assert_near(out[e], (double)expected, 4e-15);
            }
        }
}

/* Computed with Python integers and mpmath. */
static void normals_against_a_table(void **state) {
    (void)state;
    const struct {
        uint64_t seed;
        uint32_t stream;
        size_t element;
        double expected;
    } cases[] = {
        {0, 0, 0, -0.12151797595308181291},
        {0, 0, 1, -1.3500326598576550037},
        {0, 0, 2, -0.081874209915891625748},
        {0, 0, 3071, -0.7340681484877507088},
        {1, 0, 0, -0.41389781465270719069},
        {1, 0, 1, -0.24733359080497023017},
        {42, 7, 100, 0.68357911549181129404},
        {42, 7, 101, 0.18544691081207992571},
        {0x100000000, 0, 0, 0.03904598876748618853},
        {0x100000000, 0, 1, 0.12328969227820257871},
        {UINT64_MAX, 0xfffffffe, 12345, -0.8690181785535233236},
        {0x0123456789abcdef, 1, 200000, -3.0103823314304518133},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double *out = malloc((cases[i].element + 1) * sizeof *out);
        assert_non_null(out);
        noise_normals(cases[i].seed, cases[i].stream, cases[i].element + 1, out);
        assert_near(out[cases[i].element], cases[i].expected, 4e-15);
        free(out);
    }
}

static void a_number_does_not_depend_on_how_many_are_asked_for(void **state) {
    (void)state;
    double all[64], some[65];
    noise_normals(9, 3, 64, all);
    for (size_t count = 0; count <= 64; count++) {
        some[count] = 12345; /* not to be written */
        noise_normals(9, 3, count, some);
        assert_memory_equal(some, all, count * sizeof *some);
        assert_true(some[count] == 12345);
    }
}

/* Limits are 5 standard errors of a million draws of independent normals. */
static void moments(void **state) {
    (void)state;
    enum { SEEDS = 1000, EACH = 1000 };
    const double n = (double)SEEDS * EACH;
    double sum[5] = {0}, neighbours = 0, next_seed = 0, next_stream = 0, beyond = 0;
    static double x[EACH], seed[EACH], stream[EACH];
    for (uint64_t s = 0; s < SEEDS; s++) {
        noise_normals(s, 0, EACH, x);
        noise_normals(s + 1, 0, EACH, seed);
        noise_normals(s, 1, EACH, stream);
        for (size_t i = 0; i < EACH; i++) {
            for (int power = 1; power <= 4; power++) sum[power] += pow(x[i], power);
            neighbours += x[i] * x[(i + 1) % EACH];
            next_seed += x[i] * seed[i];
            next_stream += x[i] * stream[i];
            beyond += fabs(x[i]) > 3;
        }
    }
    assert_near(sum[1] / n, 0, 5 * sqrt(1 / n));
    assert_near(sum[2] / n, 1, 5 * sqrt(2 / n));
    assert_near(sum[3] / n, 0, 5 * sqrt(15 / n));
    assert_near(sum[4] / n, 3, 5 * sqrt(96 / n));
    assert_near(neighbours / n, 0, 5 * sqrt(1 / n));
    assert_near(next_seed / n, 0, 5 * sqrt(1 / n));
    assert_near(next_stream / n, 0, 5 * sqrt(1 / n));
    assert_near(beyond / n, erfc(3 / sqrt(2)), 5 * sqrt(erfc(3 / sqrt(2)) / n));
}

/* Computed with Python integers. */
static void labels_against_a_table(void **state) {
    (void)state;
    const struct {
        uint64_t seed;
        int64_t classes, expected;
    } cases[] = {
        {0, 10, 9},
        {1, 10, 0},
        {2, 10, 5},
        {7, 1000, 558},
        {0x100000000, 1000, 3},
        {UINT64_MAX, (int64_t)1 << 40, 454534674498},
        {5, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(noise_label(cases[i].seed, cases[i].classes), cases[i].expected);
}

static void labels_are_uniform(void **state) {
    (void)state;
    enum { CLASSES = 10, DRAWS = 100000 };
    double counts[CLASSES] = {0}, chi2 = 0;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        int64_t label = noise_label(seed, CLASSES);
        assert_true(label >= 0 && label < CLASSES);
        counts[label]++;
    }
    for (int k = 0; k < CLASSES; k++) chi2 += pow(counts[k] - DRAWS / CLASSES, 2) / (DRAWS / CLASSES);
    assert_true(chi2 < 33.7); /* 9 degrees of freedom: one in 10,000 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(normals_are_those_of_the_contract),
        cmocka_unit_test(normals_against_a_table),
        cmocka_unit_test(a_number_does_not_depend_on_how_many_are_asked_for),
        cmocka_unit_test(moments),
        cmocka_unit_test(labels_against_a_table),
        cmocka_unit_test(labels_are_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
