/* Samplers of distilled networks, which give x0 at once; 1 NFE a step.
 * lcm: Luo et al. 2023 (arXiv 2310.04378), algorithm 3: x_s = alpha_s f + sigma_s z, f = c_skip x + c_out x0; with the
 * scalings of diffusers' LCMScheduler, of 10 n and 0.5 at trained step n, and f = x0 where the schedule has no steps.
 * The step into sigma 0 is f. tcd: Zheng et al. 2024 (arXiv 2402.19159), strategic stochastic sampling, algorithm 4:
 * DDIM's step to u = (1 - eta) s, then noise forwards from u to s; eta (gamma in the paper) 0 to 1, 0.3 unless said. At
 * trained steps u is one, rounded down.
 * consistency: Song et al. 2023 (arXiv 2303.01469), algorithm 1; diffusers' CMStochasticIterative: x_s/alpha_s = x0 +
 * sqrt(rho_s^2 - least^2) z, rho = sigma/alpha, least the schedule's smallest, which x0 itself is a sample at. The
 * network is the consistency function: its boundary condition, x0 = x at the least time, is in its file. */
#include "solver/registry.h"

#include <math.h>

static int lcm_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                    struct error *err) {
    (void)err;
    const double scaling = 10, data = 0.5;
    double skip = 0, out = 1;
    int trained = schedule_steps(builder->schedule);
    struct form next = {.count = 0};
    if (trained > 0) {
        double scaled = scaling * (from->t * trained - 1), norm = hypot(scaled, data);
        skip = data * data / (norm * norm);
        out = scaled / norm;
    }
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    form_add(&next, to->alpha * skip, 0);
    form_add_form(&next, to->alpha * out, &point.x0);
    if (to->sigma > 0) {
        builder_noise(builder, registers[1]);
        form_add(&next, to->sigma, registers[1]);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

static int consistency_step(struct builder *builder, const int *registers, const struct node *from,
                            const struct node *to, struct error *err) {
    (void)err;
    double least, most;
    schedule_range(builder->schedule, &least, &most);
    double bottom = least > 0 ? exp(-schedule_logsnr(builder->schedule, least)) : 0, rho = to->sigma / to->alpha;
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    struct form next = {.count = 0};
    form_add_form(&next, to->alpha, &point.x0);
    if (rho > bottom * (1 + 1e-12)) {
        builder_noise(builder, registers[1]);
        form_add(&next, to->alpha * sqrt((rho - bottom) * (rho + bottom)), registers[1]);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

static struct node before(const struct builder *builder, const struct node *to) {
    double left = 1 - builder->sampler->eta, rounding = 1e-9;
    int trained = schedule_steps(builder->schedule);
    if (trained == 0) return node_at(builder->schedule, left * to->t);
    return node_at(builder->schedule, (floor(left * (to->t * trained - 1) + rounding) + 1) / trained);
}

static int tcd_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                    struct error *err) {
    double eta = builder->sampler->eta, ratio = 1, variance = 0;
    if (eta > 1) return error_set(err, CODE_DATA, "sampler.eta: expected 0 to 1 for tcd, found %g", eta);
    struct node at = eta > 0 ? before(builder, to) : *to;
    if (at.t < to->t) builder_transition(to, &at, &ratio, &variance);
    else at = *to;
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    struct form next = {.count = 0};
    form_add_form(&next, ratio * at.alpha, &point.x0);
    form_add_form(&next, ratio * at.sigma, &point.epsilon);
    if (variance > 0) {
        builder_noise(builder, registers[1]);
        form_add(&next, sqrt(variance), registers[1]);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

static double no_noise(const struct sampler *sampler) {
    return sampler->eta > 0 ? NAN : 0;
}

const struct solver solver_lcm = {
    .name = "lcm",
    .kind = "SDE",
    .orders = "1",
    .evaluations = 1,
    .source = "Luo et al. 2023 (LCM), alg. 3",
    .default_order = 1,
    .default_grid = GRID_UNIFORM,
    .default_clock = CLOCK_T,
    .into_zero = true,
    .new_noise = new_noise_all,
    .step = lcm_step,
    .registers = 2,
};
const struct solver solver_tcd = {
    .name = "tcd",
    .kind = "ODE or SDE",
    .orders = "1",
    .evaluations = 1,
    .options = SOLVER_ETA,
    .source = "Zheng et al. 2024 (TCD), alg. 4",
    .default_order = 1,
    .default_eta = 0.3,
    .default_grid = GRID_UNIFORM,
    .default_clock = CLOCK_T,
    .leaves_noise = true,
    .new_noise = no_noise,
    .step = tcd_step,
    .registers = 2,
};
const struct solver solver_consistency = {
    .name = "consistency",
    .kind = "SDE",
    .orders = "1",
    .evaluations = 1,
    .source = "Song et al. 2023 (Consistency Models), alg. 1",
    .default_order = 1,
    .default_grid = GRID_UNIFORM,
    .default_clock = CLOCK_T,
    .ends_at_least = true,
    .new_noise = new_noise_all,
    .step = consistency_step,
    .registers = 2,
};
