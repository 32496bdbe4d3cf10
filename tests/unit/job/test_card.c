/* Model cards: what is read, what is refused, and where in a model file they are found. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "job/card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

/* A card in JSON with single quotes, as they read better in C. */
static json_t *quoted(const char *text) {
    char *copy = strdup(text);
    assert_non_null(copy);
    for (char *c = copy; *c; c++)
        if (*c == '\'') *c = '"';
    json_error_t at;
    json_t *json = json_loads(copy, JSON_DECODE_ANY, &at);
    if (!json) fail_msg("%s: %s", text, at.text);
    free(copy);
    return json;
}

static int parse(struct card *card, const char *text, struct error *err) {
    json_t *json = quoted(text);
    int rc = card_parse(card, json, "model.pt: card", err);
    json_decref(json);
    return rc;
}

static struct card parsed(const char *text) {
    struct card card;
    struct error err;
    if (parse(&card, text, &err) != 0) fail_msg("%s: %s", text, err.message);
    return card;
}

#define LINEAR "'schedule': {'kind': 'linear'}"
#define CONTINUOUS "'time': {'kind': 'continuous'}"
#define EPSILON "'shape': [1, 8, 8], 'prediction': 'epsilon'"

static void defaults(void **state) {
    (void)state;
    struct card card = parsed("{" EPSILON ", " CONTINUOUS ", " LINEAR "}");
    assert_int_equal(card.channels, 1);
    assert_int_equal(card.height, 8);
    assert_int_equal(card.width, 8);
    assert_int_equal(card_elements(&card), 64);
    assert_true(card.low == -1 && card.high == 1 && card.sigma_data == 0.5);
    assert_int_equal(card.prediction, PREDICTION_EPSILON);
    assert_int_equal(card.time.kind, TIME_CONTINUOUS);
    assert_true(card.time.scale == 1);
    assert_int_equal(card.schedule.kind, SCHEDULE_LINEAR);
    assert_true(card.schedule.beta0 == 0.1 && card.schedule.beta1 == 20);
    assert_int_equal(card.schedule.steps, 0);
    assert_int_equal(card.classes, 0);
    assert_int_equal(card.null_label, -1);
    assert_int_equal(card.batch, 0);
    assert_string_equal(json_string_value(json_object_get(card.json, "prediction")), "epsilon");
    card_release(&card);
}

static void every_key(void **state) {
    (void)state;
    struct card card = parsed(
        "{'shape': [4, 32, 16], 'range': [0, 1.5], 'prediction': 'edm-iddpm', 'sigma_data': 0.25,'time': {'kind': "
        "'discrete', 'steps': 4, 'dtype': 'float32'},'schedule': {'kind': 'table', 'alphas_cumprod': [0.9, 0.5, 0.25, "
        "1e-3], 'steps': 4},'labels': {'classes': 1000, 'null': 1000}, 'batch': 32, 'variance': 'fixed'}");
    assert_int_equal(card_elements(&card), 2048);
    assert_true(card.low == 0 && card.high == 1.5 && card.sigma_data == 0.25);
    assert_int_equal(card.prediction, PREDICTION_EDM_IDDPM);
    assert_int_equal(card.time.kind, TIME_DISCRETE);
    assert_int_equal(card.time.steps, 4);
    assert_false(card.time.integer);
    assert_int_equal(card.schedule.steps, 4);
    assert_true(card.schedule.alphas_cumprod[2] == 0.25);
    assert_int_equal(card.classes, 1000);
    assert_int_equal(card.null_label, 1000);
    assert_int_equal(card.batch, 32);
    card_release(&card);
}

