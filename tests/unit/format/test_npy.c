/* .npy headers and files against the bytes numpy writes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/npy.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What numpy.save writes for arrays of these types and shapes, behind the magic and without the padding. */
static const struct {
    const char *text;
    struct npy npy;
    size_t bytes, row_bytes;
} arrays[] = {
    {"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), }", {NPY_UINT8, 1, 2, {3, 4}}, 12, 4},
    {"{'descr': '<f2', 'fortran_order': False, 'shape': (5,), }", {NPY_FLOAT16, 2, 1, {5}}, 10, 2},
    {"{'descr': '<f8', 'fortran_order': False, 'shape': (), }", {NPY_FLOAT64, 8, 0, {0}}, 8, 8},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 4, 5), }", {NPY_FLOAT32, 4, 4, {2, 3, 4, 5}}, 480, 240},
    {"{'descr': '<i8', 'fortran_order': False, 'shape': (0, 7), }", {NPY_INT64, 8, 2, {0, 7}}, 0, 56},
    {"{'descr': '|S64', 'fortran_order': False, 'shape': (2,), }", {NPY_BYTES, 64, 1, {2}}, 128, 64},
};
enum { ARRAYS = sizeof arrays / sizeof *arrays };

/* A header by the format's description: magic, version, length (2 or 4 bytes), text, blanks, newline. */
static size_t build(char *out, int version, const char *text, size_t total) {
    size_t start = version == 1 ? 10 : 12, length = total - start;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (char)version;
    out[7] = 0;
    for (size_t i = 8; i < start; i++) out[i] = (char)(length >> 8 * (i - 8));
    memset(out + start, ' ', length);
    memcpy(out + start, text, strlen(text));
    out[total - 1] = '\n';
    return total;
}

static void assert_npy(const struct npy *found, const struct npy *expected) {
    assert_int_equal(found->type, expected->type);
    assert_int_equal(found->item, expected->item);
    assert_int_equal(found->rank, expected->rank);
    for (int i = 0; i < expected->rank; i++) assert_int_equal(found->shape[i], expected->shape[i]);
}

static void headers_are_numpys(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAYS; i++) {
        char expected[NPY_HEADER], found[NPY_HEADER];
        build(expected, 1, arrays[i].text, NPY_HEADER);
        npy_header(&arrays[i].npy, found);
        assert_memory_equal(found, expected, NPY_HEADER);
        assert_int_equal(npy_bytes(&arrays[i].npy), arrays[i].bytes);
        assert_int_equal(npy_row_bytes(&arrays[i].npy), arrays[i].row_bytes);
    }
}

static void headers_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAYS; i++)
        for (int version = 1; version <= 2; version++) {
            static char bytes[70080]; /* version 2 exists for headers beyond 65535 bytes */
            struct npy npy;
            struct error err;
            size_t offset, total = build(bytes, version, arrays[i].text, version == 1 ? 128 : 70016);
            assert_int_equal(npy_parse(&npy, &offset, bytes, sizeof bytes, "x.npy", &err), 0);
            assert_int_equal(offset, total);
            assert_npy(&npy, &arrays[i].npy);
        }
}

static void headers_in_other_dress_are_read(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4'}",
        "{\"fortran_order\" : False , \"shape\" : ( 2 , 3 , ) , \"descr\" : \"<f4\"}",
        "{'descr':'<f4','fortran_order':False,'shape':(2,3)}",
        "{'descr':\t'<f4',\n 'fortran_order':\tFalse,\r\n 'shape': (\t2,\n3)}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char bytes[256];
        struct npy npy;
        struct error err;
        size_t offset, total = build(bytes, 1, texts[i], 200);
        assert_int_equal(npy_parse(&npy, &offset, bytes, total, "x.npy", &err), 0);
        assert_npy(&npy, &(struct npy){NPY_FLOAT32, 4, 2, {2, 3}});
    }
}

#define F4(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape ", }"

