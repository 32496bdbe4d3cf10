/* A discrete schedule between its trained steps. */
#include "solver/table.h"

#include <math.h>
#include <stdlib.h>

/* diffusers' squaredcos_cap_v2: beta = min(1 - f(i+1)/f(i), 0.999), f(i) = cos^2(a) at a = pi/2 (i/N + s)/(1 + s);
 * cos^2 a - cos^2 b = sin(b - a) sin(b + a) keeps the digits. */
static double cosine_beta(int i, int steps) {
    const double s = 0.008, quarter = M_PI / 2 / (1 + s);
    double a = quarter * ((double)i / steps + s), d = quarter / steps;
    return fmin(sin(d) * sin(2 * a + d) / (cos(a) * cos(a)), 0.999);
}

static double linspace(double from, double to, int i, int count) {
    return count > 1 ? from + (to - from) * i / (count - 1) : from;
}

static double beta_at(const struct card *card, int i) {
    double beta0 = card->schedule.beta0, beta1 = card->schedule.beta1;
    int steps = card->schedule.steps;
    if (card->schedule.kind == SCHEDULE_DISCRETE_COSINE) return cosine_beta(i, steps);
    if (card->schedule.kind == SCHEDULE_DISCRETE_LINEAR) return linspace(beta0, beta1, i, steps);
    double root = linspace(sqrt(beta0), sqrt(beta1), i, steps);
    return root * root;
}

static int fill_logsnr(struct table *table, const struct card *card, struct error *err) {
    double log_cumprod = 0;
    for (int n = 0; n < table->steps; n++) {
        if (card->schedule.kind == SCHEDULE_TABLE) {
            const double *cumprod = card->schedule.alphas_cumprod, *alphas = card->schedule.alphas;
            table->logsnr[n] = cumprod ? 0.5 * (log(cumprod[n]) - log1p(-cumprod[n]))
                                       : log(alphas[n] / card->schedule.sigmas[n]);
            if (!cumprod) table->norm[n] = hypot(alphas[n], card->schedule.sigmas[n]);
        } else {
            log_cumprod += log1p(-beta_at(card, n));
            table->logsnr[n] = -0.5 * log(expm1(-log_cumprod));
        }
        bool zero = n + 1 == table->steps && table->logsnr[n] == -INFINITY;
        if (!(isfinite(table->logsnr[n]) || zero) || (n > 0 && !(table->logsnr[n] < table->logsnr[n - 1])))
            return error_set(err, CODE_DATA,
                             "schedule: expected alpha/sigma that falls from step to step, at most the last one to 0; "
                             "it does not at step %d",
                             n);
    }
    return 0;
}

/* One-sided slope at an end out of the two differences next to it, kept monotone. */
static double end_slope(double near, double far) {
    double slope = (3 * near - far) / 2;
    return slope * near <= 0 ? 0 : slope; /* |slope| <= 3 |near| holds, as both differences have the same sign */
}

static void fill_slope(struct table *table) {
    const double *y = table->logsnr;
    int last = table->steps - 1;
    if (last > 0 && y[last] == -INFINITY) table->slope[last--] = -INFINITY; /* see table_angle */
    table->slope[0] = 0;
    if (last >= 1) table->slope[0] = table->slope[last] = y[1] - y[0];
    if (last >= 2) {
        table->slope[0] = end_slope(y[1] - y[0], y[2] - y[1]);
        table->slope[last] = end_slope(y[last] - y[last - 1], y[last - 1] - y[last - 2]);
    }
    for (int n = 1; n < last; n++) {
        double before = y[n] - y[n - 1], after = y[n + 1] - y[n];
        table->slope[n] = 2 * before * after / (before + after); /* the harmonic mean */
    }
}

int table_init(struct table *table, const struct card *card, struct error *err) {
    int steps = card->schedule.steps;
    *table = (struct table){.steps = steps};
    if (steps < 1) return error_set(err, CODE_DATA, "schedule.steps: expected at least 1, found %d", steps);
    table->logsnr = malloc((size_t)steps * sizeof(double));
    table->slope = malloc((size_t)steps * sizeof(double));
    if (card->schedule.alphas) table->norm = malloc((size_t)steps * sizeof(double));
    bool whole = table->logsnr && table->slope && (table->norm || !card->schedule.alphas);
    int rc = whole ? fill_logsnr(table, card, err) : error_memory(err);
    if (rc == 0) fill_slope(table);
    else table_release(table);
    return rc;
}

