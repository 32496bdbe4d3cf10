/* Sides of a comparison and their metrics, on sets small enough to do by hand. The field's own programs are compared
 * with in tests/parity. */
#include "scratch.h"

#include "metric/inception_score.h"
#include "metric/mmd.h"
#include "metric/neighbours.h"
#include "metric/score.h"
#include "metric/seal.h"
#include "metric/values.h"
#include "eval/side_read.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define assert_near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

/* Rows +-scale on the axes in turn: mean 0, covariance 4/7 scale^2 I for two features and eight rows. */
static struct features axes(size_t count, size_t dim, float scale) {
    struct features features = {count, dim, calloc(count * dim, sizeof(float))};
    for (size_t i = 0; i < count; i++) features.rows[i * dim + i / 2 % dim] = i % 2 ? scale : -scale;
    return features;
}

static struct side side_of(struct features features, char network) {
    struct side side = {.untyped = false};
    struct error err;
    memset(side.network, network, SHA256_HEX - 1);
    assert_int_equal(side_take(&side, FEATURES_POOL, &features, &err), 0);
    return side;
}

static double number(const json_t *values, const char *name) {
    assert_true(json_is_real(json_object_get(values, name)));
    return json_real_value(json_object_get(values, name));
}

static void fid_against_statistics(void **state) {
    (void)state;
    double mu[] = {3, 0}, sigma[] = {8 / 7., 0, 0, 32 / 7.};
    struct statistics statistics = {.dim = 2, .mu = mu, .sigma = sigma, .count = 50};
    struct score_options options = {.metrics = 1 << METRIC_FID};
    struct side reference, samples = side_of(axes(8, 2, 1), 'a');
    struct error err;
    json_t *values;
    memset(statistics.network, 'a', SHA256_HEX - 1);
    assert_int_equal(statistics_write(&statistics, NULL, NULL, path, &err), 0);
    assert_int_equal(side_read(&reference, path, NULL, &err), 0);
    assert_int_equal(reference.views[FEATURES_POOL].statistics.count, 50);
    assert_int_equal(score(&values, &options, &samples, &reference, &err), 0);
    double root = sqrt(4 / 7.), one = sqrt(8 / 7.) - root, two = sqrt(32 / 7.) - root;
    assert_near(number(values, "fid"), 9 + one * one + two * two, 1e-13);
    assert_null(json_object_get(values, "fid_error")); /* eight samples tell nothing of it */
    json_decref(values);
    options.metrics = 1 << METRIC_KID;
    assert_int_equal(score(&values, &options, &samples, &reference, &err), -1);
    assert_non_null(strstr(err.message, "kid needs every sample's features, and the reference is statistics"));
    side_release(&samples);
    side_release(&reference);
}

static void sides_that_do_not_go_together(void **state) {
    (void)state;
    struct side a = side_of(axes(8, 2, 1), 'a'), b = side_of(axes(8, 2, 1), 'b'), three = side_of(axes(8, 3, 1), 'a');
    struct error err;
    assert_int_equal(score_check(&(struct score_options){.metrics = 1}, &a, &b, &err), -1);
    assert_non_null(strstr(err.message, "feature network bbbbbbbbbbbb, the sample side with aaaaaaaaaaaa"));
    assert_int_equal(score_check(&(struct score_options){.metrics = 1}, &a, &three, &err), -1);
    assert_non_null(strstr(err.message, "the reference has 3 features a sample, the samples have 2"));
    b.network[0] = '\0'; /* one that does not say is taken at its word */
    assert_int_equal(score_check(&(struct score_options){.metrics = 1}, &a, &b, &err), 0);
    side_release(&a);
    side_release(&b);
    side_release(&three);
}

static void paired_difference(void **state) {
    (void)state;
    struct features scaled = axes(400, 2, 1);
    for (size_t i = 0; i < 800; i++) scaled.rows[i] += (float)sin((double)i);
    struct side a = side_of(scaled, 'a'), reference = side_of(axes(8, 2, 1), 'a'),
                fewer = side_of(axes(300, 2, 1), 'a');
    struct error err;
    const struct score_options options = {.metrics = 1 << METRIC_FID};
    json_t *values, *others;
    assert_int_equal(score(&values, &options, &a, &reference, &err), 0);
    assert_int_equal(score_paired(&others, &options, &a, &a, &reference, &err), 0);
    assert_int_equal(values_difference(values, values, others, &err), 0);
    json_decref(others);
    assert_near(number(values, "fid_delta"), 0, 0);
    assert_near(number(values, "fid_delta_error"), 0, 0);
    assert_near(number(values, "fid_delta_p"), 1, 0);
    assert_int_equal(score_paired(&others, &options, &a, &fewer, &reference, &err), -1);
    assert_non_null(strstr(err.message, "400 and 300"));
    json_decref(values);
    side_release(&a);
    side_release(&fewer);
    side_release(&reference);
}

static void kid_by_hand(void **state) {
    (void)state;
    float x[] = {1, 3}, y[] = {0, 2}; /* d = 1: k(x, y) = (x y + 1)^3 */
    struct features a = {2, 1, x}, b = {2, 1, y};
    double kid, mean, deviation;
    struct error err;
    assert_int_equal(kid_full(&a, &b, &kid, &err), 0);
    double aa = 64, bb = 1, ab = (1 + 27 + 1 + 343) / 4.;
    assert_near(kid, aa + bb - 2 * ab, 1e-12);
    int64_t indices[2][2][2] = {{{0, 1}, {0, 1}}, {{1, 0}, {1, 0}}}, outside[2][2] = {{0, 2}, {0, 1}};
    assert_int_equal(kid_subsets(&a, &b, &indices[0][0][0], 2, 2, &mean, &deviation, &err), 0);
    assert_near(mean, kid, 1e-12);
    assert_near(deviation, 0, 1e-12);
    assert_int_equal(kid_subsets(&a, &b, &outside[0][0], 1, 2, &mean, &deviation, &err), -1);
    assert_non_null(strstr(err.message, "index in 0..1, a row of A, found 2"));
}