static void schedules(void **state) {
    (void)state;
    struct card card = parsed("{" EPSILON ", " CONTINUOUS ", 'schedule': {'kind': 'cosine', 's': 0.01}}");
    assert_int_equal(card.schedule.kind, SCHEDULE_COSINE);
    assert_true(card.schedule.s == 0.01);
    card_release(&card);
    card =
        parsed("{" EPSILON
               ", 'time': {'kind': 'continuous', 'scale': 999},'schedule': {'kind': 'log-linear', 'logsnr': [-4, 6]}}");
    assert_true(card.time.scale == 999);
    assert_true(card.schedule.logsnr_end == -4 && card.schedule.logsnr_start == 6);
    card_release(&card);
    card = parsed("{" EPSILON ", 'time': {'kind': 'discrete'}, 'schedule': {'kind': 'discrete-linear'}}");
    assert_int_equal(card.schedule.steps, 1000);
    assert_int_equal(card.time.steps, 1000);
    assert_true(card.time.integer);
    assert_true(card.schedule.beta0 == 1e-4 && card.schedule.beta1 == 0.02);
    card_release(&card);
    card = parsed("{" EPSILON ", 'time': {'kind': 'discrete'}, 'schedule': {'kind': 'discrete-scaled-linear'}}");
    assert_true(card.schedule.beta0 == 0.00085 && card.schedule.beta1 == 0.012);
    card_release(&card);
    card = parsed("{" EPSILON ", 'time': {'kind': 'discrete'}, 'schedule': {'kind': 'discrete-cosine', 'steps': 50}}");
    assert_int_equal(card.time.steps, 50);
    card_release(&card);
    card = parsed("{'shape': [3, 8, 8], 'prediction': 'edm', 'time': {'kind': 'c_noise'}, 'schedule': {'kind': "
                  "'edm'},'labels': {'classes': 10, 'null': null}, 'batch': null}");
    assert_int_equal(card.prediction, PREDICTION_EDM);
    assert_int_equal(card.time.kind, TIME_C_NOISE);
    assert_true(card.schedule.sigma_min == 0.002 && card.schedule.sigma_max == 80);
    assert_int_equal(card.null_label, -1);
    assert_int_equal(card.batch, 0);
    card_release(&card);
}

