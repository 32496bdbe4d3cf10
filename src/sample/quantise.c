#include "sample/quantise.h"

#include <math.h>

static double clip(double value) {
    return fmin(fmax(value, 0), 255);
}

static uint8_t edm(double x) {
    return (uint8_t)clip(127.5 * x + 128);
}

static uint8_t adm(double x) {
    return (uint8_t)clip(127.5 * (x + 1));
}

static uint8_t diffusers(double x) {
    return (uint8_t)nearbyint(255 * fmin(fmax((x + 1) / 2, 0), 1)); /* the default rounding mode: half to even */
}

size_t quantise_uint8(const double *x, size_t rows, const struct card *card, enum rounding rounding, uint8_t *out) {
    static uint8_t (*const rules[])(double) = {
        [ROUNDING_EDM] = edm, [ROUNDING_ADM] = adm, [ROUNDING_DIFFUSERS] = diffusers};
    size_t channels = (size_t)card->channels, pixels = (size_t)card->height * (size_t)card->width;
    size_t clipped = 0;
    const double most = 1 + 1.0 / 255;
    double scale = 2 / (card->high - card->low), shift = -(card->high + card->low) / (card->high - card->low);
    for (size_t row = 0; row < rows; row++, x += channels * pixels, out += channels * pixels)
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < pixels; i++) {
                double value = scale * x[c * pixels + i] + shift;
                clipped += fabs(value) > most;
                out[i * channels + c] = rules[rounding](value);
            }
    return clipped;
}
