/* A rank's log is JSON lines, whatever a message holds; jansson says what JSON and UTF-8 are. */
#include "base/log.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static bool is_utf8(const char *s) {
    json_t *string = json_string(s);
    json_decref(string);
    return string != NULL;
}

/* Valid text stays, and what comes out is valid. */
static void check(const char *bytes) {
    char text[8];
    snprintf(text, sizeof text, "%s", bytes);
    text_make_utf8(text);
    if (!is_utf8(text) || strlen(text) != strlen(bytes) || (is_utf8(bytes) && strcmp(text, bytes) != 0))
        fail_msg("%02x %02x %02x %02x", (unsigned char)bytes[0], (unsigned char)bytes[1], (unsigned char)bytes[2],
                 (unsigned char)bytes[3]);
}

static void utf8_and_what_is_not(void **state) {
    (void)state;
    unsigned seed = 4;
    for (int a = 1; a < 256; a++)
        for (int b = 0; b < 256; b++) check((char[]){(char)a, (char)b, 'x', 0});
    for (int i = 0; i < 2000000; i++) {
        unsigned r = (unsigned)rand_r(&seed);
        char lead = (char)(0xe0 | (r & 31)); /* sequences of three and four, mostly well-formed behind the lead */
        char bytes[] = {lead, (char)(0x80 | (r >> 5 & 0x7f)), (char)(0x80 | (r >> 12 & 0x3f)),
                        (char)(0x80 | (r >> 18 & 0x7f)), 0};
        check(bytes);
    }
}

static void every_line_is_json(void **state) {
    (void)state;
    char path[] = "/tmp/qtaylor-log-XXXXXX", line[20000], endless[5000];
    struct error err;
    int fd = mkstemp(path), lines = 0;
    memset(endless, '"', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    close(fd);
    for (int attempt = 0; attempt < 2; attempt++) {
        assert_int_equal(log_open(path, &err), 0);
        log_info("plain");
        log_info("\"quoted\" \\ {braces} \n new line \t \x01");
        log_info("Itô, 東京, \xff\xfe and \xe6\x9d cut");
        log_info("%s", endless);
        log_event("\"shard\": %d", 3);
        log_close();
        log_info("to nobody");
    }
    FILE *file = fopen(path, "r");
    while (fgets(line, sizeof line, file)) {
        json_error_t why;
        json_t *json = json_loads(line, 0, &why);
        if (!json) fail_msg("%s: %s", why.text, line);
        if (lines == 2)
            assert_string_equal(json_string_value(json_object_get(json, "message")), "Itô, 東京, ?? and ?? cut");
        json_decref(json);
        lines++;
    }
    fclose(file);
    assert_int_equal(lines, 10);
    unlink(path);
}

/* Of three cells' warnings the first says whose it is, and the rest are counted. */
static void what_many_have_is_told_once(void **state) {
    (void)state;
    json_t *told = json_array();
    log_warnings_to(told);
    log_once("cells");
    for (int i = 0; i < 3; i++) {
        log_about("cell %c", 'a' + i);
        log_warn("alike %d", 1);
        if (i == 1) log_warn("of one alone");
        log_about_all();
    }
    log_once(NULL);
    log_warn("alike %d", 1);
    log_warnings_to(NULL);
    json_t *expected = json_pack("[s, s, s, s]", "cell a: alike 1", "cell b: of one alone",
                                 "2 more of the cells: alike 1", "alike 1");
    if (!json_equal(told, expected)) fail_msg("%s", json_dumps(told, 0));
    json_decref(expected);
    json_decref(told);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(utf8_and_what_is_not), cmocka_unit_test(every_line_is_json),
                                       cmocka_unit_test(what_many_have_is_told_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
