/* Drafts: a name appears with all that belongs to it, and what the dead left goes. */
#include "base/draft.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/stale.h"
#include "base/text.h"

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

static char folder[32];

static int enter(void **state) {
    (void)state;
    strcpy(folder, "/tmp/test_files_XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    struct error err;
    return chdir("/") == 0 ? tree_remove(folder, &err) : -1;
}

static void put(const char *path, const char *text) {
    struct error err;
    if (file_write(path, text, strlen(text), &err) != 0) fail_msg("%s", err.message);
}

static void assert_holds(const char *path, const char *text) {
    char *data;
    size_t size;
    struct error err;
    if (file_read(path, &data, &size, &err) != 0) fail_msg("%s", err.message);
    assert_string_equal(data, text);
    free(data);
}

static void a_file_has_its_name_only_when_whole(void **state) {
    (void)state;
    struct draft draft;
    struct error err;
    put("a", "old");
    assert_int_equal(draft_begin(&draft, "a", false, &err), 0);
    put(draft.temporary, "new");
    assert_holds("a", "old");
    assert_int_equal(draft_commit(&draft, &err), 0);
    assert_holds("a", "new");
    assert_int_equal(draft_begin(&draft, "a", false, &err), 0);
    put(draft.temporary, "newer");
    draft_abandon(&draft);
    assert_holds("a", "new");
    assert_int_equal(draft_begin(&draft, "no/a", false, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    assert_non_null(strstr(err.message, "no/a"));
    assert_int_equal(tree_remove("a", &err), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing else is in it */
    assert_int_equal(mkdir(folder, 0777), 0);
}

static void a_folder_replaces_none_but_an_empty_one(void **state) {
    (void)state;
    struct draft draft;
    struct error err;
    for (int full = 0; full <= 1; full++) {
        assert_int_equal(folder_make(full ? "full" : "empty", &err), 0);
        if (full) put("full/x", "theirs");
        assert_int_equal(draft_begin(&draft, full ? "full" : "empty", true, &err), 0);
        char *inside = path_join(draft.temporary, "deep/er"), *file = path_join(inside, "x");
        assert_int_equal(folder_make(inside, &err), 0);
        put(file, "ours");
        free(file);
        free(inside);
        assert_int_equal(draft_commit(&draft, &err), full ? -1 : 0);
    }
    assert_holds("empty/deep/er/x", "ours");
    assert_holds("full/x", "theirs");
    assert_int_equal(tree_remove("empty", &err), 0);
    assert_false(access("empty", F_OK) == 0);
    assert_int_equal(tree_remove("empty", &err), 0); /* not an error */
}

static void only_what_the_dead_left_is_removed(void **state) {
    (void)state;
    struct error err;
    struct draft alive;
    char host[256] = "", *of_a, *of_b, *inside;
    gethostname(host, sizeof host - 1);
    of_a = text_new(".a.tmp-%s-1-0", host); /* process 1 is not this program */
    of_b = text_new(".b.tmp-%s-1-0.Xy12", host);
    inside = text_new("%s/000000/x", of_a);
    char *below = path_folder(inside);
    assert_int_equal(folder_make(below, &err), 0);
    put(inside, "half");
    put(of_b, "half");
    put(".a", "somebody's");
    put(".a.tmp-elsewhere-1-0", "of another host, and young");
    assert_int_equal(draft_begin(&alive, "a", true, &err), 0);
    assert_int_equal(stale_remove_path("./a", &err), 0);
    assert_false(access(of_a, F_OK) == 0);
    assert_true(access(of_b, F_OK) == 0);
    assert_int_equal(stale_remove(".", NULL, NULL, &err), 0);
    assert_false(access(of_b, F_OK) == 0);
    assert_true(access(alive.temporary, F_OK) == 0 && access(".a", F_OK) == 0 &&
                access(".a.tmp-elsewhere-1-0", F_OK) == 0);
    draft_abandon(&alive);
    free(below);
    free(inside);
    free(of_b);
    free(of_a);
}

static void only_absence_is_absence(void **state) {
    (void)state;
    struct error err = {.code = CODE_OK};
    bool there = true;
    char *data, path[300] = "", name[300];
    size_t size;
    put("a", "text");
    assert_int_equal(file_exists("a", &there, &err), 0);
    assert_true(there);
    for (int i = 0; i < 2; i++) {
        const char *none = i ? "a/b" : "none"; /* ENOTDIR, ENOENT */
        assert_int_equal(file_exists(none, &there, &err), 0);
        assert_false(there);
        assert_int_equal(file_read_if_there(none, &data, &size, &err), 0);
        assert_null(data);
        assert_int_equal(err.code, CODE_OK); /* what succeeds says nothing */
        assert_int_equal(file_read(none, &data, &size, &err), -1);
        err.code = CODE_OK;
    }
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(file_exists("loop", &there, &err), -1); /* ELOOP */
    assert_int_equal(err.code, CODE_IO);
    assert_int_equal(file_read_if_there("loop", &data, &size, &err), -1);
    assert_int_equal(folder_has("loop", "b", &there, &err), -1);
    memset(name, 'x', 255);
    snprintf(path, sizeof path, "%.255s", name);
    assert_int_equal(file_write_atomic(path, "1", 1, &err), 0); /* the longest name: its temporary's is no longer */
    assert_int_equal(stale_remove_path(path, &err), 0);
    assert_holds(path, "1");
    snprintf(path, sizeof path, "%.255sx", name);
    assert_int_equal(file_write_atomic(path, "1", 1, &err), -1);
    assert_non_null(strstr(err.message, "File name too long"));
}

static void nothing_but_files_is_opened_or_replaced(void **state) {
    (void)state;
    struct error err;
    struct draft draft;
    char *data, hex[SHA256_HEX];
    size_t size;
    put("target", "theirs");
    assert_int_equal(mkfifo("fifo", 0666), 0);
    assert_int_equal(symlink("target", "link"), 0);
    assert_int_equal(mkdir("folder", 0777), 0);
    const char *paths[] = {"fifo", "folder", "/dev/null"}, *kinds[] = {"a FIFO", "a folder", "a device"};
    for (int i = 0; i < 3; i++) { /* each would hang, or read nothing */
        assert_int_equal(file_read(paths[i], &data, &size, &err), -1);
        assert_non_null(strstr(err.message, kinds[i]));
        assert_int_equal(err.code, CODE_IO);
        assert_int_equal(sha256_file(paths[i], hex, &err), -1);
        assert_int_equal(file_open(paths[i], O_WRONLY | O_CREAT | O_APPEND, &err), -1);
        assert_non_null(strstr(err.message, kinds[i]));
        assert_int_equal(file_write_atomic(paths[i], "1", 1, &err), -1);
        assert_non_null(strstr(err.message, kinds[i]));
    }
    assert_holds("link", "theirs");
    assert_int_equal(file_write_atomic("link", "1", 1, &err), -1);
    assert_non_null(strstr(err.message, "a symbolic link"));
    assert_int_equal(draft_begin(&draft, "link", true, &err), -1);
    assert_int_equal(draft_begin(&draft, "target", true, &err), -1);
    assert_holds("target", "theirs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_has_its_name_only_when_whole, enter, leave),
        cmocka_unit_test_setup_teardown(a_folder_replaces_none_but_an_empty_one, enter, leave),
        cmocka_unit_test_setup_teardown(only_absence_is_absence, enter, leave),
        cmocka_unit_test_setup_teardown(nothing_but_files_is_opened_or_replaced, enter, leave),
        cmocka_unit_test_setup_teardown(only_what_the_dead_left_is_removed, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
