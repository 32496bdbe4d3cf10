#include "solver/schedule.h"

#include "solver/series.h"
#include "solver/table.h"

#include <complex.h>
#include <math.h>
#include <stdlib.h>

/* What differs from schedule to schedule. Everything that can be, is computed without cancellation. */
struct kind {
    double (*alpha)(const struct schedule *, double t);
    double (*sigma)(const struct schedule *, double t);
    double (*logsnr)(const struct schedule *, double t);
    double (*time)(const struct schedule *, double logsnr);
    /* alpha(t - h) and sigma(t - h), clock t */
    int (*series)(const struct schedule *, double t, int order, double *alpha, double *sigma, struct error *err);
    double (*radius)(const struct schedule *, double t);
    double t_start;
};

struct schedule {
    const struct card *card;
    const struct kind *kind;
    struct table table; /* discrete ones; else empty */
    struct schedule *guide;
};

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

static void logsnr_series(double logsnr, double rate, int order, double *alpha, double *sigma) {
    logistic_root(-logsnr, -rate, order, alpha);
    logistic_root(logsnr, rate, order, sigma);
}

/* alpha^2 and sigma^2 = 1/(1 + e^{-+2 lambda}) have their poles at lambda = (k + 1/2) pi i. */
static double logsnr_radius(double logsnr) {
    return hypot(logsnr, M_PI / 2);
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

static double linear_inverse(double beta0, double beta1, double logsnr) {
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
        factor *= rate / (k + 1);
    }
    sigma_from_alpha(cosine_sigma(s, t), order, alpha, sigma);
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
    logsnr_series(log_linear_logsnr(s, t), log_linear_rate(s), order, alpha, sigma);
    return 0;
}

