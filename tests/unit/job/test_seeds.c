/* The seed list: positions, canonical text, mistakes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "job/seeds.h"

#include <stdlib.h>
#include <string.h>

static void seeds_keep_their_order(void **state) {
    (void)state;
    struct seeds seeds;
    struct error err;
    assert_int_equal(seeds_parse(&seeds, "100-102,7, 50-51", &err), 0);
    const uint64_t expected[] = {100, 101, 102, 7, 50, 51};
    assert_int_equal(seeds.count, 6);
    for (uint64_t i = 0; i < seeds.count; i++) assert_int_equal(seeds_at(&seeds, i), expected[i]);
    seeds_release(&seeds);
}

static void seeds_have_a_canonical_text(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"0-9999", "0-9999"},
        {"5", "5"},
        {"0-4,5-9", "0-9"},
        {"5-9,0-4", "5-9,0-4"},
        {" 1 , 3\t, 9-9", "1,3,9"},
        {"18446744073709551614-18446744073709551615", "18446744073709551614-18446744073709551615"},
        {"18446744073709551615,0", "18446744073709551615,0"}, /* not neighbours: 2^64 - 1 has no next seed */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seeds seeds;
        struct error err;
        assert_int_equal(seeds_parse(&seeds, cases[i][0], &err), 0);
        char *text = seeds_text(&seeds);
        assert_string_equal(text, cases[i][1]);
        free(text);
        seeds_release(&seeds);
    }
}

/* Many single numbers: the binary search against the list itself. */
static void seeds_of_a_long_list_are_found(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    struct text text = {0};
    for (unsigned i = 0; i < COUNT; i++) text_add(&text, "%s%u", i ? "," : "", (i * 7919u) % 100003u * 2u);
    struct seeds seeds;
    struct error err;
    assert_int_equal(seeds_parse(&seeds, text.data, &err), 0);
    assert_int_equal(seeds.count, COUNT);
    for (unsigned i = 0; i < COUNT; i++) assert_int_equal(seeds_at(&seeds, i), (i * 7919u) % 100003u * 2u);
    seeds_release(&seeds);
    text_release(&text);
}

static void seeds_with_mistakes_are_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "found \"\""},
        {"1,,2", "found \"\""},
        {"1,", "found \"\""},
        {"a", "found \"a\""},
        {"-1", "found \"-1\""},
        {"1-2-3", "found \"1-2-3\""},
        {"1 - 2", "found \"1 - 2\""},
        {"9-0", "goes up, found \"9-0\""},
        {"18446744073709551616", "found \"18446744073709551616\""},
        {"0-9,5", "found 5 twice"},
        {"20,0-30", "found 20 twice"},
        {"7,8,7", "found 7 twice"},
        {"0-18446744073709551615", "2^64"},
        {"1-18446744073709551615,0,5", "2^64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seeds seeds;
        struct error err;
        assert_int_equal(seeds_parse(&seeds, cases[i][0], &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, cases[i][1])) fail_msg("%s: %s", cases[i][0], err.message);
        assert_null(seeds.ranges);
    }
}

static void seeds_are_located(void **state) {
    (void)state;
    static const uint64_t expected[] = {13, 3, 0, 2, 4, 5, 14};
    struct seeds list, wanted;
    struct error err;
    uint64_t positions[16];
    assert_int_equal(seeds_parse(&list, "100-102,7,20-29,18446744073709551615", &err), 0);
    assert_int_equal(seeds_parse(&wanted, "29,7,100,102,20-21,18446744073709551615", &err), 0);
    assert_int_equal(seeds_locate(&list, &wanted, positions, &err), 0);
    for (size_t i = 0; i < wanted.count; i++) {
        assert_int_equal(positions[i], expected[i]);
        assert_int_equal(seeds_at(&list, positions[i]), seeds_at(&wanted, i));
    }
    seeds_release(&wanted);
    static const char *const strangers[] = {"6", "8", "99", "103", "19", "30", "0", "18446744073709551614"};
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        assert_int_equal(seeds_parse(&wanted, strangers[i], &err), 0);
        assert_int_equal(seeds_locate(&list, &wanted, positions, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, strangers[i])) fail_msg("%s: %s", strangers[i], err.message);
        seeds_release(&wanted);
    }
    seeds_release(&list);
}

static void seeds_that_torch_takes_for_one_are_found(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int found;
        uint64_t a, b;
    } cases[] = {
        {"0-49999", 0, 0, 0},
        {"0-31,4294967296-4294967327", 1, 0, 4294967296},
        {"4294967300,7,4", 1, 4, 4294967300},
        {"100-200,4294967301-4294967395", 0, 0, 0},
        {"4294967290-4294967300,5-9", 0, 0, 0}, /* wraps around to 0-4 */
        {"4294967290-4294967300,4-9", 1, 4294967300, 4},
        {"8589934590-8589934592,4294967295", 1, 8589934591, 4294967295},
        {"0-4294967295", 0, 0, 0},
        {"5-4294967301", 1, 5, 4294967301},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seeds seeds;
        struct error err;
        uint64_t pair[2];
        assert_int_equal(seeds_parse(&seeds, cases[i].text, &err), 0);
        assert_int_equal(seeds_collide(&seeds, pair), cases[i].found);
        if (cases[i].found &&
            !((pair[0] == cases[i].a && pair[1] == cases[i].b) || (pair[1] == cases[i].a && pair[0] == cases[i].b)))
            fail_msg("%s: found %llu and %llu", cases[i].text, (unsigned long long)pair[0],
                     (unsigned long long)pair[1]);
        seeds_release(&seeds);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_keep_their_order),
        cmocka_unit_test(seeds_have_a_canonical_text),
        cmocka_unit_test(seeds_of_a_long_list_are_found),
        cmocka_unit_test(seeds_are_located),
        cmocka_unit_test(seeds_that_torch_takes_for_one_are_found),
        cmocka_unit_test(seeds_with_mistakes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
