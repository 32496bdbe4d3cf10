/* The schedules one by one: a row each. */
#include "solver/schedules.h"

#include "solver/series.h"

#include <complex.h>
#include <math.h>

/* ---- variance-preserving, as functions of lambda: schedule-free ---- */

static double alpha_of_logsnr(double logsnr) {
    return 1 / sqrt(1 + exp(-2 * logsnr));
}

static double sigma_of_logsnr(double logsnr) {
    return 1 / sqrt(1 + exp(2 * logsnr));
}

/* out = (1 + e^{2 (x + rate h)})^{-1/2}: sigma of lambda = x + rate h, and alpha of lambda = -x - rate h. */
static void logistic_root(double x, double rate, int order, double *out) {
    double power[order + 1], root[order + 1], one[order + 1];
    power[0] = exp(2 * x);
    for (int k = 1; k <= order; k++) power[k] = power[k - 1] * 2 * rate / k;
    for (int k = 0; k <= order; k++) one[k] = k == 0;
    power[0] += 1;
    series_sqrt(order, power, root);
    series_div(order, one, root, out);
}

static void logistic_series(double logsnr, double rate, int order, double *alpha, double *sigma) {
    logistic_root(-logsnr, -rate, order, alpha);
    logistic_root(logsnr, rate, order, sigma);
}

/* alpha^2 and sigma^2 = 1/(1 + e^{-+2 lambda}) have their poles at lambda = (k + 1/2) pi i. */
static double logistic_radius(double logsnr) {
    return hypot(logsnr, M_PI / 2);
}

static int vp_logsnr_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                            struct error *err) {
    (void)err;
    logistic_series(s->kind->logsnr(s, t), 1, order, alpha, sigma);
    return 0;
}

static double vp_logsnr_radius(const struct schedule *s, double t) {
    return logistic_radius(s->kind->logsnr(s, t));
}

static double alpha_by_logsnr(const struct schedule *s, double t) {
    return alpha_of_logsnr(s->kind->logsnr(s, t));
}

static double sigma_by_logsnr(const struct schedule *s, double t) {
    return sigma_of_logsnr(s->kind->logsnr(s, t));
}

/* sigma = sqrt(1 - alpha^2) as series, from the exact sigma(t). */
static void sigma_from_alpha(double sigma_t, int order, const double *alpha, double *sigma) {
    double square[order + 1];
    series_mul(order, alpha, alpha, square);
    series_scale(order, -1, square, square);
    square[0] = sigma_t * sigma_t;
    series_sqrt(order, square, sigma);
}

/* ---- linear: B(t) = integral of beta = beta0 t + (beta1 - beta0) t^2/2, alpha = e^{-B/2} ---- */

static double integral(const struct schedule *s, double t) {
    double beta0 = s->card->schedule.beta0, beta1 = s->card->schedule.beta1;
    return t * (beta0 + (beta1 - beta0) * t / 2);
}

static double linear_alpha(const struct schedule *s, double t) {
    return exp(-integral(s, t) / 2);
}

static double linear_sigma(const struct schedule *s, double t) {
    return sqrt(-expm1(-integral(s, t)));
}

static double linear_logsnr(const struct schedule *s, double t) {
    return -log(expm1(integral(s, t))) / 2;
}

double linear_inverse(double beta0, double beta1, double logsnr) {
    double b = log1p(exp(-2 * logsnr));
    return 2 * b / (beta0 + sqrt(beta0 * beta0 + 2 * (beta1 - beta0) * b));
}

static double linear_time(const struct schedule *s, double logsnr) {
    return linear_inverse(s->card->schedule.beta0, s->card->schedule.beta1, logsnr);
}

static int linear_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                         struct error *err) {
    (void)err;
    double beta0 = s->card->schedule.beta0, slope = s->card->schedule.beta1 - beta0;
    double terms[3] = {-integral(s, t) / 2, (beta0 + slope * t) / 2, -slope / 4}; /* of -B(t - h)/2 */
    double exponent[order + 1];
    for (int k = 0; k <= order; k++) exponent[k] = k < 3 ? terms[k] : 0;
    series_exp(order, exponent, alpha);
    sigma_from_alpha(linear_sigma(s, t), order, alpha, sigma);
    return 0;
}

