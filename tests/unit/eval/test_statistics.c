/* Reference files: numpy's own and hand-made ones, what we write, and every refusal. */
#include "scratch.h"

#include "eval/statistics.h"

#include "base/draft.h"
#include "base/files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zip.h>

#include <cmocka.h>

/* numpy 2: np.savez_compressed(f, mu=np.array([1.5, -2], np.float32),
 *                              sigma=np.array([[2, .5], [.5, 1]], np.float32)) */
static const unsigned char numpy_file[399] = {
    80,  75,  3,   4,   45,  0,   0,   0,   8,   0,   0,   0,   33,  0,   214, 67,  75,  5,   255, 255, 255, 255, 255,
    255, 255, 255, 6,   0,   20,  0,   109, 117, 46,  110, 112, 121, 1,   0,   16,  0,   136, 0,   0,   0,   0,   0,
    0,   0,   75,  0,   0,   0,   0,   0,   0,   0,   155, 236, 23,  234, 27,  16,  201, 200, 80,  198, 80,  173, 158,
    146, 90,  156, 92,  164, 110, 165, 160, 110, 147, 102, 162, 174, 163, 160, 158, 150, 95,  84,  82,  148, 152, 23,
    159, 95,  148, 146, 10,  18,  119, 75,  204, 41,  78,  5,   138, 23,  103, 36,  22,  164, 2,   249, 26,  70,  58,
    154, 58,  10,  181, 10,  20,  0,   46,  6,   134, 3,   246, 12,  64,  2,   0,   80,  75,  3,   4,   45,  0,   0,
    0,   8,   0,   0,   0,   33,  0,   198, 160, 173, 240, 255, 255, 255, 255, 255, 255, 255, 255, 9,   0,   20,  0,
    115, 105, 103, 109, 97,  46,  110, 112, 121, 1,   0,   16,  0,   144, 0,   0,   0,   0,   0,   0,   0,   80,  0,
    0,   0,   0,   0,   0,   0,   155, 236, 23,  234, 27,  16,  201, 200, 80,  198, 80,  173, 158, 146, 90,  156, 92,
    164, 110, 165, 160, 110, 147, 102, 162, 174, 163, 160, 158, 150, 95,  84,  82,  148, 152, 23,  159, 95,  148, 146,
    10,  18,  119, 75,  204, 41,  78,  5,   138, 23,  103, 36,  22,  164, 2,   249, 26,  70,  58,  10,  70,  154, 58,
    10,  181, 10,  100, 3,   46,  6,   6,   6,   7,   32,  182, 135, 224, 6,   123, 0,   80,  75,  1,   2,   45,  3,
    45,  0,   0,   0,   8,   0,   0,   0,   33,  0,   214, 67,  75,  5,   75,  0,   0,   0,   136, 0,   0,   0,   6,
    0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   128, 1,   0,   0,   0,   0,   109, 117, 46,  110, 112, 121,
    80,  75,  1,   2,   45,  3,   45,  0,   0,   0,   8,   0,   0,   0,   33,  0,   198, 160, 173, 240, 80,  0,   0,
    0,   144, 0,   0,   0,   9,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   128, 1,   131, 0,   0,   0,
    115, 105, 103, 109, 97,  46,  110, 112, 121, 80,  75,  5,   6,   0,   0,   0,   0,   2,   0,   2,   0,   107, 0,
    0,   0,   14,  1,   0,   0,   0,   0,
};

struct member { /* of a hand-made archive */
    const char *name, *descr, *shape;
    const void *data;
    size_t size;
    int version; /* of the .npy header; 0 means 1 */
};
static const double mu[2] = {1.5, -2}, sigma[4] = {2, 0.5, 0.5, 1};
static const int64_t count = 100;
static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
#define MU {"mu.npy", "<f8", "(2,)", mu, sizeof mu, 0}
#define SIGMA {"sigma.npy", "<f8", "(2, 2)", sigma, sizeof sigma, 0}

/* An .npy file by its specification: magic, version, length of the header, header, data. */
static char *npy_file(const struct member *member, size_t *size) {
    int start = member->version == 2 ? 12 : 10;
    char header[200];
    int used = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", member->descr,
                        member->shape);
    int length = 128 - start;
    *size = 128 + member->size;
    char *file = malloc(*size);
    memset(file, ' ', 128);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = member->version == 2 ? 2 : 1;
    file[7] = 0;
    file[8] = (char)length;
    memset(file + 9, 0, (size_t)start - 9);
    memcpy(file + start, header, (size_t)used);
    file[127] = '\n';
    if (member->size) memcpy(file + 128, member->data, member->size);
    return file;
}

static void make(const struct member *members, size_t members_count, int method) {
    int code;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(zip);
    for (size_t i = 0; i < members_count; i++) {
        size_t size;
        char *file = npy_file(&members[i], &size);
        zip_int64_t index = zip_file_add(zip, members[i].name, zip_source_buffer(zip, file, size, 1), 0);
        assert_true(index >= 0);
        assert_int_equal(zip_set_file_compression(zip, (zip_uint64_t)index, method, 0), 0);
    }
    assert_int_equal(zip_close(zip), 0);
}

