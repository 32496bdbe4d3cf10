#include "diagnose/estimate.h"

#include <math.h>

struct estimate root_ratio(const double *a, const double *b, size_t count) {
    double top = 0, bottom = 0, spread = 0, n = (double)count;
    for (size_t i = 0; i < count; i++) {
        top += a[i] / n;
        bottom += b ? b[i] / n : 1 / n;
    }
    if (top == 0 && bottom == 0) return (struct estimate){0, 0};
    double value = sqrt(top / bottom);
    if (top == 0 || !isfinite(value)) return (struct estimate){value, top == 0 ? 0 : NAN};
    for (size_t i = 0; i < count; i++) {
        double miss = a[i] / top - (b ? b[i] : 1) / bottom; /* of the logarithm of top/bottom */
        spread += miss * miss;
    }
    return (struct estimate){value, count > 1 ? value * sqrt(spread / (n * (n - 1))) / 2 : NAN};
}