static void kid_subsets_are_without_replacement(void **state) {
    (void)state;
    int64_t *indices;
    size_t size;
    struct error err;
    assert_int_equal(kid_draw(1500, 900, &indices, &size, &err), 0);
    assert_int_equal(size, 900);
    for (size_t i = 0; i < 2 * KID_SUBSETS; i++) {
        bool seen[1500] = {false};
        for (size_t k = 0; k < size; k++) {
            int64_t index = indices[i * size + k];
            assert_true(index >= 0 && index < (i % 2 ? 900 : 1500) && !seen[index]);
            seen[index] = true;
        }
    }
    free(indices);
}

static void inception_score_of_sure_and_of_unsure_classes(void **state) {
    (void)state;
    enum { COUNT = 100, CLASSES = 5 };
    struct features logits = {COUNT, CLASSES, calloc(COUNT * CLASSES, sizeof(float))};
    double mean, deviation;
    struct error err;
    assert_int_equal(inception_score(&logits, &mean, &deviation, &err), 0);
    assert_near(mean, 1, 1e-12);
    for (size_t i = 0; i < COUNT; i++) logits.rows[i * CLASSES + i % CLASSES] = 1000;
    assert_int_equal(inception_score(&logits, &mean, &deviation, &err), 0);
    assert_near(mean, CLASSES, 1e-12);
    assert_near(deviation, 0, 1e-12);
    features_release(&logits);
}

static void neighbours_on_a_line(void **state) {
    (void)state;
    /* k = 3. Reference 0..3 and 100: radii 3, 2, 2, 3, 99. Samples 2, 5, 6, 7: radii 5, 3, 4, 5. */
    float reference[] = {0, 1, 2, 3, 100}, samples[] = {2, 5, 6, 7};
    struct prdc prdc;
    struct error err;
    struct features a = {4, 1, samples}, b = {5, 1, reference};
    assert_int_equal(neighbours_prdc(&a, &b, &prdc, &err), 0);
    assert_near(prdc.precision, 1, 0);                       /* 99 reaches all */
    assert_near(prdc.recall, 4 / 5., 0);                     /* 100 is in no sample's ball */
    assert_near(prdc.density, (5 + 2 + 1 + 1) / 12., 1e-15); /* in balls, borders out: 2 in all 5; 5 in 3's and 100's */
    assert_near(prdc.coverage, 1, 0);
    a.count = 3;
    assert_int_equal(neighbours_prdc(&a, &b, &prdc, &err), -1);
    assert_non_null(strstr(err.message, "more than 3 samples"));
}

static long left; /* of jansson's allocations, until one fails */

static void *run_short(size_t size) {
    return left-- == 0 ? NULL : malloc(size);
}

/* Two numbers with blocks, their differences and Holm's, sealed. NULL: out of memory. */
static json_t *sealed_result(void) {
    static const char *const names[] = {"cmmd", "fid"};
    json_t *one = json_object(), *other = json_object(), *result = NULL;
    struct error err;
    double numbers[1 + JACKKNIFE_BLOCKS];
    int rc = one && other ? 0 : -1;
    for (int i = 0; rc == 0 && i < 4; i++) {
        for (int k = 0; k <= JACKKNIFE_BLOCKS; k++) numbers[k] = 1 + i + 0.01 * (((7 + i) * k * k + 3 * k) % 11);
        rc = value_set_jackknifed(i % 2 ? one : other, names[i / 2], numbers, true, &err);
    }
    if (rc == 0) rc = values_difference(one, one, other, &err);
    if (rc == 0) rc = values_holm(one, &err);
    if (rc == 0) result = json_pack("{s:O}", "metrics", one);
    if (result && result_seal(result, &err) != 0) json_decref(result), result = NULL;
    json_decref(one);
    json_decref(other);
    return result;
}

/* A result without its last numbers, or with the seal of some of them, would be another one. */
static void whole_or_nothing_without_memory(void **state) {
    (void)state;
    json_t *whole = sealed_result();
    assert_non_null(json_object_get(json_object_get(whole, "metrics"), "fid_delta_p_holm"));
    json_set_alloc_funcs(run_short, free);
    long n = 0;
    for (left = -1; left < 0; n++) {
        left = n;
        json_t *result = sealed_result();
        if (result && !json_equal(result, whole)) fail_msg("another result when allocation %ld fails", n);
        json_decref(result);
    }
    assert_true(n > 200);
    json_set_alloc_funcs(malloc, free);
    json_decref(whole);
}

static int set_up(void **state) {
    (void)state;
    return scratch_make("reference.npz");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fid_against_statistics),
        cmocka_unit_test(sides_that_do_not_go_together),
        cmocka_unit_test(paired_difference),
        cmocka_unit_test(kid_by_hand),
        cmocka_unit_test(kid_subsets_are_without_replacement),
        cmocka_unit_test(inception_score_of_sure_and_of_unsure_classes),
        cmocka_unit_test(neighbours_on_a_line),
        cmocka_unit_test(whole_or_nothing_without_memory),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_remove);
}
