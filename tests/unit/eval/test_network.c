/* Feature networks: what their description may say, and how samples reach them. */
#include "scratch.h"

#include "eval/network.h"

#include "base/draft.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct card grey = {.channels = 1, .height = 2, .width = 2};
static const struct card colour = {.channels = 3, .height = 1, .width = 2};

static void make(const char *text) {
    struct error err;
    assert_int_equal(file_write_atomic(path, text, strlen(text), &err), 0);
}

static void reads_description(void **state) {
    (void)state;
    static const char
        text[] = "{\"features\": {\"shape\": [3, 2, 2], \"range\": [-1, 1], \"outputs\": {\"pool_2-a\": 64}}}";
    struct network network;
    struct error err;
    char expected[SHA256_HEX];
    make(text);
    assert_int_equal(network_open(&network, path, &grey, 1u << METRIC_FID, &err), 0);
    assert_string_equal(network.outputs[0].name, "pool_2-a");
    assert_int_equal(network.outputs[0].dim, 64);
    assert_int_equal(network.channels, 3);
    assert_int_equal(network.sample_channels, 1);
    assert_true(network.low == -1 && network.high == 1);
    sha256_bytes(text, sizeof text - 1, expected);
    assert_string_equal(network.sha256, expected);
    network_release(&network);
}

