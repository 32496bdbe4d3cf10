/* edm and restart.
 * edm: Karras et al. 2022 (arXiv 2206.00364), algorithm 1 and, with churn, 2: Heun's method on d(x/alpha)/d rho =
 * epsilon, rho = sigma/alpha, with an Euler step into rho = 0; order 2, 2 NFE a step (the last 1), Karras steps by
 * default. Churn first raises the noise level from rho to (1 + gamma) rho, gamma = min(s_churn/N, sqrt(2) - 1) within
 * [s_min, s_max].
 * restart: Xu et al. 2023 (arXiv 2306.14878), algorithm 1: edm without churn, and where it arrives at the grid point
 * next to an interval's `low`, `times` times: noise of s_noise sqrt(high^2 - rho^2) is added, which is the forward
 * process up to `high`, and Heun's method goes back down over `steps` Karras points, twice an evaluation each step. */
#include "solver/registry.h"

#include <math.h>
#include <string.h>

static double gamma_at(const struct sampler *sampler, double rho) {
    if (!(sampler->churn.amount > 0) || rho < sampler->churn.low || rho > sampler->churn.high) return 0;
    return fmin(sampler->churn.amount / sampler->steps, sqrt(2) - 1);
}

/* Adds noise up to sigma/alpha = raised to x in register 0, and moves the node there. key: of the sampler. */
static int add_noise(struct builder *builder, int noise, struct node *node, double raised, double amount,
                     const char *key, struct error *err) {
    double rho = node->sigma / node->alpha, least, most;
    double logsnr = -log(raised), t = schedule_time(builder->schedule, logsnr);
    schedule_range(builder->schedule, &least, &most);
    if (!(t <= most) || fabs(schedule_logsnr(builder->schedule, t) - logsnr) > 1e-6)
        return error_set(err, CODE_DATA,
                         "sampler.%s: it raises sigma/alpha = %.4g to %.4g, beyond the schedule's largest: say a lower "
                         "%s, or start later (t_start)",
                         key, rho, raised, strcmp(key, "churn") == 0 ? "s_max" : "high");
    struct node next = node_at(builder->schedule, t);
    next.logsnr = logsnr;
    struct form x = form_two(next.alpha / node->alpha, 0, next.alpha * amount * sqrt((raised - rho) * (raised + rho)),
                             noise);
    builder_noise(builder, noise);
    builder_lincomb(builder, 0, &x);
    *node = next;
    return 0;
}

/* registers: epsilon at the start, x at the end, epsilon there, noise. */
static void heun_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to) {
    int end = registers[1];
    struct point first = builder_evaluate(builder, 0, from->t, registers[0]);
    struct form mean = {.count = 0};
    builder_ddim(builder, to->sigma > 0 ? end : 0, from, to, &first.epsilon); /* which is Euler's step in rho */
    if (to->sigma == 0) return;
    struct point second = builder_evaluate(builder, end, to->t, registers[2]);
    form_add_form(&mean, 0.5, &first.epsilon);
    form_add_form(&mean, 0.5, &second.epsilon);
    builder_ddim(builder, 0, from, to, &mean);
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    struct node raised = *from;
    double rho = from->sigma / from->alpha, level = rho * (1 + gamma_at(builder->sampler, rho));
    if (level != rho &&
        add_noise(builder, registers[3], &raised, level, builder->sampler->churn.noise, "churn", err) != 0)
        return -1;
    heun_step(builder, registers, &raised, to);
    return 0;
}

/* ---- restart ---- */

/* The grid point whose sigma/alpha is next to the interval's low end, as in the authors' code. */
static int place_of(const struct builder *builder, const struct restart_interval *interval) {
    int nearest = 0;
    double best = INFINITY;
    for (int i = 0; i <= builder->last; i++) {
        double away = fabs(builder->nodes[i].sigma / builder->nodes[i].alpha - interval->low);
        if (away >= best) continue;
        nearest = i;
        best = away;
    }
    return nearest;
}

static int check_intervals(const struct builder *builder, struct error *err) {
    const struct restart *restart = &builder->sampler->restart;
    for (int i = 0; i < restart->count; i++) {
        const struct restart_interval *interval = &restart->list[i];
        int place = place_of(builder, interval);
        const struct node *node = &builder->nodes[place];
        double rho = node->sigma / node->alpha;
        if (place == 0 || rho == 0)
            return error_set(err, CODE_DATA,
                             "sampler.restart[%d].low: %g is next to the grid's %s, where nothing can begin again: say "
                             "a value next to another grid point",
                             i, interval->low, place == 0 ? "start" : "end, 0");
        if (!(interval->high > rho))
            return error_set(
                err, CODE_DATA,
                "sampler.restart[%d].high: expected more than %.4g, the sigma/alpha of the grid point next "
                "to low, found %g",
                i, rho, interval->high);
        for (int k = 0; k < i; k++)
            if (place_of(builder, &restart->list[k]) == place)
                return error_set(err, CODE_DATA,
                                 "sampler.restart[%d].low: the same grid point, sigma/alpha = %.4g, is next to it and "
                                 "to that of restart[%d]: take more steps, or one of them away",
                                 i, rho, k);
    }
    return 0;
}

/* Up to `high` and down again, from the grid point `low` on. */
static int go_through(struct builder *builder, const int *registers, const struct restart_interval *interval,
                      const struct node *low, struct error *err) {
    double power = isnan(builder->sampler->rho) ? 7 : builder->sampler->rho; /* of Karras' grid */
    double top = pow(interval->high, 1 / power), bottom = pow(low->sigma / low->alpha, 1 / power);
    struct node node = *low;
    if (add_noise(builder, registers[3], &node, interval->high, interval->noise, "restart", err) != 0) return -1;
    for (int i = 1; i < interval->steps; i++) {
        struct node next = *low;
        double logsnr = -power * log(top + (bottom - top) * i / (interval->steps - 1));
        if (i < interval->steps - 1) next = node_at(builder->schedule, schedule_time(builder->schedule, logsnr));
        heun_step(builder, registers, &node, &next);
        node = next;
    }
    return 0;
}

static int restart_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                        struct error *err) {
    const struct restart *restart = &builder->sampler->restart;
    if (builder->index == 0 && check_intervals(builder, err) != 0) return -1;
    heun_step(builder, registers, from, to);
    for (int i = 0; i < restart->count; i++)
        for (int k = 0; place_of(builder, &restart->list[i]) == builder->index + 1 && k < restart->list[i].times; k++)
            if (go_through(builder, registers, &restart->list[i], to, err) != 0) return -1;
    return 0;
}

static double new_noise(const struct sampler *sampler) {
    return sampler->churn.amount > 0 || sampler->restart.count > 0 ? NAN : 0;
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

const struct solver solver_restart = {
    .name = "restart",
    .kind = "SDE",
    .orders = "2",
    .evaluations = 2,
    .options = SOLVER_RESTART,
    .source = "Xu et al. 2023 (Restart), alg. 1",
    .default_order = 2,
    .default_clock = CLOCK_LOGSNR,
    .default_grid = GRID_KARRAS,
    .into_zero = true,
    .new_noise = new_noise,
    .step = restart_step,
    .registers = 4,
};
