/* The order in which a job goes through the units. */
#include "cluster/order.h"

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Steps of a length that shares no divisor with count visit every unit once. Multiples of the golden ratio, modulo 1,
 * are far from one another and from simple fractions. */
static uint64_t stride(uint64_t count, int ahead) {
    double golden = 1.618033988749895 * ahead;
    uint64_t step = (uint64_t)((double)count * (golden - (double)(uint64_t)golden));
    do step = step % count + 1;
    while (common_divisor(step, count) != 1);
    return step;
}

uint64_t order_unit(uint64_t position, uint64_t count, int ahead) {
    if (ahead <= 0) return position;
    if (ahead == 1) return count - 1 - position;
    unsigned __int128 at = (unsigned __int128)position * stride(count, ahead);
    return (uint64_t)((at + count / 2) % count);
}