/* sigma^2 = 1 - e^{-B} vanishes where B = 2 pi i k: at t = 0, and at a root with positive real part for each k. */
static double linear_radius(const struct schedule *s, double t) {
    double beta0 = s->card->schedule.beta0, slope = s->card->schedule.beta1 - beta0, radius = t;
    for (int k = 1;; k++) {
        double complex b = 2 * M_PI * k * I;
        double complex root = 2 * b / (beta0 + csqrt(beta0 * beta0 + 2 * slope * b));
        if (cabs(root) - t > radius) return radius; /* those of larger k lie further out */
        radius = fmin(radius, cabs(root - t));
    }
}

/* ---- cosine: alpha = cos(a)/cos(a0), a = pi/2 (t + s)/(1 + s), a0 = a at t = 0 ---- */

static double cosine_rate(const struct schedule *s) { /* da/dt */
    return M_PI / 2 / (1 + s->card->schedule.s);
}

static double cosine_a0(const struct schedule *s) {
    return cosine_rate(s) * s->card->schedule.s;
}

static double cosine_alpha(const struct schedule *s, double t) {
    return sin(cosine_rate(s) * (1 - t)) / cos(cosine_a0(s)); /* cos(a) = sin(pi/2 - a) */
}

static double cosine_sigma(const struct schedule *s, double t) { /* cos^2 a0 - cos^2 a = sin(a - a0) sin(a + a0) */
    double a0 = cosine_a0(s), rise = cosine_rate(s) * t;
    return sqrt(sin(rise) * sin(rise + 2 * a0)) / cos(a0);
}

static double cosine_logsnr(const struct schedule *s, double t) {
    return log(cosine_alpha(s, t) / cosine_sigma(s, t));
}

static double cosine_time(const struct schedule *s, double logsnr) {
    double a0 = cosine_a0(s), cosine = alpha_of_logsnr(logsnr) * cos(a0);
    double sine = hypot(sin(a0), sigma_of_logsnr(logsnr) * cos(a0)); /* sin^2 a = sin^2 a0 + sigma^2 cos^2 a0 */
    return (atan2(sine, cosine) - a0) / cosine_rate(s);
}

static int cosine_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                         struct error *err) {
    (void)err;
    double rate = cosine_rate(s), a = rate * (t + s->card->schedule.s), factor = 1 / cos(cosine_a0(s));
    const double cycle[4] = {sin(rate * (1 - t)), sin(a), -sin(rate * (1 - t)), -sin(a)}; /* of cos(a - u) */
    for (int k = 0; k <= order; k++) {
        alpha[k] = cycle[k % 4] * factor;
        sigma[k] = k % 2 ? (k % 4 == 1 ? -factor : factor) : 0; /* of gvp at t = 0, where it is a sine */
        factor *= rate / (k + 1);
    }
    if (t > 0 || s->card->schedule.s > 0) sigma_from_alpha(cosine_sigma(s, t), order, alpha, sigma);
    return 0;
}

/* alpha is entire; sigma^2 vanishes at t = 0, the nearest, at -2s and 2, and so on with period 2(1 + s). */
static double cosine_radius(const struct schedule *s, double t) {
    (void)s;
    return fmin(t, 2 - t);
}

/* ---- log-linear: lambda linear in t ---- */

static double log_linear_rate(const struct schedule *s) { /* -d lambda/dt > 0 */
    return s->card->schedule.logsnr_start - s->card->schedule.logsnr_end;
}

static double log_linear_logsnr(const struct schedule *s, double t) {
    return s->card->schedule.logsnr_start - log_linear_rate(s) * t;
}

static double log_linear_time(const struct schedule *s, double logsnr) {
    return (s->card->schedule.logsnr_start - logsnr) / log_linear_rate(s);
}

static int log_linear_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                             struct error *err) {
    (void)err;
    logistic_series(log_linear_logsnr(s, t), log_linear_rate(s), order, alpha, sigma);
    return 0;
}

static double log_linear_radius(const struct schedule *s, double t) {
    return logistic_radius(log_linear_logsnr(s, t)) / log_linear_rate(s);
}

