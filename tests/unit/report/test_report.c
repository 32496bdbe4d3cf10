/* Progress under a clock of our own, pictures read back, summaries. */
#include "report/picture.h"
#include "report/progress.h"
#include "cluster/build.h"
#include "format/json_file.h"

#include "base/draft.h"
#include "base/files.h"
#include "base/log.h"

#include <math.h>
#include <setjmp.h>
#include <spng.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_report-XXXXXX";
static char file[200], log_file[200];

static double now;
static double test_clock(void) {
    return now;
}

static struct progress begin(uint64_t total, uint64_t before, int nfe) {
    struct progress progress = {
        .total = total, .before = before, .nfe = nfe, .ranks = 2, .run_dir = folder, .clock = test_clock};
    now = 1000;
    progress_start(&progress);
    progress.terminal = 0;
    progress.next_line = now + 5;
    return progress;
}

static json_t *read_progress(void) {
    json_t *json;
    struct error err = {0};
    snprintf(file, sizeof file, "%s/progress.json", folder);
    if (json_file_read(&json, file, &err) != 0) fail_msg("%s", err.message);
    return json;
}

static double number(const char *key) {
    json_t *json = read_progress(), *value = json_object_get(json, key);
    double found = json_is_null(value) ? NAN : json_number_value(value);
    assert_non_null(value);
    json_decref(json);
    return found;
}

/* 100 of 1000 samples are there at the start; then 5 a second for 50 s, then 2 a second. */
static void progress_file(void **state) {
    (void)state;
    struct progress progress = begin(1000, 100, 10);
    progress_update(&progress, 100, 2, 0);
    assert_true(number("rate") == 0 && isnan(number("eta_seconds")));
    double done = 100;
    for (int tick = 1; tick <= 300; tick++) { /* ten calls a second: 30 s */
        now = 1000 + 0.1 * tick;
        done += 0.5;
        progress_update(&progress, (uint64_t)done, 2, 0);
    }
    assert_int_equal(number("done"), 250);
    assert_true(fabs(number("rate") - 5) < 0.1); /* samples made before the start do not count */
    assert_true(fabs(number("eta_seconds") - 750 / 5.) < 5);
    assert_int_equal(number("nfe"), 10);
    for (int second = 31; second <= 130; second++) {
        now = 1000 + second;
        done += second <= 50 ? 5 : 2;
        progress_update(&progress, (uint64_t)done, 1, 0);
        if (second == 80) assert_true(fabs(number("rate") - (30 * 5 + 30 * 2) / 60.) < 0.15); /* the last minute only */
    }
    assert_true(fabs(number("rate") - 2) < 0.1);
    assert_int_equal(number("ranks"), 1);
    json_t *json = read_progress();
    assert_string_equal(json_string_value(json_object_get(json, "state")), "running");
    assert_int_equal(strlen(json_string_value(json_object_get(json, "time"))), strlen("2026-01-31T12:00:00Z"));
    json_decref(json);
    now = 1200;
    progress_update(&progress, 1000, 1, 1);
    json = read_progress();
    assert_string_equal(json_string_value(json_object_get(json, "state")), "finished");
    json_decref(json);
    assert_int_equal(number("total"), 1000);
    assert_int_equal(number("eta_seconds"), 0);
    assert_true(fabs(number("rate") - 900 / 200.) < 1e-12); /* the session's mean */
}

/* Of 1000 samples the first 500 are 10 model calls each and the rest 2: one a second first. */
static void progress_by_the_work_left(void **state) {
    (void)state;
    struct progress progress = {.total = 1000, .work_total = 6000, .run_dir = folder, .clock = test_clock};
    now = 1000;
    progress_start(&progress);
    progress.terminal = 0;
    for (int second = 1; second <= 101; second++) {
        now = 1000 + second;
        progress.work = 10. * second;
        progress_update(&progress, (uint64_t)second, 1, 0);
    }
    assert_true(fabs(number("eta_seconds") - 499) < 1e-9); /* 4990 calls at 10 a second, not 899 samples at one */
    assert_true(fabs(number("rate") - 1) < 1e-9);
    now += 1;
    progress.work = 6000;
    progress_update(&progress, 1000, 1, 1);
    assert_int_equal(number("eta_seconds"), 0);
}

