/* Files in use: their bytes are the kernel's pages, and what somebody does to them meanwhile is told apart. */
#include "base/files.h"
#include "base/mapping.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"

enum { SIZE = (1 << 20) + 17 };
static char bytes[SIZE], other[80];

static int make(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZE; i++) bytes[i] = (char)(i * 7 + i / 251);
    if (scratch_make("file") != 0) return -1;
    snprintf(other, sizeof other, "%s/other", folder);
    return 0;
}

static int clean(void **state) {
    unlink(other);
    return scratch_remove(state);
}

/* The file with these bytes, mapped as soon as its times have settled. */
static struct mapping *mapped(void) {
    struct mapping *mapping = NULL;
    struct error err;
    if (file_write(path, bytes, SIZE, &err) != 0) fail_msg("%s", err.message);
    for (bool settled = false; !settled; usleep(100000)) {
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        settled = file_settled(&info);
    }
    if (mapping_open(&mapping, path, &err) != 0) fail_msg("%s", err.message);
    return mapping;
}

static void assert_fine(void) {
    struct error err;
    if (mappings_check(&err) != 0) fail_msg("%s", err.message);
}

static void put_byte(const char *file, off_t at, char byte) {
    int fd = open(file, O_WRONLY);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_file_of_just_now_is_read(void **state) {
    (void)state;
    struct mapping *mapping;
    struct error err;
    if (file_write(path, bytes, SIZE, &err) != 0 || mapping_open(&mapping, path, &err) != 0)
        fail_msg("%s", err.message);
    assert_null(mapping_at(mapping->data));
    put_byte(path, 5, 99); /* nobody's business */
    assert_int_equal(mapping->size, SIZE);
    assert_memory_equal(mapping->data, bytes, SIZE);
    assert_fine();
    mapping_close(mapping);
    assert_int_equal(mapping_open(&mapping, "/nowhere/at all", &err), -1);
    assert_int_equal(err.code, CODE_IO);
}

static void a_file_that_is_moved_is_the_same(void **state) {
    (void)state;
    char sha256[SHA256_HEX];
    struct error err;
    struct mapping *mapping = mapped();
    sha256_bytes(bytes, SIZE, sha256);
    assert_string_equal(mapping->sha256, sha256);
    assert_string_equal(mapping_at(mapping->data), path);
    assert_string_equal(mapping_at(mapping->data + SIZE - 1), path);
    assert_null(mapping_at(mapping->data + SIZE));
    assert_int_equal(link(path, other), 0);
    assert_fine();
    assert_int_equal(chmod(path, 0600), 0);
    assert_fine();
    assert_int_equal(unlink(path), 0);
    if (file_write(path, "another", 7, &err) != 0) fail_msg("%s", err.message);
    assert_fine();
    assert_int_equal(unlink(other), 0); /* its last name */
    assert_fine();
    assert_memory_equal(mapping->data, bytes, SIZE);
    mapping_close(mapping);
    assert_fine();
}

/* The last: what was changed stays so, to the process's end. */
static void one_byte_in_place_is_another_file(void **state) {
    (void)state;
    struct stat before;
    struct error err;
    struct mapping *mapping = mapped();
    assert_int_equal(stat(path, &before), 0);
    put_byte(path, SIZE - 1, (char)~bytes[SIZE - 1]);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){before.st_atim, before.st_mtim}, 0), 0);
    for (int closed = 0; closed < 2; closed++) {
        assert_int_equal(mappings_check(&err), -1);
        assert_int_equal(err.code, CODE_IO);
        assert_non_null(strstr(err.message, "was changed while it was in use"));
        assert_non_null(strstr(err.message, path));
        if (!closed) mapping_close(mapping);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_file_of_just_now_is_read),
                                       cmocka_unit_test(a_file_that_is_moved_is_the_same),
                                       cmocka_unit_test(one_byte_in_place_is_another_file)};
    return cmocka_run_group_tests_name("mapping", tests, make, clean);
}
