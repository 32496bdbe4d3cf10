/* Crowson 2022 (k-diffusion), after Karras et al. 2022 (arXiv 2206.00364, algorithm 2 with its midpoint geometric): the
 * midpoint rule on d(x/alpha)/d rho = epsilon, rho = sigma/alpha, halfway in log rho; 2 NFE a step, into rho = 0
 * Euler's step.
 * kdpm2: sample_dpm_2, diffusers' KDPM2Discrete; ODE, order 2.
 * kdpm2-ancestral: sample_dpm_2_ancestral, diffusers' KDPM2AncestralDiscrete; SDE, order 1: the rule goes down to
 * rho_s^2 / rho_t, and noise up to rho_s; halfway down is rho_s itself, a point of the grid. */
#include "solver/registry.h"

#include <math.h>

/* registers: epsilon, x halfway. */
static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)err;
    struct node half = node_at(builder->schedule, schedule_time(builder->schedule, (from->logsnr + to->logsnr) / 2));
    struct point first = builder_evaluate(builder, 0, from->t, registers[0]);
    builder_ddim(builder, registers[1], from, &half, &first.epsilon);
    struct point second = builder_evaluate(builder, registers[1], half.t, registers[0]);
    builder_ddim(builder, 0, from, to, &second.epsilon);
    return 0;
}

static int ancestral_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                          struct error *err) {
    (void)err;
    double rho = to->sigma / to->alpha, part = rho * from->alpha / from->sigma, ratio = to->alpha / from->alpha;
    struct point first = builder_evaluate(builder, 0, from->t, registers[0]);
    builder_ddim(builder, registers[1], from, to, &first.epsilon);
    struct point second = builder_evaluate(builder, registers[1], to->t, registers[0]);
    builder_noise(builder, registers[2]);
    struct form next = {.count = 0};
    form_add(&next, ratio, 0);
    form_add_form(&next, to->sigma * part - ratio * from->sigma, &second.epsilon);
    form_add(&next, to->sigma * sqrt((1 - part) * (1 + part)), registers[2]);
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_kdpm2 = {
    .name = "kdpm2",
    .kind = "ODE",
    .orders = "2",
    .evaluations = 2,
    .source = "Crowson 2022 (k-diffusion), DPM2",
    .default_order = 2,
    .default_clock = CLOCK_LOGSNR,
    .inner_times = true,
    .step = step,
    .registers = 2,
};
const struct solver solver_kdpm2_ancestral = {
    .name = "kdpm2-ancestral",
    .kind = "SDE",
    .orders = "1",
    .evaluations = 2,
    .source = "Crowson 2022 (k-diffusion), DPM2 ancestral",
    .default_order = 1,
    .default_clock = CLOCK_LOGSNR,
    .new_noise = new_noise_all,
    .step = ancestral_step,
    .registers = 3,
};
