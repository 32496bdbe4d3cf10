/* Numbers as JSON: jansson's text of each, also at the ends of what is made by whole numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/json_file.h"

#include <math.h>
#include <string.h>

static void check(double value) {
    char expected[64], found[JSON_NUMBER];
    json_t *real = json_real(value);
    size_t length = json_dumpb(real, expected, sizeof expected, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    json_decref(real);
    if (json_number(found, value) != length || memcmp(found, expected, length) != 0)
        fail_msg("%a: %.*s, expected %.*s", value, JSON_NUMBER, found, (int)length, expected);
}

static void check_both(double value) {
    check(value);
    check(-value);
}

static void any_number(void **state) {
    (void)state;
    uint64_t x = 88172645463325252;
    for (int i = 0; i < 300000; i++) {
        double value;
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        if (i % 4 == 0) memcpy(&value, &x, sizeof value);            /* any bits, NaN too */
        else value = ldexp((double)x, (int)(x % 73) - 80);           /* all digits, 1e-5 to 1e17 */
        if (i % 4 == 1) value = (double)(x >> 40) / (1 << (x % 24)); /* few: ends in zeros */
        check(value);
    }
}

static void edges(void **state) {
    (void)state;
    const double none[] = {NAN, INFINITY, -INFINITY};
    char text[JSON_NUMBER];
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_int_equal(json_number(text, none[i]), 0);
    check_both(0);
    for (int power = -330; power < 310; power++) {
        double value = pow(10, power);
        check_both(value);
        check_both(nextafter(value, 0));
        check_both(nextafter(value, INFINITY));
        check_both(9.9999999999999995 * value);
    }
    /* Half-way between two of 17 digits: an odd number over 2^k has k digits behind the point, the last of them 5. */
    for (int k = 1; k < 40; k++)
        for (int i = 0; i < 50; i++) check_both(ldexp((double)((1LL << 52) + 2 * i + 1), -k));
    for (int i = 0; i < 2000; i++) check_both(i), check_both(i / 1000.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_number), cmocka_unit_test(edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
