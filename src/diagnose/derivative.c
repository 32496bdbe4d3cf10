/* Derivatives along a path: their coefficients, and finite differences. */
#include "diagnose/derivative.h"

#include "solver/exponential.h"
#include "solver/series.h"

#include <math.h>
#include <string.h>

enum { ORDER = PATH_ORDERS, WINDOW = 5 };

/* out = integral of a from 0 to h. */
static void integrate(const double *a, double *out) {
    out[0] = 0;
    for (int k = 1; k <= ORDER; k++) out[k] = a[k - 1] / k;
}

static void differentiate(const double *a, double *out) {
    out[ORDER] = 0; /* unknown, and not asked for */
    for (int k = 0; k < ORDER; k++) out[k] = (k + 1) * a[k + 1];
}

int derivative_map(struct derivative_map *map, const struct schedule *schedule, enum clock_kind clock, double t,
                   struct error *err) {
    double alpha[ORDER + 1], sigma[ORDER + 1], kappa[ORDER + 1], slope[ORDER + 1], lambda[ORDER + 1];
    if (schedule_series(schedule, clock, t, ORDER, alpha, sigma, err) != 0) return -1;
    series_div(ORDER, sigma, alpha, kappa);
    differentiate(kappa, slope);
    series_log(ORDER, kappa, lambda);
    series_scale(ORDER, -1, lambda, lambda);
    for (int j = 0; j <= EPSILON_ORDERS; j++) {
        double power[ORDER + 1] = {0}, epsilon[ORDER + 1], product[ORDER + 1], moved[ORDER + 1], path[ORDER + 1],
                             score[ORDER + 1];
        power[j] = 1 / tgamma(j + 1);
        series_compose(ORDER, power, lambda, epsilon); /* (lambda(h) - lambda(0))^j/j! */
        series_mul(ORDER, epsilon, slope, product);
        integrate(product, moved);
        series_mul(ORDER, moved, alpha, path);
        series_div(ORDER, epsilon, sigma, score);
        for (int k = 0; k <= PATH_ORDERS; k++) map->path[k][j] = tgamma(k + 1) * path[k];
        for (int k = 0; k <= EPSILON_ORDERS; k++) map->score[k][j] = -tgamma(k + 1) * score[k];
    }
    for (int k = 0; k <= PATH_ORDERS; k++) map->on_x[k] = tgamma(k + 1) * alpha[k] / alpha[0];
    return 0;
}

/* ---- finite differences ---- */

/* Whether `offset` is in the window of five points `apart` units from each other, `first` of them before the centre. */
static bool in_window(int offset, int first, int apart) {
    return offset % apart == 0 && offset / apart >= -first && offset / apart < WINDOW - first;
}

static int windows_first(const struct stencil *stencil) {
    return -stencil->offsets[0] / 4; /* the widest window has the first point */
}

void stencil_place(struct stencil *stencil, int before, int after) {
    int first = WINDOW / 2;
    if (4 * first > before) first = before / 4;
    if (4 * (WINDOW - 1 - first) > after) first = WINDOW - 1 - after / 4;
    *stencil = (struct stencil){.count = 0};
    for (int offset = -4 * first; offset <= 4 * (WINDOW - 1 - first); offset++) {
        if (!in_window(offset, first, 1) && !in_window(offset, first, 2) && !in_window(offset, first, 4)) continue;
        if (offset == 0) stencil->centre = stencil->count;
        stencil->offsets[stencil->count++] = offset;
    }
}

/* Weights of the k-th derivative over the points of windows `apart`, and `twice` as far apart unless that is 0. */
static void weigh(const struct stencil *stencil, const double *lambda, int apart, int twice, int k, double *weights) {
    int first = windows_first(stencil), chosen[STENCIL_POINTS], count = 0;
    double nodes[STENCIL_POINTS], moments[STENCIL_POINTS] = {0}, found[STENCIL_POINTS], scale = 0;
    for (int i = 0; i < stencil->count; i++) {
        int offset = stencil->offsets[i];
        if (!in_window(offset, first, apart) && !(twice && in_window(offset, first, twice))) continue;
        nodes[count] = lambda[i] - lambda[stencil->centre];
        scale = fmax(scale, fabs(nodes[count]));
        chosen[count++] = i;
    }
    for (int i = 0; i < count; i++) nodes[i] /= scale;
    moments[k] = tgamma(k + 1) / pow(scale, k);
    solve_moments(nodes, moments, count, found);
    memset(weights, 0, STENCIL_POINTS * sizeof *weights);
    for (int i = 0; i < count; i++) weights[chosen[i]] = found[i];
}

void stencil_weigh(struct stencil *stencil, const double *lambda) {
    for (int level = 0; level < STENCIL_LEVELS; level++)
        for (int k = 0; k <= EPSILON_ORDERS; k++) {
            int apart = 1 << level;
            weigh(stencil, lambda, apart, 0, k, stencil->simple[level][k]);
            weigh(stencil, lambda, apart, 2 * apart, k, stencil->extrapolated[level][k]);
        }
}
