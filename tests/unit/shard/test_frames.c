/* The shard file's bytes: taken apart here by the format's description (zstd's RFC 8878 and its seekable format), not
 * by our reader; and our reader against lies. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/draft.h"
#include "base/text.h"
#include "shard/frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

static const struct npy shapes[] = {
    {NPY_UINT8, 1, 4, {1, 4, 4, 3}},   {NPY_UINT8, 1, 4, {64, 4, 4, 1}}, {NPY_UINT8, 1, 4, {65, 4, 4, 1}},
    {NPY_UINT8, 1, 4, {200, 8, 8, 3}}, {NPY_FLOAT32, 4, 2, {130, 17}},   {NPY_FLOAT32, 4, 4, {70, 3, 4, 4}},
    {NPY_UINT8, 1, 2, {60, 300000}},   {NPY_UINT8, 1, 2, {2, 17 << 20}}, {NPY_FLOAT64, 8, 1, {100}},
    {NPY_FLOAT32, 4, 2, {0, 5}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Bytes that compress somewhat; the same in every run. */
static char *make_rows(const struct npy *npy) {
    size_t bytes = npy_bytes(npy);
    char *rows = malloc(bytes ? bytes : 1);
    uint64_t x = 88172645463325252u;
    assert_non_null(rows);
    for (size_t i = 0; i < bytes; i++) {
        if (i < 20000 || i % 64 == 0) { /* xorshift; huge arrays are mostly runs, to be quick */
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        rows[i] = (char)(x >> 60);
    }
    return rows;
}

static void encode(const struct npy *npy, const char *rows, char **file, size_t *size) {
    struct error err;
    json_t *about = json_pack("{ss si}", "name", "value", "a", 1);
    assert_non_null(about);
    if (frames_encode(npy, rows, about, 1, file, size, &err) != 0) fail_msg("%s", err.message);
    assert_int_equal(json_object_size(about), 2);
    json_decref(about);
}

/* Everything that `zstd -d` gives: all frames, skippable ones included, through the streaming decoder. */
static char *decompress(const char *file, size_t size, size_t expected) {
    char *out = malloc(expected + 1);
    ZSTD_DStream *stream = ZSTD_createDStream();
    assert_true(out && stream);
    ZSTD_inBuffer in = {file, size, 0};
    ZSTD_outBuffer to = {out, expected + 1, 0};
    while (in.pos < in.size) assert_false(ZSTD_isError(ZSTD_decompressStream(stream, &to, &in)));
    assert_int_equal(to.pos, expected);
    ZSTD_freeDStream(stream);
    return out;
}

static void plain_zstd_gives_the_npy(void **state) {
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        char *rows = make_rows(&shapes[i]), *file, header[NPY_HEADER], digest[SHA256_HEX], expected[SHA256_HEX];
        size_t size, bytes = npy_bytes(&shapes[i]);
        struct error err;
        encode(&shapes[i], rows, &file, &size);
        char *stream = decompress(file, size, NPY_HEADER + bytes);
        npy_header(&shapes[i], header);
        assert_memory_equal(stream, header, NPY_HEADER);
        assert_memory_equal(stream + NPY_HEADER, rows, bytes);
        sha256_bytes(stream, NPY_HEADER + bytes, expected);
        assert_int_equal(frames_digest(&shapes[i], rows, digest, &err), 0);
        assert_string_equal(digest, expected);
        free(stream);
        free(file);
        free(rows);
    }
}

static uint32_t le32(const char *at) {
    uint32_t value = 0;
    for (int i = 3; i >= 0; i--) value = value << 8 | (unsigned char)at[i];
    return value;
}

