/* Counter-based noise: Philox4x32-10 (Salmon et al. 2011, by Random123). key = the sample's 64-bit seed (low, high
 * word); counter = (floor(element/2), stream, 0, 0). Words w0..w3 give u1 = (((w0 2^32 + w1) >> 11) + 1) 2^-53 and
 * u2 = ((w2 2^32 + w3) >> 11) 2^-53; the even element is r cos(2 pi u2), the odd one r sin(2 pi u2), with
 * r = sqrt(-2 ln u1) (Box and Muller 1958). So a number depends on (seed, stream, element) alone. */
#ifndef SAMPLE_NOISE_H
#define SAMPLE_NOISE_H

#include <stddef.h>
#include <stdint.h>

#define NOISE_STREAM_INITIAL 0u        /* x_T; NOISE ops count from 1 in plan order */
#define NOISE_STREAM_LABEL 0xffffffffu /* random labels */

/* out[0..count): unit normals of elements 0..count-1. */
void noise_normals(uint64_t seed, uint32_t stream, size_t count, double *out);
/* A label in [0, classes), from words w0, w1 of NOISE_STREAM_LABEL: floor(((w0 2^32 + w1) >> 11) 2^-53 classes). */
int64_t noise_label(uint64_t seed, int64_t classes);

#endif
