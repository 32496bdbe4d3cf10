/* Truncated power series. */
#include "solver/series.h"

#include <math.h>
#include <string.h>

/* The recurrences compare coefficients: out b = a for division, out' = out a' for exp, a out' = a' for log,
 * out out = a for sqrt (Knuth, TAOCP 2, section 4.7). */

void series_add(int order, const double *a, const double *b, double *out) {
    for (int k = 0; k <= order; k++) out[k] = a[k] + b[k];
}

void series_scale(int order, double factor, const double *a, double *out) {
    for (int k = 0; k <= order; k++) out[k] = factor * a[k];
}

void series_mul(int order, const double *a, const double *b, double *out) {
    for (int k = 0; k <= order; k++) {
        out[k] = 0;
        for (int j = 0; j <= k; j++) out[k] += a[j] * b[k - j];
    }
}

void series_div(int order, const double *a, const double *b, double *out) {
    for (int k = 0; k <= order; k++) {
        double rest = a[k];
        for (int j = 0; j < k; j++) rest -= out[j] * b[k - j];
        out[k] = rest / b[0];
    }
}

void series_exp(int order, const double *a, double *out) {
    out[0] = exp(a[0]);
    for (int k = 1; k <= order; k++) {
        double sum = 0;
        for (int j = 1; j <= k; j++) sum += j * a[j] * out[k - j];
        out[k] = sum / k;
    }
}

void series_log(int order, const double *a, double *out) {
    out[0] = log(a[0]);
    for (int k = 1; k <= order; k++) {
        double rest = k * a[k];
        for (int j = 1; j < k; j++) rest -= j * out[j] * a[k - j];
        out[k] = rest / (k * a[0]);
    }
}

void series_sqrt(int order, const double *a, double *out) {
    out[0] = sqrt(a[0]);
    for (int k = 1; k <= order; k++) {
        double rest = a[k];
        for (int j = 1; j < k; j++) rest -= out[j] * out[k - j];
        out[k] = rest / (2 * out[0]);
    }
}

/* Horner's scheme in series: ((a[n] b + a[n-1]) b + ...) + a[0]. */
void series_compose(int order, const double *a, const double *b, double *out) {
    memset(out, 0, (size_t)(order + 1) * sizeof *out);
    for (int n = order; n >= 0; n--) {
        for (int k = order; k >= 0; k--) { /* out = out b: downwards, so that out[k - j] is still the old one */
            double sum = 0;
            for (int j = 1; j <= k; j++) sum += out[k - j] * b[j];
            out[k] = sum;
        }
        out[0] += a[n];
    }
}

double series_value(int order, const double *a, double h) {
    double sum = 0;
    for (int k = order; k >= 0; k--) sum = sum * h + a[k];
    return sum;
}