static const struct {
    const char *text, *expected[2];
} mistakes[] = {
    {"[]", {"model.pt: card: expected a map of shape, range, prediction", "found []"}},
    {"{}", {"model.pt: card: shape: missing; expected [channels, height, width]"}},
    {"{'shape': [1, 8, 8], " CONTINUOUS ", " LINEAR "}", {"prediction: missing; expected one of epsilon, x0"}},
    {"{" EPSILON ", " LINEAR "}", {"time: missing"}},
    {"{" EPSILON ", " CONTINUOUS "}", {"schedule: missing"}},
    {"{" EPSILON ", 'time': {}, " LINEAR "}", {"time.kind: missing"}},
    {"{'shape': [1, 8], 'prediction': 'v'}", {"shape: expected [channels, height, width]", "found [1, 8]"}},
    {"{'shape': [0, 8, 8]}", {"shape: expected", "found [0, 8, 8]"}},
    {"{'shape': [1, 8.0, 8]}", {"shape: expected", "found [1, 8.0, 8]"}},
    {"{'shape': [3, 1000000, 8]}", {"shape: expected"}},
    {"{'shape': [16384, 16384, 16384]}", {"shape: expected"}},
    {"{'shape': '1x8x8'}", {"shape: expected", "found \"1x8x8\""}},
    {"{'shapes': [1, 8, 8]}", {"shapes: unknown key; did you mean \"shape\"?"}},
    {"{'author': 'me'}", {"author: unknown key; expected one of shape, range, prediction"}},
    {"{'range': [1, -1]}", {"range: expected two numbers that go up", "found [1, -1]"}},
    {"{'range': [0]}", {"range: expected two numbers that go up", "found [0]"}},
    {"{'prediction': 'eps'}",
     {"prediction: expected one of epsilon, x0, v, score, velocity, edm, edm-vp", "found \"eps\""}},
    {"{'sigma_data': 0}", {"sigma_data: expected a number above 0, found 0"}},
    {"{'variance': 'big'}", {"variance: expected one of fixed, learned, found \"big\""}},
    {"{'batch': 0}", {"batch: expected a whole number from 1 to 2147483647, or null, found 0"}},
    {"{'labels': {'null': 3}}", {"labels.classes: missing"}},
    {"{'labels': {'classes': -1}}", {"labels.classes: expected a whole number from 0 to 2147483647, found -1"}},
    {"{" EPSILON ", " CONTINUOUS ", " LINEAR ", 'labels': {'classes': 10, 'null': 11}}", {"labels.null: expected"}},
    {"{" EPSILON ", " CONTINUOUS ", " LINEAR ", 'labels': {'classes': 0, 'null': 0}}", {"labels.null: expected"}},
    {"{'labels': {'classes': 10, 'null': -2}}", {"labels.null: expected a label, -1 or null, found -2"}},
    {"{'time': {'kind': 'step'}}", {"time.kind: expected one of continuous, discrete", "\"step\""}},
    {"{'time': {'kind': 'discrete', 'dtype': 'int32'}}",
     {"time.dtype: expected one of float32, int64, found \"int32\""}},
    {"{'time': {'kind': 'discrete', 'steps': 0}}", {"time.steps: expected a whole number from 1 to", "found 0"}},
    {"{" EPSILON ", 'time': {'kind': 'discrete'}, " LINEAR "}", {"time.steps: missing"}},
    {"{" EPSILON ", 'time': {'kind': 'continuous', 'steps': 10}, " LINEAR "}",
     {"time.steps: expected no such key beside time.kind \"continuous\""}},
    {"{" EPSILON ", 'time': {'kind': 'sigma', 'scale': 10}, " LINEAR "}", {"time.scale: expected no such key"}},
    {"{" EPSILON ", 'time': {'kind': 'discrete', 'steps': 10}, 'schedule': {'kind': 'discrete-linear'}}",
     {"time.steps: expected the schedule's 1000 steps, found 10"}},
    {"{'schedule': {'kind': 'vp'}}", {"schedule.kind: expected one of linear, cosine", "\"vp\""}},
    {"{'schedule': {'kind': 'linear', 'beta_0': 1}}", {"schedule.beta_0: unknown key; did you mean \"beta0\"?"}},
    {"{'schedule': {'kind': 'linear', 'beta0': 0}}", {"schedule.beta0: expected a number above 0, found 0"}},
    {"{" EPSILON ", " CONTINUOUS ", 'schedule': {'kind': 'linear', 'beta0': 30}}",
     {"schedule.beta1: expected at least beta0, 30, found 20"}},
    {"{" EPSILON ", " CONTINUOUS ", 'schedule': {'kind': 'linear', 'sigma_max': 30}}",
     {"schedule.sigma_max: expected no such key beside schedule.kind \"linear\""}},
    {"{" EPSILON ", " CONTINUOUS ", 'schedule': {'kind': 'edm', 'steps': 30}}",
     {"schedule.steps: expected no such key"}},
    {"{" EPSILON ", 'time': {'kind': 'discrete'}, 'schedule': {'kind': 'discrete-linear', 'beta1': 1}}",
     {"schedule.beta1: expected a discrete beta below 1, found 1"}},
    {"{" EPSILON ", 'time': {'kind': 'sigma'}, 'schedule': {'kind': 'edm', 'sigma_min': 100}}",
     {"schedule.sigma_max: expected more than sigma_min, 100, found 80"}},
    {"{'schedule': {'kind': 'log-linear', 'logsnr': [5, -5]}}", {"schedule.logsnr: expected two numbers that go up"}},
    {"{'schedule': {'kind': 'discrete-linear', 'steps': 0}}", {"schedule.steps: expected a whole number from 1"}},
    {"{" EPSILON ", 'time': {'kind': 'discrete'}, 'schedule': {'kind': 'table'}}",
     {"schedule.alphas_cumprod: missing"}},
    {"{'schedule': {'kind': 'table', 'alphas_cumprod': []}}", {"schedule.alphas_cumprod: expected a list", "found []"}},
    {"{'schedule': {'kind': 'table', 'alphas_cumprod': [0.9, 0.9]}}", {"alphas_cumprod[1]: expected", "found 0.9"}},
    {"{'schedule': {'kind': 'table', 'alphas_cumprod': [1, 0.9]}}", {"alphas_cumprod[0]: expected", "found 1"}},
    {"{'schedule': {'kind': 'table', 'alphas_cumprod': [0.5, 0, 0]}}", {"alphas_cumprod[1]: expected", "found 0"}},
    {"{'schedule': {'kind': 'table', 'alphas_cumprod': [0.5, 'x']}}", {"alphas_cumprod[1]: expected", "found \"x\""}},
    {"{" EPSILON ", 'time': {'kind': 'discrete'}, 'schedule': {'kind': 'table', 'alphas_cumprod': [0.5], 'steps': 2}}",
     {"schedule.steps: expected one step a number of alphas_cumprod, 1, found 2"}},
};

static void mistakes_are_named(void **state) {
    (void)state;
    int bad = 0;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct card card;
        struct error err = {.message = "(accepted)"};
        bool good = parse(&card, mistakes[i].text, &err) == -1 && err.code == CODE_DATA;
        for (int j = 0; j < 2 && mistakes[i].expected[j]; j++)
            good = good && strstr(err.message, mistakes[i].expected[j]);
        if (!good) print_error("%s\n  said: %s\n  not:  %s\n", mistakes[i].text, err.message, mistakes[i].expected[0]);
        bad += !good;
        card_release(&card);
    }
    assert_int_equal(bad, 0);
}

/* ---- model files ---- */

static char folder[] = "/tmp/test_card_XXXXXX";

