/* taylor: the quasi-Taylor method, Tachibana et al. 2021 (arXiv 2112.13339), section 4. ODE, orders 1, 2, ... and .inf,
 * 1 NFE a step, options order and clock.
 *
 * With the ideal derivatives of the single-point approximation epsilon is constant along a path, so the Taylor series of
 * the path is that of x(h) = rho(h) x + mu(h) epsilon with rho(h) = alpha(t-h)/alpha(t), mu(h) = sigma(t-h) -
 * sigma(t) rho(h), cut after h^order. Uncut (.inf) it is DDIM (Song et al. 2020, eq. 12 with eta 0). */
#include "solver/registry.h"
#include "solver/series.h"

#include <math.h>

enum { ORDER_MOST = 60 };

static bool takes_order(double order) {
    return order == INFINITY || (order >= 1 && order <= ORDER_MOST && order == trunc(order));
}

static int coefficients(const struct builder *builder, double t, double s, double *rho, double *mu, struct error *err) {
    const struct schedule *schedule = builder->schedule;
    if (builder->sampler->order == INFINITY) {
        *rho = schedule_alpha(schedule, s) / schedule_alpha(schedule, t);
        *mu = schedule_sigma(schedule, s) - schedule_sigma(schedule, t) * *rho;
        return 0;
    }
    int order = (int)builder->sampler->order;
    double alpha[order + 1], sigma[order + 1], h = builder_step(builder, t, s);
    if (schedule_series(schedule, builder->sampler->clock, t, order, alpha, sigma, err) != 0) return -1;
    double ratio[order + 1], rest[order + 1];
    series_scale(order, 1 / alpha[0], alpha, ratio);
    series_scale(order, -sigma[0], ratio, rest);
    series_add(order, sigma, rest, rest);
    *rho = series_value(order, ratio, h);
    *mu = series_value(order, rest, h);
    return 0;
}

static int step(struct builder *builder, const int *registers, double t, double s, struct error *err) {
    double rho, mu;
    struct form next = {.count = 0};
    if (coefficients(builder, t, s, &rho, &mu, err) != 0) return -1;
    struct point point = builder_evaluate(builder, 0, t, registers[0]);
    form_add(&next, rho, 0);
    form_add_form(&next, mu, &point.epsilon);
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_taylor = {
    .name = "taylor", .kind = "ODE", .orders = "1, 2, ..., .inf", .evaluations = 1, .options = SOLVER_ORDER | SOLVER_CLOCK,
    .options_text = "order, clock", .source = "Tachibana et al. 2021, quasi-Taylor; .inf is DDIM", .default_order = 2,
    .default_clock = CLOCK_T, .takes_order = takes_order, .step = step, .registers = 1,
};
