/* taylor: the quasi-Taylor method, Tachibana et al. 2021 (arXiv 2112.13339), section 4. ODE, orders 1, 2, ... and .inf,
 * 1 NFE a step, options order and clock.
 *
 * With the ideal derivatives of the single-point approximation epsilon is constant along a path, so the Taylor series
 * of the path is that of x(h) = rho(h) x + mu(h) epsilon with rho(h) = alpha(t-h)/alpha(t), mu(h) = sigma(t-h) -
 * sigma(t) rho(h), cut after h^order. Uncut (.inf) it is DDIM (Song et al. 2020, eq. 12 with eta 0).
 *
 * Where alpha(t) is 0, and on a flow, the same is written of x0 and z: alpha_n(t-h) x0 + sigma_n(t-h) z with both
 * series cut. On a flow both end at h^1: every order, DDIM and Euler are one and the same step.
 *
 * taylor-2m: the same with the derivative of epsilon that the ideal ones leave out, taken from the step before:
 * epsilon' = (epsilon - epsilon_before)/h_before adds mu'(0) epsilon' h^2/2 to the series. Orders 2, 3, ... and .inf;
 * on data it converges with order 2, where taylor has 1. */
#include "solver/taylor.h"

#include "solver/exponential.h"
#include "solver/registry.h"
#include "solver/series.h"

#include <math.h>

enum { ORDER_MOST = 60 };

int taylor_coefficients(const struct schedule *schedule, enum clock_kind clock, double wanted, double t, double s,
                        double *rho, double *mu, struct error *err) {
    if (wanted == INFINITY) {
        *rho = schedule_alpha(schedule, s) / schedule_alpha(schedule, t);
        *mu = schedule_sigma(schedule, s) - schedule_sigma(schedule, t) * *rho;
        return 0;
    }
    int order = (int)wanted;
    double alpha[order + 1], sigma[order + 1], h = schedule_step(schedule, clock, t, s);
    if (schedule_series(schedule, clock, t, order, alpha, sigma, err) != 0) return -1;
    double ratio[order + 1], rest[order + 1];
    series_scale(order, 1 / alpha[0], alpha, ratio);
    series_scale(order, -sigma[0], ratio, rest);
    series_add(order, sigma, rest, rest);
    *rho = series_value(order, ratio, h);
    *mu = series_value(order, rest, h);
    return 0;
}

int taylor_parts(const struct schedule *schedule, enum clock_kind clock, double wanted, double t, double s,
                 double *on_x0, double *on_z, struct error *err) {
    *on_x0 = schedule_alpha(schedule, s);
    *on_z = schedule_sigma(schedule, s);
    if (wanted == INFINITY) return 0;
    int order = (int)wanted;
    double alpha[order + 1], sigma[order + 1], h = schedule_step(schedule, clock, t, s);
    if (schedule_series(schedule, clock, t, order, alpha, sigma, err) != 0) return -1;
    *on_x0 = series_value(order, alpha, h);
    *on_z = series_value(order, sigma, h);
    return 0;
}

static int coefficients(const struct builder *builder, const struct node *from, const struct node *to, double *rho,
                        double *mu, struct error *err) {
    const struct sampler *sampler = builder->sampler;
    return taylor_coefficients(builder->schedule, sampler->clock, sampler->order, from->t, to->t, rho, mu, err);
}

static int step_of_parts(struct builder *builder, int out, const struct node *from, const struct node *to,
                         struct error *err) {
    const struct sampler *sampler = builder->sampler;
    double on_x0, on_z;
    struct form next = {.count = 0};
    if (taylor_parts(builder->schedule, sampler->clock, sampler->order, from->t, to->t, &on_x0, &on_z, err) != 0)
        return -1;
    struct point point = builder_evaluate(builder, 0, from->t, out);
    form_add_form(&next, on_x0, &point.x0);
    form_add_form(&next, on_z, &point.epsilon);
    builder_lincomb(builder, 0, &next);
    return 0;
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    double rho, mu;
    struct form next = {.count = 0};
    if (from->alpha == 0 || schedule_is_flow(builder->schedule))
        return step_of_parts(builder, registers[0], from, to, err);
    if (coefficients(builder, from, to, &rho, &mu, err) != 0) return -1;
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    form_add(&next, rho, 0);
    form_add_form(&next, mu, &point.epsilon);
    builder_lincomb(builder, 0, &next);
    return 0;
}

/* registers: epsilon of this step and of the one before, by turns. */
static int step_2m(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                   struct error *err) {
    int index = builder->index, now = registers[index % 2], before = registers[(index + 1) % 2];
    double rho, mu, alpha[2], sigma[2], h = builder_step(builder, from, to);
    struct form next = {.count = 0};
    if (coefficients(builder, from, to, &rho, &mu, err) != 0 ||
        schedule_series(builder->schedule, builder->sampler->clock, from->t, 1, alpha, sigma, err) != 0)
        return -1;
    evaluate_and_keep(builder, HELD_EPSILON, now);
    form_add(&next, rho, 0);
    form_add(&next, mu, now);
    if (builder_history(builder) > 0) {
        double slope = sigma[1] - sigma[0] * alpha[1] / alpha[0]; /* mu'(0) */
        double weight = slope * h * h / 2 / builder_step(builder, from - 1, from);
        form_add(&next, weight, now);
        form_add(&next, -weight, before);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_taylor_2m = {
    .name = "taylor-2m",
    .kind = "ODE",
    .orders = "2, 3, ..., .inf (2 on data)",
    .evaluations = 1,
    .options = SOLVER_ORDER | SOLVER_CLOCK,
    .source = "quasi-Taylor with the derivative of epsilon from the step before",
    .default_order = 2,
    .default_clock = CLOCK_T,
    .order_least = 2,
    .order_most = ORDER_MOST,
    .order_others = {INFINITY},
    .step = step_2m,
    .registers = 2,
};
const struct solver solver_taylor = {
    .name = "taylor",
    .kind = "ODE",
    .orders = "1, 2, ..., .inf",
    .evaluations = 1,
    .options = SOLVER_ORDER | SOLVER_CLOCK,
    .source = "Tachibana et al. 2021, quasi-Taylor; .inf is DDIM",
    .default_order = 2,
    .default_clock = CLOCK_T,
    .order_least = 1,
    .order_most = ORDER_MOST,
    .order_others = {INFINITY},
    .leaves_noise = true,
    .step = step,
    .registers = 1,
};
