/* The jackknife's interval covers, checked by simulation against a known distance; naive intervals do not. */
#include "eval/precision.h"

#include "sample/noise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
enum { REPETITIONS = 100 }; /* memory errors show in a few */
#else
enum { REPETITIONS = 2000 };
#endif

/* Samples: normal with deviation 1 + k / (2 dim) in feature k and mean 0.1; reference: exact standard normal. */
static double deviation(size_t k, size_t dim) {
    return 1 + 0.5 * (double)k / (double)dim;
}

static double true_distance(size_t dim) {
    double sum = 0;
    for (size_t k = 0; k < dim; k++) sum += 0.01 + (deviation(k, dim) - 1) * (deviation(k, dim) - 1);
    return sum;
}

static struct statistics standard_normal(size_t dim) {
    struct statistics statistics = {dim, calloc(dim, sizeof(double)), calloc(dim * dim, sizeof(double)), .count = 0};
    for (size_t k = 0; k < dim; k++) statistics.sigma[k * dim + k] = 1;
    return statistics;
}

static void draw(struct features *features, uint64_t seed, double *normals) {
    size_t values = features->count * features->dim;
    noise_normals(seed, 0, values, normals);
    for (size_t i = 0; i < values; i++)
        features->rows[i] = (float)(0.1 + deviation(i % features->dim, features->dim) * normals[i]);
}

