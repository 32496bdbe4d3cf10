/* The three rounding rules, against a table that numpy made from the lines of EDM's, ADM's and diffusers' own code. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample/quantise.h"

static const struct sample_form unit_card = {.channels = 1, .height = 1, .width = 1, .low = -1, .high = 1};

static uint8_t quantise(double x, double low, double high, enum rounding rounding) {
    struct sample_form card = unit_card;
    uint8_t out;
    card.low = low;
    card.high = high;
    quantise_uint8(&x, NPY_FLOAT64, 1, &card, rounding, &out);
    return out;
}

/* (x*127.5+128).clip(0,255).astype(uint8); ((x+1)*127.5).clip(0,255).astype(uint8);
 * ((x/2+0.5).clip(0,1)*255).round().astype(uint8). Threes of neighbouring doubles around the places where a rule turns:
 * (2k+1)/255 - 1, where diffusers' is half-way, 2k/255 - 1, where ADM's turns, and (k-128)/127.5, where EDM's does. */
static const struct {
    double x;
    uint8_t edm, adm, diffusers;
} table[] = {
    {-1e9, 0, 0, 0},
    {-0x1.8000000000000p+0, 0, 0, 0},
    {-0x1.0000000000001p+0, 0, 0, 0},
    {-0x1.0000000000000p+0, 0, 0, 0},
    {-0x1.fffffffffffffp-1, 0, 0, 0},
    {-0x1.fdfdfdfdfdfe1p-1, 0, 0, 0},
    {-0x1.fdfdfdfdfdfe0p-1, 1, 0, 0},
    {-0x1.fdfdfdfdfdfdfp-1, 1, 0, 1},
    {-0x1.fbfbfbfbfbfc1p-1, 1, 0, 1},
    {-0x1.fbfbfbfbfbfc0p-1, 1, 0, 1},
    {-0x1.fbfbfbfbfbfbfp-1, 1, 1, 1},
    {-0x1.f9f9f9f9f9fa1p-1, 1, 1, 1},
    {-0x1.f9f9f9f9f9fa0p-1, 2, 1, 1},
    {-0x1.f9f9f9f9f9f9fp-1, 2, 1, 2},
    {-0x1.f5f5f5f5f5f60p-1, 2, 2, 2},
    {-0x1.f5f5f5f5f5f5fp-1, 3, 2, 3},
    {-0x1.f5f5f5f5f5f5ep-1, 3, 2, 3},
    {-0x1.0505050505051p-1, 62, 62, 62},
    {-0x1.0505050505050p-1, 63, 62, 63},
    {-0x1.050505050504fp-1, 63, 62, 63},
    {-0x1.0303030303031p-1, 63, 62, 63},
    {-0x1.0303030303030p-1, 63, 63, 63},
    {-0x1.030303030302fp-1, 63, 63, 63},
    {-0x1.0101010101011p-8, 127, 127, 127},
    {-0x1.010101010100fp-8, 127, 127, 127},
    {-0x0.0000000000001p-1022, 128, 127, 128},
    {-0.0, 128, 127, 128},
    {0, 128, 127, 128},
    {0x1p-1074, 128, 127, 128},
    {0x1.0101010100fffp-8, 128, 128, 128},
    {0x1.010101010100fp-8, 128, 128, 128},
    {0x1.0101010101010p-8, 128, 128, 128},
    {0x1.0101010100fffp-7, 129, 128, 128},
    {0x1.0101010101000p-7, 129, 128, 128},
    {0x1.0101010101001p-7, 129, 128, 128},
    {0x1.f9f9f9f9f9f9fp-2, 191, 190, 190},
    {0x1.f9f9f9f9f9fa0p-2, 191, 190, 190},
    {0x1.f9f9f9f9f9fa1p-2, 191, 190, 190},
    {0x1.f5f5f5f5f5f5fp-1, 253, 252, 252},
    {0x1.f5f5f5f5f5f60p-1, 253, 252, 252},
    {0x1.f5f5f5f5f5f61p-1, 253, 252, 252},
    {0x1.f9f9f9f9f9f9fp-1, 254, 253, 254},
    {0x1.f9f9f9f9f9fa0p-1, 254, 253, 254},
    {0x1.f9f9f9f9f9fa1p-1, 254, 253, 254},
    {0x1.fdfdfdfdfdfdfp-1, 255, 254, 254},
    {0x1.fdfdfdfdfdfe0p-1, 255, 254, 254},
    {0x1.fdfdfdfdfdfe1p-1, 255, 254, 254},
    {0x1.fffffffffffffp-1, 255, 255, 255},
    {0x1.0000000000000p+0, 255, 255, 255},
    {0x1.0000000000001p+0, 255, 255, 255},
    {0x1.8000000000000p+0, 255, 255, 255},
    {1e9, 255, 255, 255},
};

