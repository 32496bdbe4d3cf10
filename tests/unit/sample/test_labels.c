/* Label files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "sample/labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/test_labels_XXXXXX";
static char *path;

static int path_new(void **state) {
    (void)state;
    path = mkdtemp(folder) ? text_new("%s/labels", folder) : NULL;
    return path ? 0 : -1;
}

static int path_remove(void **state) {
    (void)state;
    int rc = unlink(path) || rmdir(folder);
    free(path);
    return rc;
}

static void write_file(const void *data, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A .npy as numpy writes it, version 1.0: [count] of type descr, `size` bytes of data. */
static void write_npy(const char *descr, size_t count, const void *data, size_t size) {
    char bytes[128 + 64] = "\x93NUMPY\x01";
    bytes[8] = 118;
    int used = snprintf(bytes + 10, 118, "{'descr': '%s', 'fortran_order': False, 'shape': (%zu,), }", descr, count);
    memset(bytes + 10 + used, ' ', 117 - (size_t)used);
    bytes[127] = '\n';
    memcpy(bytes + 128, data, size);
    write_file(bytes, 128 + size);
}

static void labels_are_read(void **state) {
    (void)state;
    const int64_t expected[] = {3, 0, 9, 1};
    static const char *const texts[] = {"3\n0\n9\n1\n", "3\n0\n9\n1", "3\r\n0\r\n9\r\n1\r\n", NULL};
    for (int i = 0; i < 4; i++) {
        struct error err;
        int64_t *labels;
        if (texts[i]) write_file(texts[i], strlen(texts[i]));
        else write_npy("<i8", 4, expected, sizeof expected);
        if (labels_read(&labels, path, NULL, 4, 10, &err) != 0) fail_msg("%s", err.message);
        assert_memory_equal(labels, expected, sizeof expected);
        free(labels);
    }
}

static void wrong(const char *expected, uint64_t count, int64_t classes) {
    int64_t *labels;
    struct error err;
    assert_int_equal(labels_read(&labels, path, NULL, count, classes, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_null(labels);
    if (!strstr(err.message, expected) || !strstr(err.message, path)) fail_msg("%s, not %s", err.message, expected);
}

static void mistakes_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"3\n0\n", "expected one number a seed, 3 in all, found 2"},
        {"3\n0\n1\n2\n", "3 in all, found 4"},
        {"", "3 in all, found 0"},
        {"3\n\n1\n", "labels:2: expected one whole number a line, found \"\""},
        {"3\n1.5\n1\n", "labels:2: expected one whole number a line, found \"1.5\""},
        {"3 0 1\n", "labels:1: expected one whole number a line, found \"3 0 1\""},
        {"3\n10\n1\n", "expected numbers from 0 to 9, found 10 for sample 1"},
        {"3\n0\n-1\n", "expected numbers from 0 to 9, found -1 for sample 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(cases[i].text, strlen(cases[i].text));
        wrong(cases[i].expected, 3, 10);
    }
    write_file("3\n0\n1\0002", 7);
    wrong("expected one whole number a line, found a zero byte", 3, 10);
    wrong("expected a model with classes", 3, 0);
    const int64_t whole[] = {3, 0, 12};
    const float real[] = {3, 0, 1};
    write_npy("<f4", 3, real, sizeof real);
    wrong("expected an int64 array [N]", 3, 10);
    write_npy("<i8", 3, whole, sizeof whole);
    wrong("found 12 for sample 2", 3, 10);
    wrong("4 in all, found 3", 4, 10);
    write_npy("<i8", 3, whole, 16);
    wrong("", 3, 20); /* cut short */
    struct error err;
    int64_t *labels;
    assert_int_equal(labels_read(&labels, "no/such/file", NULL, 3, 10, &err), -1);
    assert_int_equal(err.code, CODE_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_read),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, path_new, path_remove);
}
