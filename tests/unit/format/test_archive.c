/* Archives of streamed members: the records that only a large one needs, and what a failing member leaves. */
#include "format/archive.h"
#include "format/npz.h"
#include "base/files.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include <cmocka.h>

/* Member i is "NUMBER i", handed out byte by byte. */
struct numbers {
    size_t fails_at;
    char text[32];
};

static char *number_name(void *context, size_t member) {
    (void)context;
    return text_new("%zu.txt", member);
}

static int number_size(void *context, size_t member, uint64_t *size, struct error *err) {
    struct numbers *numbers = context;
    (void)err;
    *size = (uint64_t)snprintf(numbers->text, sizeof numbers->text, "NUMBER %zu", member);
    return 0;
}

static int number_bytes(void *context, size_t member, uint64_t offset, const char **bytes, size_t *size,
                        struct error *err) {
    struct numbers *numbers = context;
    if (member == numbers->fails_at) return error_set(err, CODE_AGAIN, "member %zu has gone", member);
    snprintf(numbers->text, sizeof numbers->text, "NUMBER %zu", member);
    *bytes = numbers->text + offset;
    *size = 1;
    return 0;
}

static char path[40];

static int enter(void **state) {
    (void)state;
    strcpy(path, "/tmp/test_archive_XXXXXX");
    if (!mkdtemp(path)) return -1;
    strcat(path, "/a.zip");
    return 0;
}

static int leave(void **state) {
    (void)state;
    unlink(path);
    *strrchr(path, '/') = '\0';
    return rmdir(path); /* fails where temporaries are left */
}

static void more_members_than_16_bits_count(void **state) {
    (void)state;
    enum { MEMBERS = 65600 };
    struct numbers numbers = {.fails_at = SIZE_MAX};
    struct archive archive = {MEMBERS, number_name, number_size, number_bytes, &numbers};
    struct error err;
    if (archive_write(path, &archive, &err) != 0) fail_msg("%s", err.message);
    zip_t *zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, NULL);
    assert_non_null(zip);
    assert_int_equal(zip_get_num_entries(zip, 0), MEMBERS);
    for (size_t i = 0; i < MEMBERS; i += i % 1000 ? 599 : 1) {
        char expected[32], name[32], found[32] = "";
        snprintf(name, sizeof name, "%zu.txt", i);
        snprintf(expected, sizeof expected, "NUMBER %zu", i);
        assert_string_equal(zip_get_name(zip, i, 0), name);
        zip_file_t *file = zip_fopen_index(zip, i, 0);
        assert_int_equal(zip_fread(file, found, sizeof found), strlen(expected));
        assert_string_equal(found, expected);
        zip_fclose(file);
    }
    zip_discard(zip);
}

static void a_failure_is_passed_on_and_leaves_nothing(void **state) {
    (void)state;
    struct numbers numbers = {.fails_at = 57};
    struct archive archive = {100, number_name, number_size, number_bytes, &numbers};
    struct error err;
    assert_int_equal(archive_write(path, &archive, &err), -1);
    assert_int_equal(err.code, CODE_AGAIN);
    assert_string_equal(err.message, "member 57 has gone");
    assert_false(access(path, F_OK) == 0);
}

/* Row i is 1 MiB of the byte i mod 251. */
static int take_row(void *context, uint64_t first, const char **bytes, size_t *size, struct error *err) {
    (void)err;
    *bytes = memset(context, (int)(first % 251), 1 << 20);
    *size = 1 << 20;
    return 0;
}

/* Where QTAYLOR_LARGE names a file: for other readers (tests/cli/test_export.py). */
static void an_array_beyond_4_gib(void **state) {
    (void)state;
    const char *large = getenv("QTAYLOR_LARGE");
    if (!large) skip();
    int64_t labels[3] = {7, 8, 9};
    const struct npz_array arrays[] = {{"arr_0", {NPY_UINT8, 1, 4, {4100, 512, 1024, 2}}, NULL},
                                       {"arr_1", {NPY_INT64, sizeof *labels, 1, {3}}, labels}};
    struct error err;
    char *row = malloc(1 << 20);
    if (npz_stream(large, arrays, 2, take_row, row, &err) != 0) fail_msg("%s", err.message);
    free(row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(more_members_than_16_bits_count, enter, leave),
        cmocka_unit_test_setup_teardown(a_failure_is_passed_on_and_leaves_nothing, enter, leave),
        cmocka_unit_test(an_array_beyond_4_gib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