static void check_read(uint64_t expected_count, const char *network) {
    struct statistics statistics;
    struct error err = {0};
    if (statistics_read(&statistics, path, "", &err) != 0) fail_msg("%s", err.message);
    assert_int_equal(statistics.dim, 2);
    assert_memory_equal(statistics.mu, mu, sizeof mu);
    assert_memory_equal(statistics.sigma, sigma, sizeof sigma);
    assert_int_equal(statistics.count, expected_count);
    assert_string_equal(statistics.network, network);
    statistics_release(&statistics);
}

static void reads_numpy(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(file_write_atomic(path, numpy_file, sizeof numpy_file, &err), 0);
    check_read(0, "");
}

static void reads_stored_and_deflated(void **state) {
    (void)state;
    struct member members[] = {{"mu_s.npy", "<i8", "(0,)", NULL, 0, 0}, SIGMA, MU}; /* the first is ignored */
    make(members, 3, ZIP_CM_STORE);
    check_read(0, "");
    members[1].version = 2;
    make(members, 3, ZIP_CM_DEFLATE);
    check_read(0, "");
}

static void reads_origin(void **state) {
    (void)state;
    struct member members[] = {
        MU, SIGMA, {"count.npy", "<i8", "()", &count, sizeof count, 0}, {"network.npy", "|S64", "()", digest, 64, 0}};
    make(members, 4, ZIP_CM_DEFLATE);
    check_read(100, digest);
}

static void rounds_to_symmetric(void **state) {
    (void)state;
    float narrow[] = {2, 0.5f + 0x1p-22f, 0.5f - 0x1p-22f, 1};
    struct member members[] = {MU, {"sigma.npy", "<f4", "(2, 2)", narrow, sizeof narrow, 0}};
    make(members, 2, ZIP_CM_STORE);
    check_read(0, "");
}

/* What is written: two files of the same statistics are the same bytes, and each member is the .npy file the
 * specification asks for. */
static void writes(void **state) {
    (void)state;
    struct member members[] = {
        MU, SIGMA, {"count.npy", "<i8", "()", &count, sizeof count, 0}, {"network.npy", "|S64", "()", digest, 64, 0}};
    struct statistics statistics = {.dim = 2, .mu = (double *)mu, .sigma = (double *)sigma, .count = 100};
    memcpy(statistics.network, digest, sizeof digest);
    struct error err;
    char *first, *second;
    size_t first_size, second_size;
    assert_int_equal(statistics_write(&statistics, NULL, NULL, path, &err), 0);
    check_read(100, digest);
    assert_int_equal(file_read(path, &first, &first_size, &err), 0);
    int code;
    zip_t *zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    assert_non_null(zip);
    assert_int_equal(zip_get_num_entries(zip, 0), 4);
    for (size_t i = 0; i < 4; i++) {
        size_t size;
        char *expected = npy_file(&members[i], &size), found[400];
        zip_file_t *file = zip_fopen(zip, members[i].name, 0);
        assert_non_null(file);
        assert_int_equal(zip_fread(file, found, sizeof found), size);
        zip_stat_t stat;
        assert_int_equal(zip_stat(zip, members[i].name, 0, &stat), 0);
        assert_int_equal(stat.comp_method, ZIP_CM_STORE);
        assert_int_equal(localtime(&stat.mtime)->tm_year, 80);
        assert_memory_equal(found, expected, size);
        zip_fclose(file);
        free(expected);
    }
    zip_discard(zip);
    assert_int_equal(statistics_write(&statistics, NULL, NULL, path, &err), 0);
    assert_int_equal(file_read(path, &second, &second_size, &err), 0);
    assert_int_equal(second_size, first_size);
    assert_memory_equal(second, first, first_size);
    free(first);
    free(second);
    statistics.count = 0;
    statistics.network[0] = '\0';
    assert_int_equal(statistics_write(&statistics, NULL, NULL, path, &err), 0);
    check_read(0, "");
    assert_int_equal(statistics_write(&statistics, NULL, NULL, "/no/such/folder/a.npz", &err), -1);
    assert_int_equal(err.code, CODE_IO);
}

static void check_refused(enum code code, const char *words) {
    struct statistics statistics;
    struct error err = {0};
    assert_int_equal(statistics_read(&statistics, path, "", &err), -1);
    if (!strstr(err.message, words)) fail_msg("expected \"%s\" in: %s", words, err.message);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(err.code, code);
    assert_null(statistics.mu);
}