static int folder_new(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state) {
    (void)state;
    return rmdir(folder);
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void write_zip(const char *path, const char *entry, const char *text) {
    zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(archive);
    zip_source_t *other = zip_source_buffer(archive, "2\n", 2, 0);
    zip_source_t *source = zip_source_buffer(archive, text, strlen(text), 0);
    assert_true(zip_file_add(archive, "model/version", other, 0) >= 0);
    assert_true(zip_file_add(archive, entry, source, 0) >= 0);
    assert_int_equal(zip_close(archive), 0);
}

#define GOOD \
    "{\"shape\": [1, 8, 8], \"prediction\": \"v\", \"time\": {\"kind\": \"sigma\"}, \"schedule\": {\"kind\": " \
    "\"edm\"}}"

static void cards_are_found_in_files(void **state) {
    (void)state;
    static const struct {
        const char *entry; /* of a zip; NULL: the text is the file */
        const char *text;
        enum code code;
        const char *expected;
    } cases[] = {
        {"model/extra/diffusion.json", GOOD, CODE_OK, ""},
        {"extra/diffusion.json", GOOD, CODE_OK, ""},
        {"a/b/extra/diffusion.json", GOOD, CODE_OK, ""},
        {NULL, "{\"card\": " GOOD ", \"mean\": 0}", CODE_OK, ""},
        {NULL, "\n {\"card\": " GOOD "}", CODE_OK, ""},
        {"model/myextra/diffusion.json", GOOD, CODE_DATA, "model: {path: ..., card: {...}}"},
        {"model/extra/features.json", GOOD, CODE_DATA, "expected a card (extra/diffusion.json, or that"},
        {"model/extra/diffusion.json", "{\"shape\": ", CODE_DATA, "diffusion.json:1:10: expected JSON"},
        {"model/extra/diffusion.json", "{\"shape\": 3}", CODE_DATA, "card: shape: expected [channels"},
        {"model/extra/diffusion.json", "", CODE_DATA, "expected JSON"},
        {NULL, "{\"mean\": 0}", CODE_DATA, "expected a card"},
        {NULL, "{\"card\": 5}", CODE_DATA, "card: expected a map of shape"},
        {NULL, "{\"card\": ", CODE_DATA, "expected JSON"},
        {NULL, "\x80\x02pickle", CODE_DATA, "expected a TorchScript archive (zip) or a JSON model, found a pickle"},
        {NULL, "", CODE_DATA, "found an empty file"},
        {NULL, "\x01\x02 and so on", CODE_DATA, "found neither"},
        {NULL, "PK\3\4 and then nothing", CODE_DATA, "expected a whole zip archive, found"},
    };
    char *path = text_new("%s/model.pt", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct card card;
        struct error err = {.message = ""};
        if (cases[i].entry) write_zip(path, cases[i].entry, cases[i].text);
        else write_file(path, cases[i].text);
        int rc = card_read(&card, path, &err);
        if (rc != (cases[i].code ? -1 : 0) || err.code != cases[i].code || !strstr(err.message, cases[i].expected) ||
            (rc && !strstr(err.message, path)))
            fail_msg("%s, %s: %s", cases[i].entry, cases[i].text, err.message);
        if (rc == 0) assert_int_equal(card.prediction, PREDICTION_V);
        if (rc == 0) card_release(&card);
    }
    struct card card;
    struct error err;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(card_read(&card, path, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    assert_int_equal(card_read(&card, folder, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    free(path);
}

/* The files of the default job, exported by torch itself. */
static void cards_of_the_default_job(void **state) {
    (void)state;
    struct card card;
    struct error err;
    json_t *features;
    if (card_read(&card, "jobs/digits/model.pt", &err) != 0) fail_msg("%s", err.message);
    assert_int_equal(card_elements(&card), 64);
    assert_int_equal(card.prediction, PREDICTION_EPSILON);
    assert_int_equal(card.schedule.kind, SCHEDULE_LINEAR);
    assert_true(card.schedule.beta0 == 0.1 && card.schedule.beta1 == 20);
    assert_int_equal(card.classes, 10);
    assert_int_equal(card.null_label, 10);
    card_release(&card);
    assert_int_equal(card_read_extra(&features, "jobs/digits/features.pt", "features.json", &err), 0);
    assert_non_null(json_object_get(features, "outputs"));
    json_decref(features);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(schedules),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(cards_are_found_in_files),
        cmocka_unit_test(cards_of_the_default_job),
    };
    return cmocka_run_group_tests(tests, folder_new, folder_remove);
}
