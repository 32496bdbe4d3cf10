/* Exponential integrators, the common ground of DPM-Solver, UniPC, DEIS and others. */
#include "solver/exponential.h"

#include <math.h>

struct transfer transfer_between(enum held held, const struct node *from, const struct node *to) {
    double h = to->logsnr - from->logsnr;
    if (held == HELD_X0) return (struct transfer){to->sigma / from->sigma, -to->alpha, h, -h};
    return (struct transfer){to->alpha / from->alpha, -to->sigma, h, h};
}

double psi(int k, double z) {
    if (fabs(z) < 2) {
        double term = 1, sum = 0;
        for (int i = 2; i <= k + 1; i++) term /= i;
        for (int n = 1; n <= 40; n++) {
            term *= z; /* z^n/(n + k)! */
            sum += term;
            term /= n + 1 + k;
        }
        return sum;
    }
    double value = expm1(z), factorial = 1;
    for (int i = 1; i <= k; i++) {
        factorial *= i;
        value = value / z - 1 / factorial;
    }
    return value;
}

const struct quadrature *gauss_legendre(void) {
    static _Thread_local struct quadrature rule;
    if (rule.w[0] > 0) return &rule;
    for (int i = 0; i < GAUSS_POINTS; i++) {
        double root = cos(M_PI * (i + 0.75) / (GAUSS_POINTS + 0.5)), slope = 0;
        for (int round = 0; round < 10; round++) { /* Newton's steps on the Legendre polynomial by its recurrence */
            double p = 1, before = 0;
            for (int n = 1; n <= GAUSS_POINTS; n++) {
                double next = ((2 * n - 1) * root * p - (n - 1) * before) / n;
                before = p;
                p = next;
            }
            slope = GAUSS_POINTS * (root * p - before) / (root * root - 1);
            root -= p / slope;
        }
        rule.x[i] = (1 - root) / 2;
        rule.w[i] = 1 / ((1 - root * root) * slope * slope);
    }
    return &rule;
}

double lagrange(const double *nodes, int count, int j, double u) {
    double product = 1;
    for (int i = 0; i < count; i++)
        if (i != j) product *= (u - nodes[i]) / (nodes[j] - nodes[i]);
    return product;
}

/* Divided differences solve such a system (Bjorck & Pereyra 1970, dual of Newton's interpolation). */
void solve_moments(const double *nodes, const double *moments, int count, double *weights) {
    for (int n = 0; n < count; n++) weights[n] = moments[n];
    for (int k = 0; k < count - 1; k++)
        for (int n = count - 1; n > k; n--) weights[n] -= nodes[k] * weights[n - 1];
    for (int k = count - 2; k >= 0; k--) {
        for (int n = k + 1; n < count; n++) weights[n] /= nodes[n] - nodes[n - k - 1];
        for (int n = k; n < count - 1; n++) weights[n] -= weights[n + 1];
    }
}

void evaluate_and_keep(struct builder *builder, enum held held, int out) {
    struct point point = builder_evaluate(builder, 0, builder->nodes[builder->index].t, out);
    builder_keep(builder, out, held == HELD_X0 ? &point.x0 : &point.epsilon);
}