/* Percent of so many repetitions whose interval holds the true distance. naive: around the uncorrected FID. */
static void coverage(size_t dim, size_t count, int times, double *corrected, double *naive) {
    struct statistics normal = standard_normal(dim);
    double truth = true_distance(dim);
    int held = 0, naively = 0;
    assert_true(truth >= 0.2);
#pragma omp parallel for reduction(+ : held, naively)
    for (int i = 0; i < times; i++) {
        struct features features = {count, dim, malloc(count * dim * sizeof(float))};
        double *normals = malloc(count * dim * sizeof *normals), fids[1 + JACKKNIFE_BLOCKS];
        struct frechet reference;
        struct estimate estimate;
        struct error err;
        draw(&features, (uint64_t)i, normals);
        if (frechet_prepare(&reference, &normal, &err) == 0 &&
            fid_without_blocks(&features, &reference, fids, &err) == 0) {
            jackknife(fids[0], fids + 1, &estimate);
            held += estimate.low <= truth && truth <= estimate.high;
            double half = estimate.high - estimate.corrected;
            naively += fabs(estimate.value - truth) <= half;
        }
        frechet_release(&reference);
        features_release(&features);
        free(normals);
    }
    statistics_release(&normal);
    *corrected = 100.0 * held / times;
    *naive = 100.0 * naively / times;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { RESAMPLES = 60 };

/* FID of rows drawn with replacement: the bias of finite samples comes in twice. */
static double resampled_fid(const struct features *features, const struct frechet *reference, uint64_t seed) {
    struct features drawn = {features->count, features->dim, malloc(features->count * features->dim * sizeof(float))};
    struct statistics statistics;
    struct moments moments;
    struct error err;
    double fid = 0;
    for (size_t i = 0; i < drawn.count; i++)
        memcpy(drawn.rows + i * drawn.dim,
               features->rows + (size_t)noise_label(seed << 32 | i, (int64_t)drawn.count) * drawn.dim,
               drawn.dim * sizeof(float));
    if (features_moments(&drawn, 0, drawn.count, &moments, &err) == 0) {
        if (statistics_from_moments(&statistics, &moments, &err) == 0)
            frechet_distance_to(reference, &statistics, &fid, &err);
        statistics_release(&statistics);
        moments_release(&moments);
    }
    features_release(&drawn);
    return fid;
}

static void test_naive_bootstrap_does_not_cover(void **state) {
    (void)state;
    enum { DIM = 16, COUNT = 2000, TIMES = REPETITIONS / 20 };
    struct statistics normal = standard_normal(DIM);
    double truth = true_distance(DIM);
    int held = 0;
#pragma omp parallel for reduction(+ : held)
    for (int i = 0; i < TIMES; i++) {
        struct features features = {COUNT, DIM, malloc(COUNT * DIM * sizeof(float))};
        double *normals = malloc(COUNT * DIM * sizeof *normals), fids[RESAMPLES];
        struct frechet reference;
        struct error err;
        draw(&features, (uint64_t)i, normals);
        if (frechet_prepare(&reference, &normal, &err) == 0)
            for (int k = 0; k < RESAMPLES; k++)
                fids[k] = resampled_fid(&features, &reference, (uint64_t)(i * RESAMPLES + k));
        qsort(fids, RESAMPLES, sizeof *fids, rising);
        held += fids[1] <= truth && truth <= fids[RESAMPLES - 2];
        frechet_release(&reference);
        features_release(&features);
        free(normals);
    }
    statistics_release(&normal);
    printf("naive bootstrap, %d repetitions: covers in %.0f %%\n", TIMES, 100.0 * held / TIMES);
    assert_true(100.0 * held / TIMES < 90);
}

static void test_interval_covers(void **state) {
    (void)state;
    const struct {
        size_t dim, count;
        int times;
        double slack; /* five standard errors of the percentage, or four, of 2000 and of 500 */
    } cases[] = {{16, 2000, REPETITIONS, 2.5}, {32, 5000, REPETITIONS / 4, 3.9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double corrected, naive;
        coverage(cases[i].dim, cases[i].count, cases[i].times, &corrected, &naive);
        printf("d = %zu, n = %zu, %d repetitions: the 95 %% interval covers in %.1f %%, about the uncorrected FID in "
               "%.1f %%\n",
               cases[i].dim, cases[i].count, cases[i].times, corrected, naive);
        assert_true(fabs(corrected - 95) <= (REPETITIONS >= 2000 ? cases[i].slack : 8));
        assert_true(naive < corrected);
    }
}

/* A mean's jackknife is exact: no bias, and the blocks' own standard error. */
static void test_jackknife_of_a_mean(void **state) {
    (void)state;
    double blocks[JACKKNIFE_BLOCKS], without[JACKKNIFE_BLOCKS], sum = 0, squares = 0;
    struct estimate estimate;
    for (int i = 0; i < JACKKNIFE_BLOCKS; i++) sum += blocks[i] = sin(i * i);
    double mean = sum / JACKKNIFE_BLOCKS;
    for (int i = 0; i < JACKKNIFE_BLOCKS; i++) {
        without[i] = (sum - blocks[i]) / (JACKKNIFE_BLOCKS - 1);
        squares += (blocks[i] - mean) * (blocks[i] - mean);
    }
    jackknife(mean, without, &estimate);
    assert_true(fabs(estimate.corrected - mean) < 1e-14);
    assert_true(fabs(estimate.error - sqrt(squares / (JACKKNIFE_BLOCKS - 1) / JACKKNIFE_BLOCKS)) < 1e-14);
}

/* Numbers that rounding makes equal have no error that could be measured: theirs is the rounding, and never 0. */
static void test_no_error_is_below_the_rounding(void **state) {
    (void)state;
    double one[1 + JACKKNIFE_BLOCKS], other[1 + JACKKNIFE_BLOCKS];
    struct estimate estimate;
    for (int i = 0; i <= JACKKNIFE_BLOCKS; i++) one[i] = 4e60, other[i] = 10 + 1e-14 * sin(i);
    jackknife(one[0], one + 1, &estimate);
    assert_true(estimate.rounded && estimate.error > 4e60 * DBL_EPSILON && estimate.error < 4e60 * 1e-12);
    assert_true(estimate.low < estimate.corrected && estimate.corrected < estimate.high);
    jackknife(other[0], other + 1, &estimate);
    assert_true(estimate.rounded);
    for (int i = 0; i <= JACKKNIFE_BLOCKS; i++) one[i] = 4e14 + i, other[i] = 4e14 + i + 1;
    jackknife(one[0], one + 1, &estimate);
    assert_false(estimate.rounded);
    jackknife_difference(one, other, &estimate); /* 1 in each block, of numbers that are known to about 4 */
    assert_true(estimate.rounded && estimate.error > 1 && jackknife_p(&estimate) > 0.5);
    jackknife_difference(one, one, &estimate); /* a set and itself */
    assert_true(estimate.corrected == 0 && estimate.error == 0);
}

static void test_infinity_takes_the_bias_out(void **state) {
    (void)state;
    enum { DIM = 16, COUNT = 20000 };
    struct statistics normal = standard_normal(DIM);
    struct features features = {COUNT, DIM, malloc(COUNT * DIM * sizeof(float))};
    double *normals = malloc(COUNT * DIM * sizeof *normals), value, truth = true_distance(DIM);
    struct frechet reference;
    struct error err;
    draw(&features, 1, normals);
    assert_int_equal(frechet_prepare(&reference, &normal, &err), 0);
    assert_int_equal(fid_infinity(&features, &reference, &value, &err), 0);
    assert_true(fabs(value - truth) < 0.05 * truth);
    frechet_release(&reference);
    statistics_release(&normal);
    features_release(&features);
    free(normals);
}

/* Quantiles of Student's t with 19 degrees, and Holm's procedure by hand. */
static void p_values(void **state) {
    (void)state;
    static const double quantiles[][2] = {
        {0, 1}, {0.68762, 0.5}, {2.0930240544082634, 0.05}, {-2.8609346, 0.01}, {3.8834059, 0.001}};
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        struct estimate estimate = {.corrected = 3 * quantiles[i][0], .error = 3};
        assert_true(fabs(jackknife_p(&estimate) - quantiles[i][1]) < 1e-6);
    }
    /* scipy.stats.t.sf, 19 degrees, twice; a tail is never 0 */
    static const double tails[][2] = {{4.3, 0.0003863778032160928},
                                      {4.4, 0.0003077191591338102},
                                      {10.0, 5.263026162335899e-09},
                                      {100.0, 2.4977675763618074e-27},
                                      {100000000.0, 2.541035301244343e-141}};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        struct estimate estimate = {.corrected = tails[i][0], .error = 1};
        assert_true(fabs(jackknife_p(&estimate) / tails[i][1] - 1) < 1e-9);
    }
    assert_true(jackknife_p(&(struct estimate){.corrected = -1e200, .error = 1e-200}) > 0);
    char text[P_TEXT];
    p_text(text, 0.0321);
    assert_string_equal(text, "p = 0.032");
    p_text(text, 1e-16);
    assert_string_equal(text, "p < 1e-15");
    assert_true(jackknife_p(&(struct estimate){.corrected = 0, .error = 0}) == 1);
    assert_true(jackknife_p(&(struct estimate){.corrected = 1, .error = 0}) == 0);
    double p[] = {0.01, 0.04, 0.03, 0.9}, holm_of[] = {0.04, 0.09, 0.09, 0.9};
    struct error err;
    assert_int_equal(holm(p, 4, &err), 0);
    for (int i = 0; i < 4; i++) assert_true(fabs(p[i] - holm_of[i]) < 1e-15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p_values),
        cmocka_unit_test(test_jackknife_of_a_mean),
        cmocka_unit_test(test_no_error_is_below_the_rounding),
        cmocka_unit_test(test_infinity_takes_the_bias_out),
        cmocka_unit_test(test_interval_covers),
        cmocka_unit_test(test_naive_bootstrap_does_not_cover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
