/* Counter-based noise (Philox), and torch's. */
#include "sample/noise.h"

#include <Random123/philox.h>
#include <math.h>

static philox4x32_ctr_t words(uint64_t seed, uint32_t stream, uint32_t pair) {
    philox4x32_ctr_t counter = {{pair, stream, 0, 0}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key);
}

/* The upper 53 bits of two words. */
static double bits53(uint32_t high, uint32_t low) {
    return (double)(((uint64_t)high << 32 | low) >> 11);
}

void noise_normals(uint64_t seed, uint32_t stream, size_t count, double *out) {
    for (size_t i = 0; i < count; i += 2) {
        philox4x32_ctr_t w = words(seed, stream, (uint32_t)(i / 2));
        double radius = sqrt(-2 * log((bits53(w.v[0], w.v[1]) + 1) * 0x1p-53));
        double angle = 2 * M_PI * (bits53(w.v[2], w.v[3]) * 0x1p-53);
        out[i] = radius * cos(angle);
        if (i + 1 < count) out[i + 1] = radius * sin(angle);
    }
}

int64_t noise_label(uint64_t seed, int64_t classes) {
    philox4x32_ctr_t w = words(seed, NOISE_STREAM_LABEL, 0);
    return (int64_t)(bits53(w.v[0], w.v[1]) * 0x1p-53 * (double)classes);
}
