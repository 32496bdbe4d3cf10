/* From x0 to stored pixels. */
#include "sample/quantise.h"

#include "format/floats.h"

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

static uint8_t (*const rules[])(double) = {
    [ROUNDING_EDM] = edm, [ROUNDING_ADM] = adm, [ROUNDING_DIFFUSERS] = diffusers};

size_t quantise_uint8(const void *x, enum npy_type type, size_t rows, const struct sample_form *form,
                      enum rounding rounding, uint8_t *out) {
    size_t channels = (size_t)form->channels, pixels = (size_t)form->height * (size_t)form->width;
    double scale = 2 / (form->high - form->low), shift = -(form->high + form->low) / (form->high - form->low);
    const double most = 1 + 1.0 / 255;
    size_t clipped = 0;
    for (size_t row = 0, at = 0; row < rows; row++, out += channels * pixels)
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < pixels; i++, at++) {
                double value = scale * floats_at(x, type, at) + shift;
                clipped += fabs(value) > most;
                out[i * channels + c] = rules[rounding](value);
            }
    return clipped;
}
