/* edm: Karras et al. 2022 (arXiv 2206.00364), algorithm 1 and, with churn, 2: Heun's method on d(x/alpha)/d rho =
 * epsilon, rho = sigma/alpha, with an Euler step into rho = 0; order 2, 2 NFE a step (the last 1), Karras steps by
 * default. Churn first raises the noise level from rho to (1 + gamma) rho, gamma = min(s_churn/N, sqrt(2) - 1) within
 * [s_min, s_max]. */
#include "solver/registry.h"

#include <math.h>

static double gamma_at(const struct sampler *sampler, double rho) {
    if (!(sampler->churn.amount > 0) || rho < sampler->churn.low || rho > sampler->churn.high) return 0;
    return fmin(sampler->churn.amount / sampler->steps, sqrt(2) - 1);
}

/* The node with the noise level raised, x in register 0 with it. */
static int raise_noise(struct builder *builder, int noise, struct node *node, struct error *err) {
    double rho = node->sigma / node->alpha, raised = rho * (1 + gamma_at(builder->sampler, rho)), least, most;
    if (raised == rho) return 0;
    double logsnr = -log(raised), t = schedule_time(builder->schedule, logsnr);
    schedule_range(builder->schedule, &least, &most);
    if (!(t <= most) || fabs(schedule_logsnr(builder->schedule, t) - logsnr) > 1e-6)
        return error_set(err, CODE_DATA,
                         "sampler.churn: it raises sigma/alpha = %.4g to %.4g, beyond the schedule's largest: say "
                         "s_max, or start later (t_start)",
                         rho, raised);
    struct node next = node_at(builder->schedule, t);
    next.logsnr = logsnr;
    struct form x = {.count = 0};
    builder_noise(builder, noise);
    form_add(&x, next.alpha / node->alpha, 0);
    form_add(&x, next.alpha * builder->sampler->churn.noise * sqrt((raised - rho) * (raised + rho)), noise);
    builder_lincomb(builder, 0, &x);
    *node = next;
    return 0;
}

/* registers: epsilon at the start, x at the end, epsilon there, noise. */
static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    struct node raised = *from;
    int end = registers[1];
    if (raise_noise(builder, registers[3], &raised, err) != 0) return -1;
    double ratio = to->alpha / raised.alpha, h = to->sigma - ratio * raised.sigma; /* alpha_s times the step in rho */
    struct point first = builder_evaluate(builder, 0, raised.t, registers[0]);
    struct form euler = {.count = 0}, heun = {.count = 0};
    form_add(&euler, ratio, 0);
    form_add_form(&euler, h, &first.epsilon);
    builder_lincomb(builder, to->sigma > 0 ? end : 0, &euler);
    if (to->sigma == 0) return 0;
    struct point second = builder_evaluate(builder, end, to->t, registers[2]);
    form_add(&heun, ratio, 0);
    form_add_form(&heun, h / 2, &first.epsilon);
    form_add_form(&heun, h / 2, &second.epsilon);
    builder_lincomb(builder, 0, &heun);
    return 0;
}

static double new_noise(const struct sampler *sampler) {
    return sampler->churn.amount > 0 ? NAN : 0;
}

const struct solver solver_edm = {
    .name = "edm",
    .kind = "ODE or SDE",
    .orders = "2",
    .evaluations = 2,
    .options = SOLVER_CHURN,
    .source = "Karras et al. 2022 (EDM), alg. 1 and 2",
    .default_order = 2,
    .default_clock = CLOCK_LOGSNR,
    .default_grid = GRID_KARRAS,
    .into_zero = true,
    .new_noise = new_noise,
    .step = step,
    .registers = 4,
};
