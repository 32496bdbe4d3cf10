/* The quantile of the beta distribution. */
#include "solver/beta.h"

#include <float.h>
#include <math.h>

/* The continued fraction of DLMF 8.17.22 by Lentz's method; it converges fast for x < (a + 1)/(a + b + 2). */
static double fraction(double x, double a, double b) {
    const double tiny = DBL_MIN / DBL_EPSILON;
    const int terms = 1000;
    double c = 1, d = 1 - (a + b) * x / (a + 1), value;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    value = d;
    for (int m = 1; m <= terms; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        const double coefficients[] = {even, odd};
        double change = 1;
        for (int i = 0; i < 2; i++) {
            d = 1 + coefficients[i] * d;
            c = 1 + coefficients[i] / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) c = tiny;
            change = c * d;
            value *= change;
        }
        if (fabs(change - 1) < DBL_EPSILON) break;
    }
    return value;
}

/* log of x^a (1 - x)^b / (a B(a, b)) */
static double log_front(double x, double a, double b) {
    return a * log(x) + b * log1p(-x) - log(a) - (lgamma(a) + lgamma(b) - lgamma(a + b));
}

/* I_x(a, b) */
static double incomplete(double x, double a, double b) {
    if (x < (a + 1) / (a + b + 2)) return exp(log_front(x, a, b)) * fraction(x, a, b);
    return 1 - exp(log_front(1 - x, b, a)) * fraction(1 - x, b, a);
}

/* The quantile of p <= 1/2, by halving in log x, so that a small one keeps its digits. */
static double lower(double p, double a, double b) {
    double low = log(DBL_MIN), high = 0;
    if (p <= 0) return 0;
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if (incomplete(exp(middle), a, b) < p) low = middle;
        else high = middle;
    }
    return exp((low + high) / 2);
}

double beta_quantile(double p, double a, double b) {
    return p <= 0.5 ? lower(p, a, b) : 1 - lower(1 - p, b, a);
}
