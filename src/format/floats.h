/* Arrays of floating-point numbers as .npy files have them, perhaps unaligned: NPY_FLOAT16 (IEEE half precision),
 * NPY_FLOAT32 or NPY_FLOAT64. */
#ifndef FORMAT_FLOATS_H
#define FORMAT_FLOATS_H

#include "format/npy.h"

#include <stddef.h>

double floats_at(const void *data, enum npy_type type, size_t index);
/* Rounded to the nearest, half to even; what is too large becomes infinite. */
void floats_put(void *data, enum npy_type type, size_t index, double value);

#endif
