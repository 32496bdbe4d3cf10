/* What of a text may go to a terminal, and the rule for ~ and $ in paths. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "config/expand.h"

#include <stdlib.h>
#include <string.h>

static void shown(const char *text, const char *keep, const char *expected) {
    char out[200];
    text_make_visible(out, sizeof out, text, keep);
    assert_string_equal(out, expected);
    assert_true(strlen(expected) <= TEXT_VISIBLE * strlen(text));
}

static void controls_are_written_out(void **state) {
    (void)state;
    shown("", "", "");
    shown("plain, It\xc3\xb4, \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x8e\xb2 \\ \"", "",
          "plain, It\xc3\xb4, \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x8e\xb2 \\ \"");
    shown("\x1b]0;owned\x07", "", "\\x1b]0;owned\\x07");
    shown("one\nqtaylor: error: forged\r\ttwo", "", "one\\nqtaylor: error: forged\\r\\ttwo");
    shown("one\n\ttwo\x1b", "\n", "one\n\\ttwo\\x1b");
    shown("\x7f\xc2\x9b"
          "31m",
          "", "\\u007f\\u009b31m"); /* DEL; CSI as one character */
    shown("\xe2\x80\xae"
          "abc\xe2\x81\xa6\xe2\x80\xa8",
          "", "\\u202eabc\\u2066\\u2028");          /* turned text; a line separator */
    shown("\x9b\xff \xc3", "", "\\x9b\\xff \\xc3"); /* no UTF-8 */
    shown("\xed\xa0\x80", "", "\\xed\\xa0\\x80");
    char cut[8];
    text_make_visible(cut, sizeof cut, "ab\x1b\x1b", "");
    assert_string_equal(cut, "ab\\x1b");
    for (int c = 1; c < 0x20; c++) assert_false(text_is_plain((char[]){(char)c, 0}));
    for (int c = 0x20; c < 0x7f; c++) assert_true(text_is_plain((char[]){(char)c, 0}));
}

static void names_of_folders(void **state) {
    static const char *const good[] = {"nfe=5", "solver=taylor,nfe=10", "a b", "...", "..a", "name==1\\", "\xc3\xb4"};
    static const char *const bad[] = {"",     ".",    "..",   "/",    "a/b",         "/tmp",
                                      "../a", "a\nb", "\x1b", "\xff", "\xe2\x80\xae"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(text_is_name(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(text_is_name(bad[i]));
}

static void expands(const char *path, const char *expected) {
    struct error err;
    char *expanded;
    if (path_expand(&expanded, path, &err) != 0) fail_msg("%s: %s", path, err.message);
    assert_string_equal(expanded, expected);
    char *literal = path_literal(expanded), *again;
    assert_int_equal(path_expand(&again, literal, &err), 0);
    assert_string_equal(again + (expanded[0] == '~' ? 2 : 0), expanded);
    free(again);
    free(literal);
    free(expanded);
}

static void refuses(const char *path, const char *expected) {
    struct error err;
    char *expanded;
    assert_int_equal(path_expand(&expanded, path, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    if (expanded || !strstr(err.message, expected)) fail_msg("%s: %s", path, err.message);
}

static void paths_are_expanded(void **state) {
    (void)state;
    setenv("HOME", "/home/ada", 1);
    setenv("SCRATCH", "/scratch", 1);
    setenv("A_1", "$SCRATCH", 1);
    setenv("TILDE", "~b", 1);
    setenv("EMPTY", "", 1);
    unsetenv("UNSET");
    expands("runs/a", "runs/a");
    expands("~/a", "/home/ada/a");
    expands("~", "/home/ada");
    expands("a/~/b~", "a/~/b~");
    expands("./~b", "./~b");
    expands("$SCRATCH/a", "/scratch/a");
    expands("a${SCRATCH}b$A_1-", "a/scratchb$SCRATCH-"); /* once */
    expands("a$$SCRATCH$$", "a$SCRATCH$");
    expands("$TILDE", "~b");
    refuses("$UNSET/a", "$UNSET");
    refuses("a/${UNSET}", "$UNSET");
    refuses("$EMPTY/a", "$EMPTY");
    refuses("~ada/a", "~ada/a");
    refuses("a$", "$$");
    refuses("a$/b", "$$");
    refuses("$1", "$1");
    refuses("${SCRATCH", "${SCRATCH");
    refuses("${SCRATCH:-x}", "${SCRATCH:-x}");
    refuses("${}", "${}");
    unsetenv("HOME");
    refuses("~/a", "$HOME");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_are_written_out),
        cmocka_unit_test(names_of_folders),
        cmocka_unit_test(paths_are_expanded),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
