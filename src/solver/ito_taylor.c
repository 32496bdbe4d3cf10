/* ito-taylor: the quasi-Ito-Taylor method, Tachibana et al. 2021 (arXiv 2112.13339), section 4. SDE, weak orders 1, 2,
 * ... and .inf, and the strong order 1.5; 1 NFE a step, options order and clock.
 *
 * With ideal derivatives the reverse transition from t to s is the Gaussian posterior p(x_s | x_t, x0) at x0 = (x -
 * sigma epsilon)/alpha. With A = alpha_s/alpha_t and q = e^{2 lambda_t - 2 lambda_s} = sigma_s^2/(A^2 sigma_t^2) it is
 *   mean = A x - A (1 - q) sigma_t epsilon,   variance = (1 - q) sigma_s^2.
 * Order n cuts the series of both after h^n; .inf is DDPM's ancestral sampling (Ho et al. 2020, eq. 7). Order 1.5 is
 * the strong scheme with additive noise (Kloeden & Platen 1992, section 10.4): mean cut after h^2 and noise g dW + c dZ
 * + d (h dW - dZ), a Gaussian with the quadratic form below as its variance. */
#include "solver/registry.h"
#include "solver/series.h"

#include <math.h>

enum { ORDER_MOST = 60 };

/* Series, in h, of the mean's coefficients of x and epsilon and of the variance. */
static int posterior_series(const struct schedule *schedule, enum clock_kind clock, double t, int order, double *on_x,
                            double *on_epsilon, double *variance, struct error *err) {
    double alpha[order + 1], sigma[order + 1], square[order + 1], variance_s[order + 1],
        rest[order + 1]; /* rest: 1 - q */
    if (schedule_series(schedule, clock, t, order, alpha, sigma, err) != 0) return -1;
    series_scale(order, 1 / alpha[0], alpha, on_x);
    series_mul(order, on_x, on_x, square);
    series_mul(order, sigma, sigma, variance_s);
    series_div(order, variance_s, square, rest);
    series_scale(order, -1 / (sigma[0] * sigma[0]), rest, rest);
    rest[0] = 0; /* 1 - 1, exactly */
    series_mul(order, on_x, rest, on_epsilon);
    series_scale(order, -sigma[0], on_epsilon, on_epsilon);
    series_mul(order, variance_s, rest, variance);
    return 0;
}

/* With f = alpha'/alpha and g^2 = (sigma^2)' - 2 f sigma^2, ' = the clock's derivative towards noise: c = g times the
 * slope in x of the reverse drift, d = -g'; Var dW = h, Cov(dW, dZ) = h^2/2, Var dZ = h^3/3. */
static int strong_variance(const struct schedule *schedule, enum clock_kind clock, double t, double h, double *variance,
                           struct error *err) {
    double alpha[3], sigma[3], square[3], f[2], g2[2]; /* series in h, which runs towards data: ' is -d/dh */
    if (schedule_series(schedule, clock, t, 2, alpha, sigma, err) != 0) return -1;
    const double slope[2] = {-alpha[1], -2 * alpha[2]};
    series_div(1, slope, alpha, f);
    series_mul(2, sigma, sigma, square);
    series_mul(1, f, square, g2);
    for (int k = 0; k < 2; k++) g2[k] = -(k + 1) * square[k + 1] - 2 * g2[k];
    double g = sqrt(g2[0]), c = g * (-f[0] - g2[0] / square[0]), d = g2[1] / (2 * g);
    *variance = g2[0] * h + g * (c + d) * h * h + (c * c + c * d + d * d) * h * h * h / 3;
    return 0;
}

static int coefficients(const struct builder *builder, const struct node *from, const struct node *to, double *on_x,
                        double *on_epsilon, double *variance, struct error *err) {
    const struct sampler *sampler = builder->sampler;
    if (sampler->order == INFINITY) {
        double ratio, forward; /* forward = sigma_t^2 (1 - q) */
        builder_transition(from, to, &ratio, &forward);
        *on_x = 1 / ratio;
        *on_epsilon = -forward / (ratio * from->sigma);
        *variance = forward * pow(to->sigma / from->sigma, 2);
        return 0;
    }
    int order = sampler->order == 1.5 ? 2 : (int)sampler->order;
    double x[order + 1], epsilon[order + 1], cut[order + 1], h = builder_step(builder, from, to);
    if (posterior_series(builder->schedule, sampler->clock, from->t, order, x, epsilon, cut, err) != 0) return -1;
    *on_x = series_value(order, x, h);
    *on_epsilon = series_value(order, epsilon, h);
    *variance = series_value(order, cut, h);
    return sampler->order == 1.5 ? strong_variance(builder->schedule, sampler->clock, from->t, h, variance, err) : 0;
}

static int check(const struct builder *builder, const struct node *from, const struct node *to, struct error *err) {
    double on_x, on_epsilon, variance, order = builder->sampler->order;
    if (coefficients(builder, from, to, &on_x, &on_epsilon, &variance, err) != 0) return -1;
    if (variance >= 0) return 0;
    return error_set(
        err, CODE_DATA,
        "sampler.order: the variance of order %g, cut after h^%g, is negative (%.3g) in the step from t = %.4g to %.4g",
        order, order, variance, from->t, to->t);
}

static double new_noise(const struct sampler *sampler) {
    return sampler->order == INFINITY ? 1 : NAN;
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    double on_x, on_epsilon, variance;
    struct form next = {.count = 0};
    if (check(builder, from, to, err) != 0 || coefficients(builder, from, to, &on_x, &on_epsilon, &variance, err) != 0)
        return -1;
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    builder_noise(builder, registers[1]);
    form_add(&next, on_x, 0);
    form_add_form(&next, on_epsilon, &point.epsilon);
    form_add(&next, sqrt(variance), registers[1]);
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_ito_taylor = {
    .name = "ito-taylor",
    .kind = "SDE",
    .orders = "1, 1.5, 2, ..., .inf",
    .evaluations = 1,
    .options = SOLVER_ORDER | SOLVER_CLOCK,
    .source = "Tachibana et al. 2021, quasi-Ito-Taylor; .inf is DDPM",
    .default_order = 1,
    .default_clock = CLOCK_T,
    .order_least = 1,
    .order_most = ORDER_MOST,
    .order_others = {INFINITY, 1.5},
    .new_noise = new_noise,
    .check = check,
    .step = step,
    .registers = 2,
};
