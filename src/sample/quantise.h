/* From the solver's x0 to stored pixels. */
#ifndef SAMPLE_QUANTISE_H
#define SAMPLE_QUANTISE_H

#include "format/npy.h"
#include "job/card.h"
#include "job/job.h"

#include <stddef.h>
#include <stdint.h>

/* rows of x [C,H,W], floats of this type (format/floats.h), to out [H,W,C]. With x first mapped from [form->low,
 * form->high] to [-1, 1]: edm trunc(clip(127.5 x + 128, 0, 255)); adm trunc(clip(127.5 (x + 1), 0, 255)); diffusers
 * round-half-even(255 clip((x + 1)/2, 0, 1)). Inputs are finite, and the form is bounded. Returns how
 * many values were clipped: lay outside [-1, 1] by more than half a level, 1/255. */
size_t quantise_uint8(const void *x, enum npy_type type, size_t rows, const struct sample_form *form,
                      enum rounding rounding, uint8_t *out);

#endif
