/* Arrays of float16, float32 and float64, perhaps unaligned. */
#include "format/floats.h"

#include <math.h>
#include <string.h>

static double from_half(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(fraction + 1024, exponent - 25);
    return bits >> 15 ? -value : value;
}

static uint16_t to_half(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double size = fabs(value);
    int exponent;
    if (isnan(value)) return sign | 0x7e00;
    if (size >= 65520) return sign | 0x7c00;
    if (size < 0x1p-14) return (uint16_t)(sign | (int)nearbyint(size * 0x1p24)); /* 1024 is the first normal one */
    double fraction = frexp(size, &exponent);                                    /* in [1/2, 1) */
    return (uint16_t)(sign | (((exponent + 13) << 10) + (int)nearbyint(fraction * 2048)));
}

double floats_at(const void *data, enum npy_type type, size_t index) {
    const char *at = data;
    uint16_t half;
    float single;
    double wide;
    switch (type) {
        case NPY_FLOAT16: return memcpy(&half, at + 2 * index, sizeof half), from_half(half);
        case NPY_FLOAT64: return memcpy(&wide, at + 8 * index, sizeof wide), wide;
        default: return memcpy(&single, at + 4 * index, sizeof single), single;
    }
}

void floats_put(void *data, enum npy_type type, size_t index, double value) {
    char *at = data;
    const uint16_t half = type == NPY_FLOAT16 ? to_half(value) : 0;
    const float single = (float)value;
    switch (type) {
        case NPY_FLOAT16: memcpy(at + 2 * index, &half, sizeof half); break;
        case NPY_FLOAT64: memcpy(at + 8 * index, &value, sizeof value); break;
        default: memcpy(at + 4 * index, &single, sizeof single);
    }
}