/* ---- discrete: lambda by table ---- */

static double discrete_logsnr(const struct schedule *s, double t) {
    return table_logsnr(&s->table, t);
}

static double discrete_time(const struct schedule *s, double logsnr) {
    return table_time(&s->table, logsnr);
}

static int discrete_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                           struct error *err) {
    if (order > 1)
        return error_set(err, CODE_DATA,
                         "sampler.clock: t has no series beyond order 1 on a discrete schedule: a step crosses many of "
                         "its knots; use clock: logsnr");
    double angle, turn; /* towards alpha = 0 lambda has no slope, and the angle has */
    if (table_angle(&s->table, t, &angle, &turn)) {
        alpha[0] = cos(angle);
        sigma[0] = sin(angle);
        for (int k = 1; k <= order; k++) {
            alpha[k] = sigma[0] * turn;
            sigma[k] = -alpha[0] * turn;
        }
        return 0;
    }
    logistic_series(table_logsnr(&s->table, t), -table_slope(&s->table, t), order, alpha, sigma);
    return 0;
}

static double discrete_radius(const struct schedule *s, double t) {
    (void)s, (void)t;
    return 0;
}

/* ---- edm: t is sigma, alpha is 1 ---- */

static double edm_alpha(const struct schedule *s, double t) {
    (void)s, (void)t;
    return 1;
}

static double edm_sigma(const struct schedule *s, double t) {
    (void)s;
    return t;
}

static double edm_logsnr(const struct schedule *s, double t) {
    (void)s;
    return -log(t);
}

static double edm_time(const struct schedule *s, double logsnr) {
    (void)s;
    return exp(-logsnr);
}

static int edm_series(const struct schedule *s, double t, int order, double *alpha, double *sigma, struct error *err) {
    (void)s, (void)err;
    for (int k = 0; k <= order; k++) {
        alpha[k] = k == 0;
        sigma[k] = k == 0 ? t : -(k == 1);
    }
    return 0;
}

static double edm_radius(const struct schedule *s, double t) {
    (void)s, (void)t;
    return INFINITY;
}

static int edm_logsnr_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                             struct error *err) {
    (void)s, (void)err;
    for (int k = 0; k <= order; k++) { /* sigma = e^{-lambda - h} */
        alpha[k] = k == 0;
        sigma[k] = k == 0 ? t : -sigma[k - 1] / k;
    }
    return 0;
}

/* ---- flow: alpha = 1 - t, sigma = S t ---- */

static double flow_alpha(const struct schedule *s, double t) {
    (void)s;
    return 1 - t;
}

static double flow_sigma(const struct schedule *s, double t) {
    return s->card->schedule.noise_scale * t;
}

static double flow_logsnr(const struct schedule *s, double t) {
    return log((1 - t) / flow_sigma(s, t));
}

static double flow_time(const struct schedule *s, double logsnr) {
    return 1 / (1 + s->card->schedule.noise_scale * exp(logsnr));
}

static int flow_series(const struct schedule *s, double t, int order, double *alpha, double *sigma, struct error *err) {
    (void)err;
    for (int k = 0; k <= order; k++) {
        alpha[k] = k == 0 ? 1 - t : k == 1;
        sigma[k] = k == 0 ? flow_sigma(s, t) : -(k == 1) * s->card->schedule.noise_scale;
    }
    return 0;
}

/* out = numerator/(1 + power e^(rate h)). */
static void logistic(double numerator, double power, double rate, int order, double *out) {
    double over[order + 1], under[order + 1];
    over[0] = numerator;
    under[0] = 1 + power;
    for (int k = 1; k <= order; k++) {
        over[k] = 0;
        under[k] = power *= rate / k;
    }
    series_div(order, over, under, out);
}

/* With S e^lambda = (1 - t)/t: alpha = 1/(1 + e^-lambda/S), sigma = S/(1 + S e^lambda), with poles at odd multiples of
 * pi i. */
static int flow_logsnr_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                              struct error *err) {
    (void)err;
    logistic(1, t / (1 - t), -1, order, alpha);
    logistic(s->card->schedule.noise_scale, (1 - t) / t, 1, order, sigma);
    return 0;
}