static void progress_file_every_10_s(void **state) {
    (void)state;
    struct progress progress = begin(1000, 0, 0);
    progress_update(&progress, 0, 1, 0);
    now += 9.9;
    progress_update(&progress, 50, 1, 0);
    assert_int_equal(number("done"), 0);
    now += 0.1;
    progress_update(&progress, 60, 1, 0);
    assert_int_equal(number("done"), 60);
    assert_true(isnan(number("nfe"))); /* unknown */
}

/* A line after 5 s, then one a minute, and a last one; `words` of the latest. */
static void check_log(int lines, const char *words) {
    struct error err;
    char *text, *last = NULL;
    size_t size;
    int count = 0;
    assert_int_equal(file_read(log_file, &text, &size, &err), 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), count++) last = line;
    assert_int_equal(count, lines);
    if (lines > 0 && !strstr(last, words)) fail_msg("expected \"%s\" in: %s", words, last);
    free(text);
}

static void progress_lines(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(log_open(log_file, &err), 0);
    struct progress progress = begin(10000, 0, 10);
    progress_update(&progress, 0, 3, 0);
    now += 4;
    progress_update(&progress, 40, 3, 0);
    check_log(0, NULL);
    now += 1;
    progress_update(&progress, 50, 3, 0);
    check_log(1, "50/10000 samples (0.5%), 10.0 samples/s, 100 NFE/s, ETA 16 min 35 s, 3 ranks");
    now += 59;
    progress_update(&progress, 640, 3, 0);
    check_log(1, "");
    now += 1;
    progress_update(&progress, 650, 3, 0);
    check_log(2, "650/10000 samples (6.5%), 10.0 samples/s");
    now += 7200 - 65;
    progress_update(&progress, 10000, 1, 1);
    check_log(3, "10000/10000 samples (100.0%), 1.4 samples/s, 14 NFE/s, took 2 h 00 min, 1 rank\"");
    log_close();
}

static void progress_without_folder(void **state) { /* one warning, no failure */
    (void)state;
    struct error err;
    unlink(log_file);
    assert_int_equal(log_open(log_file, &err), 0);
    struct progress progress = begin(10, 0, 0);
    progress.run_dir = "/no/such/folder";
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    assert_non_null(freopen("/dev/null", "w", stderr)); /* warnings go there too */
    progress_update(&progress, 0, 1, 0);
    now += 10;
    progress.next_line = now + 60;
    progress_update(&progress, 0, 1, 0);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    check_log(1, "qtaylor status");
    log_close();
}

static uint8_t *read_png(uint32_t *height, uint32_t *width, int *channels) {
    struct error err;
    char *data;
    size_t size, bytes;
    struct spng_ihdr header;
    assert_int_equal(file_read(file, &data, &size, &err), 0);
    spng_ctx *context = spng_ctx_new(0);
    assert_int_equal(spng_set_png_buffer(context, data, size), 0);
    assert_int_equal(spng_get_ihdr(context, &header), 0);
    assert_int_equal(spng_decoded_image_size(context, SPNG_FMT_PNG, &bytes), 0);
    uint8_t *pixels = malloc(bytes);
    assert_int_equal(spng_decode_image(context, pixels, bytes, SPNG_FMT_PNG, 0), 0);
    *height = header.height;
    *width = header.width;
    *channels = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE ? 1 : 3;
    assert_int_equal(bytes, (size_t)header.height * header.width * (size_t)*channels);
    spng_ctx_free(context);
    free(data);
    return pixels;
}

static void picture_grey(void **state) {
    (void)state;
    static const uint8_t one[4] = {10, 20, 30, 40}, two[4] = {50, 60, 70, 80};
    static const uint8_t expected[10][10] = {/* 2 x 2 images of 2 x 2 pixels, twice enlarged, gaps of 2 */
                                             {10, 10, 20, 20, 0, 0, 0, 0, 0, 0},
                                             {10, 10, 20, 20, 0, 0, 0, 0, 0, 0},
                                             {30, 30, 40, 40, 0, 0, 0, 0, 0, 0},
                                             {30, 30, 40, 40, 0, 0, 0, 0, 0, 0},
                                             {0},
                                             {0},
                                             {50, 50, 60, 60, 0, 0, 10, 10, 20, 20},
                                             {50, 50, 60, 60, 0, 0, 10, 10, 20, 20},
                                             {70, 70, 80, 80, 0, 0, 30, 30, 40, 40},
                                             {70, 70, 80, 80, 0, 0, 30, 30, 40, 40}};
    const uint8_t *images[4] = {one, NULL, two, one};
    struct error err;
    uint32_t height, width;
    int channels;
    snprintf(file, sizeof file, "%s/grid.png", folder);
    assert_int_equal(picture_grid(file, images, 2, 2, 2, 2, 1, 2, NULL, &err), 0);
    uint8_t *pixels = read_png(&height, &width, &channels);
    assert_true(height == 10 && width == 10 && channels == 1);
    assert_memory_equal(pixels, expected, sizeof expected);
    free(pixels);
}

