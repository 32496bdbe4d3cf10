/* A digest is that of the file as it is, remembered or not, or none. */
#include "base/digests.h"
#include "base/hash.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/crypto.h>

static void put(const char *path, int number) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "%08d", number) == 8);
    assert_int_equal(fclose(file), 0);
}

static void check(const char *path, int number) {
    char text[16], found[SHA256_HEX], expected[SHA256_HEX];
    struct error err;
    snprintf(text, sizeof text, "%08d", number);
    sha256_bytes(text, 8, expected);
    assert_int_equal(digest_file(path, found, &err), 0);
    assert_string_equal(found, expected);
}

/* Rewritten in place, of the same size, and its time set back to before: only ctime tells, in ticks of milliseconds. */
static void rewritten_at_once(void **state) {
    (void)state;
    char path[] = "/tmp/test_hash-XXXXXX";
    const struct timespec past[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    for (int i = 0; i < 200; i++) {
        put(path, i);
        assert_int_equal(utimensat(AT_FDCWD, path, past, 0), 0);
        check(path, i);
        check(path, i);
    }
    unlink(path);
}

static void rewritten_later(void **state) {
    (void)state;
    char path[] = "/tmp/test_hash-XXXXXX";
    const struct timespec long_enough = {.tv_sec = 3, .tv_nsec = 100000000};
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    put(path, 1);
    nanosleep(&long_enough, NULL); /* remembered from here on */
    check(path, 1);
    check(path, 1);
    put(path, 2);
    check(path, 2);
    unlink(path);
}

static bool memory_is_out;

static void *get(size_t size, const char *file, int line) {
    (void)file, (void)line;
    return memory_is_out ? NULL : malloc(size);
}

static void *get_more(void *data, size_t size, const char *file, int line) {
    (void)file, (void)line;
    return memory_is_out ? NULL : realloc(data, size);
}

static void put_back(void *data, const char *file, int line) {
    (void)file, (void)line;
    free(data);
}

/* Never one of other bytes, or of none. */
static void out_of_memory(void **state) {
    (void)state;
    char hex[SHA256_HEX] = "not yet";
    memory_is_out = true;
    sha256_bytes("a", 1, hex);
    memory_is_out = false;
    assert_string_equal(hex, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rewritten_at_once), cmocka_unit_test(rewritten_later),
                                       cmocka_unit_test(out_of_memory)};
    if (CRYPTO_set_mem_functions(get, get_more, put_back) != 1) return 1; /* before OpenSSL's first allocation */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