static double log_linear_radius(const struct schedule *s, double t) {
    return logsnr_radius(log_linear_logsnr(s, t)) / log_linear_rate(s);
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
        return error_set(err, CODE_DATA, "sampler.clock: t has no series beyond order 1 on a discrete schedule: a step "
                         "crosses many of its knots; use clock: logsnr");
    logsnr_series(table_logsnr(&s->table, t), -table_slope(&s->table, t), order, alpha, sigma);
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

#define DISCRETE {alpha_by_logsnr, sigma_by_logsnr, discrete_logsnr, discrete_time, discrete_series, discrete_radius, 1}
static const struct kind kinds[] = {
    [SCHEDULE_LINEAR] = {linear_alpha, linear_sigma, linear_logsnr, linear_time, linear_series, linear_radius, 1},
    [SCHEDULE_COSINE] = {cosine_alpha, cosine_sigma, cosine_logsnr, cosine_time, cosine_series, cosine_radius, 0.9946},
    [SCHEDULE_LOG_LINEAR] = {alpha_by_logsnr, sigma_by_logsnr, log_linear_logsnr, log_linear_time, log_linear_series,
                             log_linear_radius, 1},
    [SCHEDULE_DISCRETE_LINEAR] = DISCRETE,
    [SCHEDULE_DISCRETE_SCALED_LINEAR] = DISCRETE,
    [SCHEDULE_DISCRETE_COSINE] = DISCRETE,
    [SCHEDULE_TABLE] = DISCRETE,
    [SCHEDULE_EDM] = {edm_alpha, edm_sigma, edm_logsnr, edm_time, edm_series, edm_radius, 0}, /* t_start: sigma_max */
};

/* ---- what the header promises ---- */

int schedule_new(struct schedule **schedule, const struct card *card, struct error *err) {
    *schedule = NULL;
    if (card->schedule.kind == SCHEDULE_EDM && card->time.kind == TIME_DISCRETE)
        return error_set(err, CODE_DATA, "time.kind: discrete, but an edm schedule has no trained steps: give the schedule "
                         "the model was trained with (for iDDPM, discrete-cosine)");
    struct schedule *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->card = card;
    made->kind = &kinds[card->schedule.kind];
    if ((schedule_is_discrete(made) && table_init(&made->table, card, err) != 0) ||
        (card->guide && schedule_new(&made->guide, card->guide, err) != 0)) {
        schedule_free(made);
        return -1;
    }
    *schedule = made;
    return 0;
}

void schedule_free(struct schedule *schedule) {
    if (!schedule) return;
    schedule_free(schedule->guide);
    table_free(&schedule->table);
    free(schedule);
}

const struct schedule *schedule_guide(const struct schedule *schedule) {
    return schedule->guide;
}

double schedule_alpha(const struct schedule *schedule, double t) {
    return schedule->kind->alpha(schedule, t);
}

double schedule_sigma(const struct schedule *schedule, double t) {
    return schedule->kind->sigma(schedule, t);
}

double schedule_logsnr(const struct schedule *schedule, double t) {
    return schedule->kind->logsnr(schedule, t);
}

double schedule_time(const struct schedule *schedule, double logsnr) {
    return schedule->kind->time(schedule, logsnr);
}

bool schedule_is_discrete(const struct schedule *schedule) {
    return schedule->kind->series == discrete_series;
}

bool schedule_has_integer_times(const struct schedule *schedule) {
    const struct card *card = schedule->card;
    return (card->time.kind == TIME_DISCRETE && card->time.integer) ||
           (card->time.kind == TIME_C_NOISE && card->prediction == PREDICTION_EDM_IDDPM);
}

int schedule_steps(const struct schedule *schedule) {
    if (schedule_is_discrete(schedule)) return schedule->table.steps;
    return schedule->card->time.kind == TIME_DISCRETE ? schedule->card->time.steps : 0;
}

void schedule_range(const struct schedule *schedule, double *least, double *most) {
    bool edm = schedule->card->schedule.kind == SCHEDULE_EDM;
    *most = edm ? schedule->card->schedule.sigma_max : 1;
    *least = edm ? schedule->card->schedule.sigma_min : schedule_is_discrete(schedule) ? 1.0 / schedule->table.steps : 0;
}

double schedule_default_t_start(const struct schedule *schedule) {
    double least, most;
    schedule_range(schedule, &least, &most);
    return schedule->kind->t_start > 0 ? schedule->kind->t_start : most;
}

double schedule_default_t_end(const struct schedule *schedule) {
    double least, most;
    schedule_range(schedule, &least, &most);
    return least > 0 ? least : 1e-3;
}

double schedule_step(const struct schedule *schedule, enum clock_kind clock, double t, double s) {
    return clock == CLOCK_T ? t - s : schedule_logsnr(schedule, s) - schedule_logsnr(schedule, t);
}

static double c_noise(const struct schedule *schedule, double t) {
    double logsnr = schedule_logsnr(schedule, t);
    switch (schedule->card->prediction) {
    case PREDICTION_EDM_VP: return 999 * linear_inverse(0.1, 20, logsnr); /* EDM's beta_min, and beta_d = 19.9 */
    case PREDICTION_EDM_VE: return -logsnr - log(2);
    case PREDICTION_EDM_IDDPM: return round(t * schedule_steps(schedule) - 1);
    default: return -logsnr / 4;
    }
}

double schedule_model_time(const struct schedule *schedule, double t) {
    const struct card *card = schedule->card;
    switch (card->time.kind) {
    case TIME_CONTINUOUS: return t * card->time.scale;
    case TIME_DISCRETE: {
        double index = t * card->time.steps - 1;
        return card->time.integer || fabs(index - round(index)) < 1e-9 ? round(index) : index;
    }
    case TIME_SIGMA: return schedule_sigma(schedule, t) / schedule_alpha(schedule, t);
    case TIME_LOG_SIGMA: return -schedule_logsnr(schedule, t);
    case TIME_C_NOISE: return c_noise(schedule, t);
    }
    return t;
}

int schedule_series(const struct schedule *schedule, enum clock_kind clock, double t, int order, double *alpha,
                    double *sigma, struct error *err) {
    if (clock == CLOCK_T) return schedule->kind->series(schedule, t, order, alpha, sigma, err);
    double logsnr = schedule_logsnr(schedule, t);
    if (schedule->card->schedule.kind != SCHEDULE_EDM) {
        logsnr_series(logsnr, 1, order, alpha, sigma);
        return 0;
    }
    sigma[0] = t; /* alpha = 1, sigma = e^{-lambda - h} */
    for (int k = 1; k <= order; k++) sigma[k] = -sigma[k - 1] / k;
    for (int k = 0; k <= order; k++) alpha[k] = k == 0;
    return 0;
}

double schedule_radius(const struct schedule *schedule, enum clock_kind clock, double t) {
    if (clock == CLOCK_T || schedule->card->schedule.kind == SCHEDULE_EDM) return schedule->kind->radius(schedule, t);
    return logsnr_radius(schedule_logsnr(schedule, t));
}
