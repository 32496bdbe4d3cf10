/* Root mean squares over paths, and how sure they are. */
#include "diagnose/ratio.h"

#include <math.h>

struct ratio root_ratio(const double *a, const double *b, size_t count) {
    double top = 0, bottom = 0, spread = 0, n = (double)count;
    for (size_t i = 0; i < count; i++) {
        top += a[i] / n;
        bottom += b ? b[i] / n : 1 / n;
    }
    if (top == 0 && bottom == 0) return (struct ratio){0, 0};
    double value = sqrt(top / bottom);
    if (top == 0 || !isfinite(value)) return (struct ratio){value, top == 0 ? 0 : NAN};
    for (size_t i = 0; i < count; i++) {
        double miss = a[i] / top - (b ? b[i] : 1) / bottom; /* of the logarithm of top/bottom */
        spread += miss * miss;
    }
    return (struct ratio){value, count > 1 ? value * sqrt(spread / (n * (n - 1))) / 2 : NAN};
}
