/* YAML as far as the program relies on it: JSON text means the same as YAML, and no text grows or takes time without
 * bound. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "config/yaml.h"

#include <stdlib.h>
#include <string.h>

/* What sweeps and overrides put into YAML texts are JSON strings. */
static void json_strings_are_yaml(void **state) {
    (void)state;
    for (uint32_t first = 1; first < 0x110000; first += 64) {
        struct text all = {0};
        struct error err;
        json_t *value;
        for (uint32_t code = first; code < first + 64 && code < 0x110000; code++)
            if (code < 0x80) text_add(&all, "%c", (int)code);
            else if (code < 0x800) text_add(&all, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 63));
            else if (code < 0x10000 && (code < 0xd800 || code > 0xdfff))
                text_add(&all, "%c%c%c", 0xe0 | code >> 12, 0x80 | (code >> 6 & 63), 0x80 | (code & 63));
            else if (code >= 0x10000)
                text_add(&all, "%c%c%c%c", 0xf0 | code >> 18, 0x80 | (code >> 12 & 63), 0x80 | (code >> 6 & 63),
                         0x80 | (code & 63));
        text_add(&all, "a\"b\\n'c: d # e");
        json_t *string = json_string(all.data);
        char *text = json_dumps(string, JSON_ENCODE_ANY);
        if (yaml_parse(&value, NULL, text, strlen(text), "json", &err) != 0)
            fail_msg("U+%04x: %s", (unsigned)first, err.message);
        if (!json_equal(value, string)) fail_msg("U+%04x: %s", (unsigned)first, text);
        json_decref(value);
        json_decref(string);
        free(text);
        text_release(&all);
    }
}

static void refused(struct text *text, const char *expected) {
    struct error err = {.code = CODE_OK};
    json_t *value, *places = json_object();
    assert_false(text->failed);
    assert_int_equal(yaml_parse(&value, places, text->data, text->length, "job.yaml", &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    if (strncmp(err.message, "job.yaml:", 9) != 0 || !strstr(err.message, expected))
        fail_msg("%s: %s", expected, err.message);
    json_decref(places);
    text_release(text);
}

static void times(struct text *text, int count, const char *what) {
    for (int i = 0; i < count; i++) text_add(text, "%s", what);
}

/* Each would take from seconds to centuries. */
static void beyond_bounds(void **state) {
    struct text text = {0};
    (void)state;
    text_add(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 10; i++) {
        text_add(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) text_add(&text, "*a%d,", i - 1);
        text_add(&text, "]\n");
    }
    refused(&text, "at most 100,000 values");
    text_add(&text, "a: [");
    times(&text, 100000, "x,");
    text_add(&text, "]");
    refused(&text, "at most 100,000 values");
    for (int i = 0; i < 200000; i++) text_add(&text, "k%d: 1\n", i);
    refused(&text, ":201:1: expected at most 200 keys in a map");
    text_add(&text, "a: &a {");
    for (int i = 0; i < 90; i++) text_add(&text, "k%d: 1, ", i);
    text_add(&text, "}\nb: {<<: [*a, *a]}\n");
    refused(&text, ":2:16: expected at most 200 keys in a map");
    times(&text, 100000, "[");
    refused(&text, ":1:13: expected at most 12 levels");
    text_add(&text, "a0: &a0 x\n");
    for (int i = 1; i < 100; i++) text_add(&text, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    refused(&text, ":13:13: expected at most 12 levels");
    text_add(&text, "a: |\n");
    times(&text, 100000, "\n");
    text_add(&text, " b");
    refused(&text, "at most 1,000 lines");
    for (int i = 0; i < 20000; i++) text_add(&text, "%%TAG !a%d! tag:x,2000:%d/\n", i, i);
    refused(&text, ":21:1: expected at most 20 directives");
    text_add(&text, "- &a x\n");
    times(&text, 90000, "- *a\n");
    refused(&text, ":1002:4: expected at most 1,000 aliases");
    times(&text, 90000, "- &a x\n");
    refused(&text, "at most 200 anchors");
    times(&text, 100, "key");
    text_add(&text, ": 1\n");
    refused(&text, "a key of at most 64 bytes");
    times(&text, 5 << 20, "#");
    refused(&text, "at most 4 MiB");
    text_add(&text, "a: &a [1, *a]\n");
    refused(&text, "expected YAML, found cyclic reference");
}

static void within_bounds(void **state) {
    struct text text = {0};
    struct error err;
    json_t *value;
    (void)state;
    text_add(&text, "a: &a {x: [1, 2], y: &y 3}\nb: *a\nc: {<<: *a, y: 4}\nd: [");
    for (int i = 0; i < 90000; i++) text_add(&text, "%d,", i);
    text_add(&text, "]\ne: [[[[[[[[[[*y]]]]]]]]]]\n");
    if (yaml_parse(&value, NULL, text.data, text.length, "job.yaml", &err) != 0) fail_msg("%s", err.message);
    json_t *expected = json_pack("{s:{s:[i,i], s:i}, s:{s:[i,i], s:i}, s:{s:[i,i], s:i}}", "a", "x", 1, 2, "y", 3, "b",
                                 "x", 1, 2, "y", 3, "c", "x", 1, 2, "y", 4);
    assert_int_equal(json_array_size(json_object_get(value, "d")), 90000);
    json_object_del(value, "d");
    json_object_del(value, "e");
    assert_true(json_equal(value, expected));
    json_decref(expected);
    json_decref(value);
    text_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_strings_are_yaml),
        cmocka_unit_test(beyond_bounds),
        cmocka_unit_test(within_bounds),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