static void refuses_description(void **state) {
    (void)state;
    static const struct {
        const char *features, *words;
    } cases[] = {
        {"{}", "expected {\"shape\""},
        {"{\"shape\": [1, 2], \"range\": [0, 1], \"outputs\": {\"a\": 4}}", "expected {\"shape\""},
        {"{\"shape\": [1, 2, 2], \"range\": [0, 1], \"outputs\": {\"a\": 4}, \"more\": 1}", "more"},
        {"{\"shape\": [1, 0, 2], \"range\": [0, 1], \"outputs\": {\"a\": 4}}", "[1, 0, 2]"},
        {"{\"shape\": [1, 2, 2], \"range\": [0, 2], \"outputs\": {\"a\": 4}}", "found [0, 2]"},
        {"{\"shape\": [1, 2, 2], \"range\": [0, 1], \"outputs\": {}}", "one to 4 of {NAME: D}, found 0"},
        {"{\"shape\": [1, 2, 2], \"range\": [0, 1], \"outputs\": {\"a\": 4, \"b\": 4}}", "fid needs an output `pool`"},
        {"{\"shape\": [1, 2, 2], \"range\": [0, 1], \"outputs\": {\"a\": 0}}", "\"a\": 0"},
        {"{\"shape\": [1, 2, 2], \"range\": [0, 1], \"outputs\": {\"../a\": 4}}", "\"../a\": 4"},
        {"{\"shape\": [1, 4, 2], \"range\": [0, 1], \"outputs\": {\"a\": 4}}", "[1,4,2], and these are [1,2,2]"},
        {"{\"shape\": [2, 2, 2], \"range\": [0, 1], \"outputs\": {\"a\": 4}}", "[2,2,2], and these are [1,2,2]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct network network;
        struct error err = {0};
        char text[300];
        snprintf(text, sizeof text, "{\"features\": %s}", cases[i].features);
        make(text);
        assert_int_equal(network_open(&network, path, &grey, 1u << METRIC_FID, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        assert_non_null(strstr(err.message, path));
        if (!strstr(err.message, cases[i].words)) fail_msg("expected \"%s\" in: %s", cases[i].words, err.message);
    }
    struct network network;
    struct error err;
    make("{\"shape\": [1, 2, 2]}");
    assert_int_equal(network_open(&network, path, &grey, 1u << METRIC_FID, &err), -1);
    assert_non_null(strstr(err.message, "features.json"));
    assert_int_equal(network_open(&network, "/no/such/file.pt", &grey, 1u << METRIC_FID, &err), -1);
    assert_int_equal(err.code, CODE_IO);
}

static void pixels_are_features(void **state) { /* [H,W,C] bytes to [C,H,W] in [0, 1] */
    (void)state;
    struct network network;
    struct error err;
    uint8_t samples[2][6] = {{0, 51, 102, 153, 204, 255}, {255, 0, 0, 0, 0, 51}};
    float expected[2][6] = {{0, 0.6f, 0.2f, 0.8f, 0.4f, 1}, {1, 0, 0, 0, 0, 0.2f}}, found[2][6];
    assert_int_equal(network_open(&network, NULL, &colour, 1u << METRIC_FID, &err), 0);
    assert_string_equal(network.outputs[0].name, "pixels");
    assert_int_equal(network.outputs[0].dim, 6);
    assert_int_equal(network_load(&network, NULL, SHIM_CPU, &err), 0);
    assert_int_equal(network_run(&network, samples[0], 2, 64, (float *[NETWORK_OUTPUTS]){found[0]}, &err), 0);
    for (int i = 0; i < 12; i++) assert_true(fabsf(found[i / 6][i % 6] - expected[i / 6][i % 6]) < 1e-7f);
    network_release(&network);
}

static void
floats_stay_as_they_are(void **state) { /* [C,H,W] floats, mapped from the card's range to [0, 1], not clipped */
    (void)state;
    struct network network;
    struct error err;
    const struct card wide = {.channels = 3, .height = 1, .width = 2, .low = -2, .high = 2};
    float samples[6] = {-2, 2, 0, 1e-3f, 3, -4}, found[6];
    const double expected[6] = {0, 1, 0.5, 0.5 + 1e-3 / 4, 1.25, -0.5};
    assert_int_equal(network_open(&network, NULL, &wide, 1u << METRIC_FID, &err), 0);
    network_take_floats(&network, &wide, false);
    assert_string_not_equal(network.key,
                            network.sha256); /* features that an older version made of rounded ones are others */
    assert_int_equal(network_run(&network, samples, 1, 64, (float *[NETWORK_OUTPUTS]){found}, &err), 0);
    for (int i = 0; i < 6; i++) assert_true(fabs(found[i] - expected[i]) < 1e-7);
    assert_int_equal(network_check(&network, NULL, true, &err), 0);
    network_release(&network);
    make("{\"features\": {\"shape\": [1, 2, 2], \"range\": [0, 255], \"outputs\": {\"pool\": 4}}}");
    assert_int_equal(network_open(&network, path, &grey, 1u << METRIC_FID, &err), 0);
    assert_int_equal(network_check(&network, path, false, &err), 0);
    assert_int_equal(network_check(&network, path, true, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    network_release(&network);
}

/* One that was not loaded would give pixels in the place of features. */
static void has_to_be_loaded(void **state) {
    (void)state;
    struct network network;
    struct error err;
    uint8_t sample[4] = {0};
    float found[4];
    make("{\"features\": {\"shape\": [1, 2, 2], \"range\": [0, 255], \"outputs\": {\"pool\": 4}}}");
    assert_int_equal(network_open(&network, path, &grey, 1u << METRIC_FID, &err), 0);
    assert_int_equal(network_run(&network, sample, 1, 1, (float *[NETWORK_OUTPUTS]){found}, &err), -1);
    assert_int_equal(err.code, CODE_INTERNAL);
    assert_int_equal(network_load(&network, path, SHIM_CPU, &err), 0);
    assert_int_equal(network_run(&network, sample, 1, 1, (float *[NETWORK_OUTPUTS]){found}, &err), 0);
    network_release(&network);
}

static int set_up(void **state) {
    (void)state;
    return scratch_make("features.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_description),   cmocka_unit_test(refuses_description),
        cmocka_unit_test(pixels_are_features), cmocka_unit_test(floats_stay_as_they_are),
        cmocka_unit_test(has_to_be_loaded),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_remove);
}