static void bad_headers_are_named(void **state) {
    (void)state;
    static const struct {
        int version;
        const char *text, *message;
    } cases[] = {
        {3, F4("(2,)"), "version 1 or 2"},
        {1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", "found >f4"},
        {1, "{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", "found <c8"},
        {1, "{'descr': '|S0', 'fortran_order': False, 'shape': (2,), }", "found |S0"},
        {1, "{'descr': '|S-1', 'fortran_order': False, 'shape': (2,), }", "found |S-1"},
        {1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "no simple descr"},
        {1, "{'fortran_order': False, 'shape': (2,), }", "no simple descr"},
        {1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", "C order"},
        {1, "{'descr': '<f4', 'shape': (2,), }", "C order"},
        {1, "{'descr': '<f4', 'fortran_order': False, }", "no shape"},
        {1, F4("2"), "no shape"},
        {1, F4("(1, 2, 3, 4, 5)"), "at most 4 dimensions, found shape (1, 2, 3, 4, 5)"},
        {1, F4("(2, -3)"), "found shape (2, -3)"},
        {1, F4("(2 3)"), "found shape (2 3)"},
        {1, F4("(2,,3)"), "found shape (2,,3)"},
        {1, F4("(,)"), "found shape (,)"},
        {1, F4("(2, x)"), "found shape (2, x)"},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", "whole numbers"},
        {1, F4("(18446744073709551616,)"), "fits memory"}, /* 2^64 */
        {1, F4("(4611686018427387904,)"), "fits memory"},  /* 2^62: 4 bytes each wrap to 0 */
        {1, F4("(4294967296, 4294967296)"), "fits memory"},
        {1, F4("(0, 4294967296, 4294967296)"), "fits memory"}, /* a row would wrap */
        {1, "", "no simple descr"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bytes[256];
        struct npy npy;
        struct error err;
        size_t offset, total = build(bytes, cases[i].version, cases[i].text, 192);
        assert_int_equal(npy_parse(&npy, &offset, bytes, total, "x.npy", &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, cases[i].message) || strncmp(err.message, "x.npy: ", 7) != 0)
            fail_msg("%s: expected \"%s\" in: %s", cases[i].text, cases[i].message, err.message);
    }
}

/* Whatever a header says, it is refused or its size is one that memory could have. */
static void mangled_headers_stay_bounded(void **state) {
    (void)state;
    char whole[NPY_HEADER];
    npy_header(&(struct npy){NPY_FLOAT32, 4, 4, {987654321, 3, 16, 16}}, whole);
    for (size_t size = 0; size < NPY_HEADER; size++) { /* exact memory, so that reading on would be seen */
        char *cut = malloc(size ? size : 1);
        struct npy npy;
        struct error err;
        size_t offset;
        assert_non_null(cut);
        memcpy(cut, whole, size);
        assert_int_equal(npy_parse(&npy, &offset, cut, size, "x.npy", &err), -1);
        free(cut);
    }
    for (size_t i = 0; i < NPY_HEADER; i++)
        for (int value = 0; value < 256; value++) {
            char bytes[NPY_HEADER];
            struct npy npy;
            struct error err;
            size_t offset;
            memcpy(bytes, whole, NPY_HEADER);
            bytes[i] = (char)value;
            if (npy_parse(&npy, &offset, bytes, NPY_HEADER, "x.npy", &err) != 0) continue;
            assert_true(offset <= NPY_HEADER && npy.rank <= 4);
            assert_true(npy_bytes(&npy) <= (size_t)1 << 60);
        }
}

static void files_make_the_round_trip(void **state) {
    (void)state;
    char folder[] = "/tmp/test_npy_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = text_new("%s/x.npy", folder), *data;
    const double values[6] = {1, -2, 3.5, 0, 1e300, -0.0};
    const struct npy npy = {NPY_FLOAT64, 8, 2, {2, 3}};
    struct npy found;
    struct error err;
    size_t offset;
    assert_int_equal(npy_write(&npy, values, path, &err), 0);
    assert_int_equal(npy_read(&found, &data, &offset, path, &err), 0);
    assert_npy(&found, &npy);
    assert_memory_equal(data + offset, values, sizeof values);
    free(data);
    for (int change = -1; change <= 1; change += 2) { /* a byte too few, then one too many */
        assert_int_equal(truncate(path, NPY_HEADER + (off_t)sizeof values + change), 0);
        assert_int_equal(npy_read(&found, &data, &offset, path, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        assert_non_null(strstr(err.message, change < 0 ? "expected 48 bytes of elements, found 47" : "found 49"));
        assert_null(data);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(npy_read(&found, &data, &offset, path, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    assert_int_equal(rmdir(folder), 0);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_numpys),
        cmocka_unit_test(headers_are_read),
        cmocka_unit_test(headers_in_other_dress_are_read),
        cmocka_unit_test(bad_headers_are_named),
        cmocka_unit_test(mangled_headers_stay_bounded),
        cmocka_unit_test(files_make_the_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