static void rules(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t edm = quantise(table[i].x, -1, 1, ROUNDING_EDM), adm = quantise(table[i].x, -1, 1, ROUNDING_ADM);
        uint8_t diffusers = quantise(table[i].x, -1, 1, ROUNDING_DIFFUSERS);
        if (edm != table[i].edm || adm != table[i].adm || diffusers != table[i].diffusers)
            fail_msg("%a: %d %d %d, expected %d %d %d", table[i].x, edm, adm, diffusers, table[i].edm, table[i].adm,
                     table[i].diffusers);
    }
}

/* Every stored value comes from its own place in the range: no level is lost, and pixels survive being read back. */
static void every_level(void **state) {
    (void)state;
    for (int k = 0; k < 256; k++) {
        assert_int_equal(quantise((k + 0.5) / 127.5 - 128 / 127.5, -1, 1, ROUNDING_EDM), k);
        if (k < 255) assert_int_equal(quantise((k + 0.5) / 127.5 - 1, -1, 1, ROUNDING_ADM), k);
        assert_int_equal(quantise(k / 127.5 - 1, -1, 1, ROUNDING_DIFFUSERS), k);
    }
}

static void other_ranges(void **state) {
    (void)state;
    const double ranges[][2] = {{0, 1}, {-4, 4}, {0, 255}, {-0.5, 1.5}};
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++)
        for (int k = 0; k < 256; k++) {
            double low = ranges[r][0], high = ranges[r][1], middle = (k + 0.5) / 255;
            assert_int_equal(quantise(low + k / 255. * (high - low), low, high, ROUNDING_DIFFUSERS), k);
            if (k < 255) assert_int_equal(quantise(low + middle * (high - low), low, high, ROUNDING_ADM), k);
        }
}

/* Rows of [C,H,W] become rows of [H,W,C]; pixel values here say where they come from. */
static void layout(void **state) {
    (void)state;
    enum { ROWS = 2, C = 3, H = 4, W = 5 };
    double x[ROWS][C][H][W];
    uint8_t out[ROWS][H][W][C];
    const struct sample_form card = {.channels = C, .height = H, .width = W, .low = 0, .high = 255};
    for (int n = 0; n < ROWS; n++)
        for (int c = 0; c < C; c++)
            for (int h = 0; h < H; h++)
                for (int w = 0; w < W; w++) x[n][c][h][w] = ((n * C + c) * H + h) * W + w;
    quantise_uint8(&x[0][0][0][0], NPY_FLOAT64, ROWS, &card, ROUNDING_DIFFUSERS, &out[0][0][0][0]);
    for (int n = 0; n < ROWS; n++)
        for (int h = 0; h < H; h++)
            for (int w = 0; w < W; w++)
                for (int c = 0; c < C; c++) assert_int_equal(out[n][h][w][c], ((n * C + c) * H + h) * W + w);
}

/* Beyond the range by more than half a level, 1/255 of [-1, 1]. */
static void clipped(void **state) {
    (void)state;
    const double half = 1. / 255, x[] = {-1, 1, 1 + 0.99 * half, -1 - 0.99 * half, 1 + 1.01 * half, -1 - 1.01 * half};
    uint8_t out[6];
    struct sample_form card = unit_card;
    card.width = 6;
    for (int rule = ROUNDING_EDM; rule <= ROUNDING_DIFFUSERS; rule++)
        assert_int_equal(quantise_uint8(x, NPY_FLOAT64, 1, &card, (enum rounding)rule, out), 2);
    card.high = 3; /* one of half the level's width from -1 */
    assert_int_equal(quantise_uint8(x, NPY_FLOAT64, 1, &card, ROUNDING_EDM, out), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),  cmocka_unit_test(every_level), cmocka_unit_test(other_ranges),
        cmocka_unit_test(layout), cmocka_unit_test(clipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
