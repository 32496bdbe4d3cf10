/* Scales of guidance, one a row of the conditions: an .npy of float16, float32 or float64, of shape [rows]. */
#ifndef SAMPLE_SCALES_H
#define SAMPLE_SCALES_H

#include "base/error.h"
#include "base/hash.h"

#include <stdint.h>

/* *scales: new, [rows]. expected: the file's sha256; NULL: not known, and hex is filled with it (else hex may be NULL).
 * CODE_DATA: another type or shape, no conditions (rows 0), a value that is not finite, or another file. */
int scales_read(double **scales, const char *path, const char *expected, char hex[SHA256_HEX], uint64_t rows,
                struct error *err);

#endif