/* Seek table, frame borders, content sizes, checksums and our JSON, by the numbers of the format's description. */
static void layout_is_as_described(void **state) {
    (void)state;
    static const size_t rows_in_frame[SHAPES] = {64, 64, 64, 64, 64, 64, 55, 1, 64, 64};
    for (size_t i = 0; i < SHAPES; i++) {
        char *rows = make_rows(&shapes[i]), *file;
        size_t size, bytes = npy_bytes(&shapes[i]), step = rows_in_frame[i] * npy_row_bytes(&shapes[i]);
        encode(&shapes[i], rows, &file, &size);
        assert_int_equal(le32(file + size - 4), 0x8F92EAB1);
        assert_int_equal(file[size - 5], 0);
        size_t entries = le32(file + size - 9), at = 0;
        const char *entry = file + size - 9 - 8 * entries, *table = entry - 8;
        assert_int_equal(entries, 1 + (bytes + step - 1) / step + 1);
        assert_int_equal(le32(table), 0x184D2A5E);
        assert_int_equal(le32(table + 4), 8 * entries + 9);
        for (size_t frame = 0; frame < entries; frame++, entry += 8) {
            size_t packed = le32(entry), raw = le32(entry + 4);
            if (frame + 1 == entries) {
                assert_int_equal(raw, 0);
                assert_int_equal(le32(file + at), 0x184D2A57);
                assert_int_equal(le32(file + at + 4), packed - 8);
                json_t *json = json_loadb(file + at + 8, packed - 8, 0, NULL);
                assert_int_equal(json_integer_value(json_object_get(json, "a")), 1);
                assert_string_equal(json_string_value(json_object_get(json, "name")), "value");
                assert_int_equal(strlen(json_string_value(json_object_get(json, "check"))), 64);
                json_decref(json);
            } else {
                size_t done = (frame - 1) * step;
                assert_int_equal(raw, frame == 0 ? 128 : bytes - done < step ? bytes - done : step);
                assert_true(raw <= 16 << 20 || rows_in_frame[i] == 1);
                assert_int_equal(le32(file + at), 0xFD2FB528);
                assert_true(file[at + 4] & 4); /* Content_Checksum_flag */
                assert_int_equal(ZSTD_getFrameContentSize(file + at, packed), raw);
                assert_int_equal(ZSTD_findFrameCompressedSize(file + at, packed), packed);
            }
            at += packed;
        }
        assert_ptr_equal(file + at, table);
        free(file);
        free(rows);
    }
}

static void decoding_gives_back(void **state) {
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        char *rows = make_rows(&shapes[i]), *file, *again;
        void *found;
        size_t size, size_again;
        struct npy npy;
        struct error err;
        json_t *about;
        encode(&shapes[i], rows, &file, &size);
        encode(&shapes[i], rows, &again, &size_again);
        assert_int_equal(size, size_again);
        assert_memory_equal(file, again, size);
        if (frames_decode(file, size, &npy, &found, &about, &err) != 0) fail_msg("%s", err.message);
        assert_memory_equal(&npy, &shapes[i], sizeof npy);
        assert_memory_equal(found, rows, npy_bytes(&npy));
        assert_string_equal(json_string_value(json_object_get(about, "name")), "value");
        json_decref(about);
        free(found);
        free(again);
        free(file);
        free(rows);
    }
}

/* The JSON must be byte for byte as written: not even its members may change places. */
static void json_is_canonical(void **state) {
    (void)state;
    char *rows = make_rows(&shapes[0]), *file, member[] = "\"a\":1,";
    size_t size, length = strlen(member);
    struct npy npy;
    struct error err;
    void *found;
    json_t *about;
    encode(&shapes[0], rows, &file, &size);
    char *first = memmem(file, size, member, length), *end = memmem(file, size, "\"value\"}", 8);
    assert_true(first && end);
    end += strlen("\"value\"");
    memmove(first, first + length, (size_t)(end - first) - length);
    memcpy(end - length, ",\"a\":1", length);
    assert_int_equal(frames_decode(file, size, &npy, &found, &about, &err), -1);
    assert_non_null(strstr(err.message, "JSON"));
    free(file);
    free(rows);
}

