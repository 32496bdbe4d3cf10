/* Half precision: known numbers, and every number with its neighbour. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/floats.h"

#include <math.h>
#include <string.h>

static double value_of(uint16_t bits) {
    return floats_at(&bits, NPY_FLOAT16, 0);
}

static uint16_t bits_of(double value) {
    uint16_t bits;
    floats_put(&bits, NPY_FLOAT16, 0, value);
    return bits;
}

static void known_numbers(void **state) {
    (void)state;
    static const struct {
        uint16_t bits;
        double value;
    } known[] = {{0x3c00, 1},       {0xc000, -2},         {0x7bff, 65504},    {0x0001, 0x1p-24},
                 {0x0400, 0x1p-14}, {0x3555, 0x1.554p-2}, {0x7c00, INFINITY}, {0xfc00, -INFINITY},
                 {0x0000, 0},       {0x03ff, 0x1.ff8p-15}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_true(value_of(known[i].bits) == known[i].value);
        assert_int_equal(bits_of(known[i].value), known[i].bits);
    }
    assert_true(isnan(value_of(0x7e00)) && isnan(value_of(bits_of(NAN))));
    assert_int_equal(bits_of(-0.0), 0x8000);
    assert_int_equal(bits_of(65519.99), 0x7bff);
    assert_int_equal(bits_of(65520), 0x7c00);
    assert_int_equal(bits_of(1e300), 0x7c00);
}

/* Between two neighbours the nearer one, half-way the even one. */
static void rounds_to_the_nearest(void **state) {
    (void)state;
    for (uint16_t bits = 0; bits < 0x7bff; bits++) {
        double low = value_of(bits), high = value_of(bits + 1), middle = (low + high) / 2;
        assert_true(low < high);
        assert_int_equal(bits_of(low), bits);
        assert_int_equal(bits_of(nextafter(middle, low)), bits);
        assert_int_equal(bits_of(nextafter(middle, high)), bits + 1);
        assert_int_equal(bits_of(middle), bits + (bits & 1));
        assert_int_equal(bits_of(-middle), 0x8000 | (bits + (bits & 1)));
    }
}

static void other_types(void **state) {
    (void)state;
    char bytes[17] = {0}; /* unaligned */
    floats_put(bytes + 1, NPY_FLOAT32, 1, 0.1);
    assert_true(floats_at(bytes + 1, NPY_FLOAT32, 1) == (double)0.1f);
    floats_put(bytes + 1, NPY_FLOAT64, 1, 0.1);
    assert_true(floats_at(bytes + 1, NPY_FLOAT64, 1) == 0.1);
    floats_put(bytes + 1, NPY_FLOAT32, 0, 1e300);
    assert_true(isinf(floats_at(bytes + 1, NPY_FLOAT32, 0)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_numbers),
        cmocka_unit_test(rounds_to_the_nearest),
        cmocka_unit_test(other_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