static void refuses_members(void **state) {
    (void)state;
    static const double nan_mu[2] = {0, NAN}, skewed[4] = {2, 0.5, 0.4, 1}, negative[4] = {2, 0, 0, -1};
    static const int64_t one = 1;
    struct {
        struct member members[3];
        const char *words;
    } cases[] = {
        {{MU, {"other.npy", "<f8", "(2, 2)", sigma, 32, 0}}, "an array named `sigma`"},
        {{{"mu", "<f8", "(2,)", mu, 16, 0}, SIGMA}, "an array named `mu`"},
        {{{"mu.npy", "<i8", "(2,)", mu, 16, 0}, SIGMA}, "mu: expected float64 or float32"},
        {{{"mu.npy", "<f8", "(1, 2)", mu, 16, 0}, SIGMA}, "mu: expected a shape [D]"},
        {{{"mu.npy", "<f8", "(0,)", NULL, 0, 0}, SIGMA}, "mu: expected a shape [D]"},
        {{{"mu.npy", "<f8", "()", mu, 8, 0}, SIGMA}, "mu: expected a shape [D]"},
        {{MU, {"sigma.npy", "<f8", "(4,)", sigma, 32, 0}}, "sigma: expected a shape [D, D]"},
        {{MU, {"sigma.npy", "<f8", "(2, 1)", sigma, 16, 0}}, "sigma: expected a shape [D, D]"},
        {{MU, {"sigma.npy", "<f8", "(1, 1)", sigma, 8, 0}}, "sigma: expected a shape [D, D]"},
        {{MU, {"sigma.npy", "<f8", "(2, 2)", sigma, 24, 0}}, "announces 32 bytes"},
        {{MU, {"sigma.npy", "<f8", "(2, 2)", skewed, 32, 0}}, "not symmetric: [1, 0] is 0.4, [0, 1] is 0.5"},
        {{MU, {"sigma.npy", "<f8", "(2, 2)", negative, 32, 0}}, "sigma[1, 1]: expected a variance, found -1"},
        {{{"mu.npy", "<f8", "(2,)", nan_mu, 16, 0}, SIGMA}, "mu: element 1: expected a finite number, found nan"},
        {{MU, SIGMA, {"count.npy", "<i8", "()", &one, 8, 0}}, "count: expected one int64, at least 2"},
        {{MU, SIGMA, {"count.npy", "<f8", "()", mu, 8, 0}}, "count: expected one int64"},
        {{MU, SIGMA, {"network.npy", "|S10", "()", digest, 10, 0}}, "network: expected the 64 hex digits"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(cases[i].members, cases[i].members[2].name ? 3 : 2, ZIP_CM_STORE);
        check_refused(CODE_DATA, cases[i].words);
    }
}

static void refuses_damage(void **state) {
    (void)state;
    struct member members[] = {MU, SIGMA};
    struct error err;
    char *file;
    size_t size;
    make(members, 2, ZIP_CM_STORE);
    assert_int_equal(file_read(path, &file, &size, &err), 0);
    assert_int_equal(file_write_atomic(path, file, size - 10, &err), 0);
    check_refused(CODE_DATA, "cannot open");
    assert_int_equal(file_write_atomic(path, "hello", 5, &err), 0);
    check_refused(CODE_DATA, "cannot open");
    char *number = memmem(file, size, sigma, sizeof sigma); /* stored: the elements are there in plain sight */
    assert_non_null(number);
    number[6] ^= 1;
    assert_int_equal(file_write_atomic(path, file, size, &err), 0);
    check_refused(CODE_DATA, "sigma.npy: the archive is damaged");
    free(file);
    assert_int_equal(unlink(path), 0);
    check_refused(CODE_IO, "No such file");
}

static void from_moments(void **state) {
    (void)state;
    struct moments moments;
    struct statistics statistics;
    struct error err;
    float rows[] = {1, 2, 3, 6, 5, 1};
    assert_int_equal(moments_init(&moments, 2, &err), 0);
    assert_int_equal(moments_add(&moments, rows, 1, &err), 0);
    assert_int_equal(statistics_from_moments(&statistics, &moments, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "at least 2 samples, found 1"));
    assert_int_equal(moments_add(&moments, rows + 2, 2, &err), 0);
    assert_int_equal(statistics_from_moments(&statistics, &moments, &err), 0);
    double covariance[] = {4, -1, -1, 7}; /* by hand: sums of squares 8 and 14, of products -2, over 2 */
    assert_int_equal(statistics.count, 3);
    assert_true(statistics.mu[0] == 3 && statistics.mu[1] == 3);
    for (int i = 0; i < 4; i++) assert_true(fabs(statistics.sigma[i] - covariance[i]) < 1e-14);
    statistics_release(&statistics);
    moments_release(&moments);
}

static int set_up(void **state) {
    (void)state;
    return scratch_make("reference.npz");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_numpy),  cmocka_unit_test(reads_stored_and_deflated),
        cmocka_unit_test(reads_origin), cmocka_unit_test(rounds_to_symmetric),
        cmocka_unit_test(writes),       cmocka_unit_test(refuses_members),
        cmocka_unit_test(from_moments), cmocka_unit_test(refuses_damage),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_remove);
}