static void picture_colour(void **state) {
    (void)state;
    static const uint8_t image[6] = {1, 2, 3, 4, 5, 6}; /* 1 x 2 pixels */
    const uint8_t *images[10];
    struct error err;
    uint32_t height, width;
    int channels;
    for (int i = 0; i < 10; i++) images[i] = image;
    snprintf(file, sizeof file, "%s/grid.png", folder);
    assert_int_equal(picture_grid(file, images, 1, 10, 1, 2, 3, 0, NULL, &err), 0);
    uint8_t *pixels = read_png(&height, &width, &channels);
    assert_int_equal(channels, 3);
    assert_in_range(width, 600, 640); /* enlarged 31 times */
    assert_memory_equal(pixels, image, 3);
    assert_memory_equal(pixels + 61 * 3, image + 3, 3);
    assert_memory_equal(pixels + (width * height - 1) * 3, image + 3, 3);
    free(pixels);
    assert_int_equal(picture_grid(file, images, 1, 1, 1, 2, 2, 0, NULL, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_int_equal(picture_grid("/no/such/folder/grid.png", images, 1, 1, 1, 2, 3, 0, NULL, &err), -1);
    assert_int_equal(err.code, CODE_IO);
}

static void summary_keeps_digits(void **state) {
    (void)state;
    struct error err;
    json_t *read, *json = json_pack("{s:f, s:f, s:[i,n]}", "third", 1.0 / 3, "tiny", 5e-324, "list", 7);
    snprintf(file, sizeof file, "%s/summary.json", folder);
    assert_int_equal(json_file_write(file, json, &err), 0);
    assert_int_equal(json_file_read(&read, file, &err), 0);
    assert_true(json_equal(read, json));
    json_decref(read);
    json_decref(json);
    char *text;
    size_t size;
    assert_int_equal(file_read(file, &text, &size, &err), 0);
    assert_string_equal(text + size - 2, "}\n");
    free(text);
    assert_int_equal(file_write_atomic(file, "{\"a\": 1,\n x}", 12, &err), 0);
    assert_int_equal(json_file_read(&read, file, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "summary.json:2:"));
    assert_int_equal(file_write_atomic(file, "{\"a\": 1, \"a\": 2}", 16, &err), 0);
    assert_int_equal(json_file_read(&read, file, &err), -1);
    unlink(file);
    assert_int_equal(json_file_read(&read, file, &err), -1);
    assert_int_equal(err.code, CODE_IO);
}

static void versions(void **state) {
    (void)state;
    static const char *const keys[] = {"qtaylor", "commit", "compiler", "cflags",   "mpi",    "torch",  "openmp",
                                       "zstd",    "blas",   "jansson",  "libfyaml", "libzip", "openssl"};
    json_t *json = build_versions();
    assert_non_null(json);
    assert_int_equal(json_object_size(json), sizeof keys / sizeof *keys);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) assert_non_null(json_object_get(json, keys[i]));
    assert_non_null(strstr(json_string_value(json_object_get(json, "blas")), "OpenBLAS"));
    assert_non_null(strstr(json_string_value(json_object_get(json, "openssl")), "OpenSSL"));
    json_decref(json);
}

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(log_file, sizeof log_file, "%s/log", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    static const char *const names[] = {"progress.json", "log", "grid.png", "summary.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        unlink(file);
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_lines),
        cmocka_unit_test(progress_file),
        cmocka_unit_test(progress_by_the_work_left),
        cmocka_unit_test(progress_file_every_10_s),
        cmocka_unit_test(progress_without_folder),
        cmocka_unit_test(picture_grey),
        cmocka_unit_test(picture_colour),
        cmocka_unit_test(summary_keeps_digits),
        cmocka_unit_test(versions),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