static void rows_are_picked(void **state) {
    (void)state;
    char folder[] = "/tmp/test_frames_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = text_new("%s/x", folder), *file, *rows = make_rows(&shapes[3]);
    size_t size, row = npy_row_bytes(&shapes[3]), all = shapes[3].shape[0];
    struct npy npy;
    struct error err;
    void *found;
    encode(&shapes[3], rows, &file, &size);
    assert_int_equal(file_write_atomic(path, file, size, &err), 0);
    for (size_t first = 0; first < all; first += 7)
        for (size_t count = 1; count <= all - first; count += 13) {
            assert_int_equal(frames_read_rows(path, first, count, &npy, &found, &err), 0);
            assert_int_equal(npy.shape[0], count);
            assert_int_equal(npy.shape[1], shapes[3].shape[1]);
            assert_memory_equal(found, rows + first * row, count * row);
            free(found);
        }
    const uint64_t nowhere[][2] = {{0, 0}, {0, 201}, {200, 1}, {199, 2}, {UINT64_MAX, 1}, {1, UINT64_MAX}};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        assert_int_equal(frames_read_rows(path, nowhere[i][0], nowhere[i][1], &npy, &found, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        assert_non_null(strstr(err.message, "it has 200 rows"));
    }
    /* Only what is needed is read: damage in the last frame of rows is noticed by whoever wants it. */
    size_t packed = 0;
    const char *entry = file + size - 9 - 8 * le32(file + size - 9);
    for (int frame = 0; frame < 4; frame++) packed += le32(entry + 8 * frame);
    file[packed + 30] ^= 1;
    assert_int_equal(file_write_atomic(path, file, size, &err), 0);
    assert_int_equal(frames_read_rows(path, 64, 128, &npy, &found, &err), 0);
    free(found);
    assert_int_equal(frames_read_rows(path, 64, 129, &npy, &found, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    for (size_t cut = 0; cut < size; cut += 11) {
        assert_int_equal(truncate(path, (off_t)(size - 1 - cut)), 0);
        assert_int_equal(frames_read_rows(path, 0, 1, &npy, &found, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        assert_non_null(strstr(err.message, path));
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(frames_read_rows(path, 0, 1, &npy, &found, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    assert_int_equal(rmdir(folder), 0);
    free(file);
    free(rows);
    free(path);
}

static void put(struct text *file, uint32_t value) {
    text_add(file, "%c%c%c%c", value & 255, value >> 8 & 255, value >> 16 & 255, value >> 24);
}

/* A file whose header announces `npy`, and whose `frames` entries claim `raw` bytes each, with one small frame. */
static int decode_bomb(const struct npy *npy, uint32_t frames, uint32_t raw, struct error *err) {
    char header[NPY_HEADER], packed[2][256];
    size_t sizes[2];
    npy_header(npy, header);
    sizes[0] = ZSTD_compress(packed[0], sizeof packed[0], header, NPY_HEADER, 1);
    sizes[1] = ZSTD_compress(packed[1], sizeof packed[1], header, NPY_HEADER, 1);
    size_t size = sizes[0] + frames * sizes[1] + 8 + 8 + 8 * ((size_t)frames + 2) + 9;
    struct text table = {0};
    put(&table, 0x184D2A57);
    put(&table, 0);
    put(&table, 0x184D2A5E);
    put(&table, 8 * (frames + 2) + 9);
    for (uint32_t i = 0; i < frames + 2; i++) {
        put(&table, i > frames ? 8 : (uint32_t)sizes[i > 0]);
        put(&table, i > frames ? 0 : i > 0 ? raw : NPY_HEADER);
    }
    put(&table, frames + 2);
    text_add(&table, "%c", 0);
    put(&table, 0x8F92EAB1);
    char *file = malloc(size), *at = file;
    assert_non_null(file);
    memcpy(at, packed[0], sizes[0]);
    at += sizes[0];
    for (uint32_t i = 0; i < frames; i++, at += sizes[1]) memcpy(at, packed[1], sizes[1]);
    assert_int_equal(size, (size_t)(at - file) + table.length);
    memcpy(at, table.data, table.length);
    text_release(&table);
    struct npy found;
    void *rows;
    json_t *about;
    int rc = frames_decode(file, size, &found, &rows, &about, err);
    assert_null(rows);
    free(file);
    return rc;
}

static void bombs_are_refused(void **state) {
    (void)state;
    const struct {
        struct npy npy;
        uint32_t frames, raw;
        const char *message;
    } cases[] = {
        {{NPY_UINT8, 1, 2, {(size_t)1 << 40, 8}}, 1, 512, "do not hold what"},     /* more than the table lists */
        {{NPY_UINT8, 1, 2, {1000, 16 << 20}}, 1000, 16 << 20, "do not hold what"}, /* more than zstd can hold */
        {{NPY_UINT8, 1, 2, {2, (size_t)1 << 33}}, 2, 0, "announces no rows"},      /* no entry can hold a row */
        {{NPY_UINT8, 1, 2, {2, 0}}, 2, 0, "announces no rows"},
        {{NPY_UINT8, 1, 0, {0}}, 1, 1, "announces"},
        {{NPY_UINT8, 1, 2, {2, (size_t)1 << 60}}, 2, 0, "fits memory"},
        {{NPY_UINT8, 1, 2, {64, 4}}, 1, 256, "shorter than"}, /* plausible, but 128 bytes */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        assert_int_equal(decode_bomb(&cases[i].npy, cases[i].frames, cases[i].raw, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, cases[i].message)) fail_msg("%zu: %s", i, err.message);
    }
}

static void what_cannot_be_stored(void **state) {
    (void)state;
    const struct npy none[] = {
        {NPY_UINT8, 1, 0, {0}}, {NPY_UINT8, 1, 2, {3, 0}}, {NPY_UINT8, 1, 2, {0, (size_t)1 << 32}}};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char *file;
        size_t size;
        struct error err;
        json_t *about = json_object();
        assert_int_equal(frames_encode(&none[i], "", about, 1, &file, &size, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        json_decref(about);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_zstd_gives_the_npy), cmocka_unit_test(layout_is_as_described),
        cmocka_unit_test(decoding_gives_back),      cmocka_unit_test(json_is_canonical),
        cmocka_unit_test(rows_are_picked),          cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(what_cannot_be_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
