/* kdpm2: Crowson 2022 (k-diffusion), sample_dpm_2, after Karras et al. 2022 (arXiv 2206.00364, algorithm 2 with its
 * midpoint geometric); diffusers' KDPM2Discrete: the midpoint rule on d(x/alpha)/d rho = epsilon, rho = sigma/alpha,
 * halfway in log rho; ODE, order 2, 2 NFE a step, into rho = 0 Euler's step. */
#include "solver/registry.h"

#include <math.h>

/* x_to = ratio x + (sigma_to - ratio sigma_from) epsilon into dst. */
static void euler(struct builder *builder, int dst, const struct node *from, const struct node *to,
                  const struct form *epsilon) {
    double ratio = to->alpha / from->alpha;
    struct form next = {.count = 0};
    form_add(&next, ratio, 0);
    form_add_form(&next, to->sigma - ratio * from->sigma, epsilon);
    builder_lincomb(builder, dst, &next);
}

/* registers: epsilon, x halfway. */
static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)err;
    struct node half = node_at(builder->schedule, schedule_time(builder->schedule, (from->logsnr + to->logsnr) / 2));
    struct point first = builder_evaluate(builder, 0, from->t, registers[0]);
    euler(builder, registers[1], from, &half, &first.epsilon);
    struct point second = builder_evaluate(builder, registers[1], half.t, registers[0]);
    euler(builder, 0, from, to, &second.epsilon);
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
