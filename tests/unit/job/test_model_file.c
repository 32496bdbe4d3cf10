/* Model files: whole or damaged, and what those are that are none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/draft.h"
#include "base/files.h"
#include "job/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/test_model_file-XXXXXX";
static char path[200];
static const char weights[] = "the weights, which are stored and not deflated, as torch does";

static void write_bytes(const char *bytes, size_t size) {
    struct error err;
    if (file_write_atomic(path, bytes, size, &err) != 0) fail_msg("%s", err.message);
}

/* Stored members; NULL ends the list. */
static void write_zip(const char *const *names) {
    unlink(path);
    zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(archive);
    for (; *names; names++) {
        zip_int64_t index = zip_file_add(archive, *names, zip_source_buffer(archive, weights, sizeof weights - 1, 0),
                                         0);
        assert_true(index >= 0);
        assert_int_equal(zip_set_file_compression(archive, (zip_uint64_t)index, ZIP_CM_STORE, 0), 0);
    }
    assert_int_equal(zip_close(archive), 0);
}

/* Changes a byte of every place where the file has these bytes; how many there were. */
static int flip(const void *bytes, size_t size, size_t at, int value) {
    char *data;
    size_t length;
    struct error err;
    int found = 0;
    assert_int_equal(file_read(path, &data, &length, &err), 0);
    for (size_t i = 0; i + size <= length; i++)
        if (memcmp(data + i, bytes, size) == 0) {
            found++;
            data[i + at] = (char)(value < 0 ? data[i + at] ^ 0x10 : value);
        }
    write_bytes(data, length);
    free(data);
    return found;
}

static const char *const torchscript[] = {"m/data.pkl", "m/code/m.py", "m/constants.pkl", "m/data/0", NULL};

static void a_flipped_bit_is_found(void **state) {
    (void)state;
    char sha256[SHA256_HEX];
    struct mapping *file;
    struct error err;
    write_zip(torchscript);
    if (model_file_digest(path, sha256, &err) != 0) fail_msg("%s", err.message);
    assert_int_equal(model_file_open(&file, path, sha256, &err), 0);
    mapping_close(file);
    assert_int_equal(flip(weights, sizeof weights - 1, 7, -1), 4);
    assert_int_equal(model_file_digest(path, sha256, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "is damaged: its member m/data.pkl"));
    assert_non_null(strstr(err.message, path));
}

/* torch.serialization.set_crc32_options(False) stores checksums of 0. */
static void a_checksum_that_was_not_computed_is_passed_over(void **state) {
    (void)state;
    char sha256[SHA256_HEX], *data;
    size_t size;
    struct error err;
    zip_stat_t info;
    write_zip(torchscript);
    zip_t *archive = zip_open(path, ZIP_RDONLY, NULL);
    assert_int_equal(zip_stat_index(archive, 0, 0, &info), 0);
    zip_discard(archive);
    unsigned char crc[4] = {(unsigned char)info.crc, (unsigned char)(info.crc >> 8), (unsigned char)(info.crc >> 16),
                            (unsigned char)(info.crc >> 24)};
    assert_int_equal(file_read(path, &data, &size, &err), 0);
    int found = 0;
    for (size_t i = 0; i + 4 <= size; i++)
        if (memcmp(data + i, crc, 4) == 0) found += (memset(data + i, 0, 4), 1);
    write_bytes(data, size);
    free(data);
    assert_int_equal(found, 8); /* local and central */
    if (model_file_digest(path, sha256, &err) != 0) fail_msg("%s", err.message);
}

static void another_file_is_refused(void **state) {
    (void)state;
    char sha256[SHA256_HEX], host[256];
    struct mapping *file;
    struct error err;
    write_zip(torchscript);
    assert_int_equal(model_file_digest(path, sha256, &err), 0);
    sha256[0] = sha256[0] == '0' ? '1' : '0';
    assert_int_equal(model_file_open(&file, path, sha256, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    gethostname(host, sizeof host);
    sha256[12] = '\0';
    assert_true(strstr(err.message, path) && strstr(err.message, host) && strstr(err.message, sha256));
    assert_int_equal(model_file_open(&file, path, NULL, &err), -1);
}

static void other_files_are_called_what_they_are(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } files[] = {
        {"", 0, "an empty file"},
        {"\x80\x02}q", 4, "a pickle"},
        {"\x40\0\0\0\0\0\0\0{\"__metadata__\"", 24, "safetensors"},
        {"\x89HDF\r\n\x1a\n", 8, "HDF5"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull"},
        {"<!DOCTYPE html>", 15, "a web page"},
        {"hello there", 11, "a text"},
    };
    static const struct {
        const char *names[4];
        const char *words;
    } archives[] = {
        {{"m/data.pkl", "m/data/0", "m/version", NULL}, "a state dict"},
        {{"m/models/model.json", "m/archive_format", "m/data/0", NULL}, ".pt2"},
        {{"serialized_exported_program.json", "version", NULL}, ".pt2"},
        {{"arr_0.npy", NULL}, ".npz"},
    };
    char sha256[SHA256_HEX];
    struct error err;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_bytes(files[i].bytes, files[i].size);
        assert_int_equal(model_file_digest(path, sha256, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, files[i].words)) fail_msg("expected \"%s\" in: %s", files[i].words, err.message);
    }
    for (size_t i = 0; i < sizeof archives / sizeof *archives; i++) {
        write_zip(archives[i].names);
        assert_int_equal(model_file_digest(path, sha256, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, archives[i].words)) fail_msg("expected \"%s\" in: %s", archives[i].words, err.message);
    }
    static const char *package[] = {"m/data/aotinductor/model/a.wrapper.so", "m/archive_format",
                                    "m/data/aotinductor/model/a.wrapper_metadata.json", NULL};
    write_zip(package);
    assert_int_equal(model_file_digest(path, sha256, &err), 0);
    write_bytes("\n {\"card\": {}}", 14); /* a model of the fake shim */
    assert_int_equal(model_file_digest(path, sha256, &err), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_is_found),
        cmocka_unit_test(a_checksum_that_was_not_computed_is_passed_over),
        cmocka_unit_test(another_file_is_refused),
        cmocka_unit_test(other_files_are_called_what_they_are),
    };
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/model.pt", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