void table_release(struct table *table) {
    free(table->logsnr);
    free(table->slope);
    free(table->norm);
    *table = (struct table){0};
}

/* The cubic on [n, n+1] and its derivative, x = 0..1 from n on. */
static double cubic(const struct table *table, int n, double x, double *derivative) {
    double y0 = table->logsnr[n], y1 = table->logsnr[n + 1], d0 = table->slope[n], d1 = table->slope[n + 1];
    double c2 = 3 * (y1 - y0) - 2 * d0 - d1, c3 = d0 + d1 - 2 * (y1 - y0);
    *derivative = d0 + x * (2 * c2 + x * 3 * c3);
    return y0 + x * (d0 + x * (c2 + x * c3));
}

/* The fractional step at t, inside the table. A whole number within rounding is that very knot. */
static double index_of(const struct table *table, double t) {
    double index = t * table->steps - 1, nearest = round(index);
    index = fabs(index - nearest) < 1e-9 ? nearest : index;
    return fmin(fmax(index, 0), table->steps - 1);
}

static double value_at(const struct table *table, double t, double *derivative) {
    double index = index_of(table, t), angle, turn;
    int n = (int)index;
    *derivative = table->slope[n];
    if (index == n) return table->logsnr[n];
    if (!table_angle(table, t, &angle, &turn)) return cubic(table, n, index - n, derivative);
    *derivative = -turn / table->steps / (sin(angle) * cos(angle));
    return -log(tan(angle));
}

bool table_angle(const struct table *table, double t, double *angle, double *turn) {
    int last = table->steps - 1;
    double index = index_of(table, t);
    if (last < 1 || table->logsnr[last] != -INFINITY || index <= last - 1) return false;
    double rest = atan(exp(table->logsnr[last - 1])); /* from pi/2 */
    *angle = M_PI / 2 - rest * (last - index);
    *turn = rest * table->steps;
    return true;
}

double table_norm(const struct table *table, double t) {
    double index = index_of(table, t);
    int n = (int)index;
    if (!table->norm) return 1;
    return index == n ? table->norm[n] : table->norm[n] + (index - n) * (table->norm[n + 1] - table->norm[n]);
}

double table_norm_slope(const struct table *table, double t) {
    int n = (int)ceil(index_of(table, t));
    if (table->steps < 2 || !table->norm) return 0;
    if (n == 0) n = 1;
    return (table->norm[n] - table->norm[n - 1]) * table->steps;
}

double table_logsnr(const struct table *table, double t) {
    double derivative;
    return value_at(table, t, &derivative);
}

double table_slope(const struct table *table, double t) {
    double derivative;
    value_at(table, t, &derivative);
    return derivative * table->steps;
}

/* Where in 0..1 the falling cubic on [n, n+1] has the value: Newton's steps, or halving where they leave the bracket.
 */
static double solve(const struct table *table, int n, double value) {
    double low = 0, high = 1, x = (value - table->logsnr[n]) / (table->logsnr[n + 1] - table->logsnr[n]);
    for (int i = 0; i < 100; i++) {
        double derivative, miss = cubic(table, n, x, &derivative) - value;
        if (miss > 0) low = x;
        else high = x;
        double next = x - miss / derivative;
        if (!(next > low && next < high)) next = (low + high) / 2;
        if (fabs(next - x) <= 1e-16) return next;
        x = next;
    }
    return x;
}

double table_time(const struct table *table, double logsnr) {
    int low = 0, high = table->steps - 1;
    if (logsnr >= table->logsnr[low]) return 1.0 / table->steps;
    if (logsnr <= table->logsnr[high]) return 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table->logsnr[middle] > logsnr) low = middle;
        else high = middle;
    }
    if (table->logsnr[low + 1] == -INFINITY)
        return (low + 2 - atan(exp(logsnr)) / atan(exp(table->logsnr[low]))) / table->steps;
    return (low + solve(table, low, logsnr) + 1) / table->steps;
}