static double flow_logsnr_radius(const struct schedule *s, double t) {
    return hypot(flow_logsnr(s, t) + log(s->card->schedule.noise_scale), M_PI);
}

/* ---- a table of alphas and sigmas: lambda as in discrete ones, times the norm hypot(alpha, sigma) ---- */

static double path_alpha(const struct schedule *s, double t) {
    return table_norm(&s->table, t) * alpha_by_logsnr(s, t);
}

static double path_sigma(const struct schedule *s, double t) {
    return table_norm(&s->table, t) * sigma_by_logsnr(s, t);
}

static int path_series(const struct schedule *s, double t, int order, double *alpha, double *sigma, struct error *err) {
    if (discrete_series(s, t, order, alpha, sigma, err) != 0) return -1;
    double norm = table_norm(&s->table, t), slope = table_norm_slope(&s->table, t);
    if (order > 0) {
        alpha[1] = norm * alpha[1] - slope * alpha[0];
        sigma[1] = norm * sigma[1] - slope * sigma[0];
    }
    alpha[0] *= norm;
    sigma[0] *= norm;
    return 0;
}

static int path_logsnr_series(const struct schedule *s, double t, int order, double *alpha, double *sigma,
                              struct error *err) {
    if (order > 1)
        return error_set(err, CODE_DATA,
                         "sampler.order: a table of alphas and sigmas has no series beyond order 1: say order .inf");
    if (path_series(s, t, order, alpha, sigma, err) != 0) return -1;
    if (order > 0) { /* by the chain rule: d lambda = -slope dt */
        alpha[1] /= -table_slope(&s->table, t);
        sigma[1] /= -table_slope(&s->table, t);
    }
    return 0;
}

#define VP vp_logsnr_series, vp_logsnr_radius
#define DISCRETE \
    {alpha_by_logsnr, sigma_by_logsnr, discrete_logsnr, discrete_time, discrete_series, discrete_radius, VP, 1, \
     SCALE_UNIT}
static const struct schedule_functions schedule_kinds[] = {
    [SCHEDULE_LINEAR] = {linear_alpha, linear_sigma, linear_logsnr, linear_time, linear_series, linear_radius, VP, 1,
                         SCALE_UNIT},
    [SCHEDULE_COSINE] = {cosine_alpha, cosine_sigma, cosine_logsnr, cosine_time, cosine_series, cosine_radius, VP,
                         0.9946, SCALE_UNIT},
    [SCHEDULE_LOG_LINEAR] = {alpha_by_logsnr, sigma_by_logsnr, log_linear_logsnr, log_linear_time, log_linear_series,
                             log_linear_radius, VP, 1, SCALE_UNIT},
    [SCHEDULE_DISCRETE_LINEAR] = DISCRETE,
    [SCHEDULE_DISCRETE_SCALED_LINEAR] = DISCRETE,
    [SCHEDULE_DISCRETE_COSINE] = DISCRETE,
    [SCHEDULE_TABLE] = DISCRETE,
    [SCHEDULE_EDM] = {edm_alpha, edm_sigma, edm_logsnr, edm_time, edm_series, edm_radius, edm_logsnr_series, edm_radius,
                      0, SCALE_SIGMA},
    [SCHEDULE_FLOW] = {flow_alpha, flow_sigma, flow_logsnr, flow_time, flow_series, edm_radius, flow_logsnr_series,
                       flow_logsnr_radius, 1, SCALE_SIGMA},
    [SCHEDULE_GVP] = {cosine_alpha, cosine_sigma, cosine_logsnr, cosine_time, cosine_series, cosine_radius, VP, 1,
                      SCALE_UNIT},
};
static const struct schedule_functions path_table = {path_alpha,  path_sigma,      discrete_logsnr,    discrete_time,
                                                     path_series, discrete_radius, path_logsnr_series, discrete_radius,
                                                     1,           SCALE_NORM};

const struct schedule_functions *schedule_functions_of(const struct card *card) {
    return card->schedule.alphas ? &path_table : &schedule_kinds[card->schedule.kind];
}

bool schedule_kind_has_table(const struct schedule_functions *kind) {
    return kind->series == discrete_series || kind->series == path_series;
}
