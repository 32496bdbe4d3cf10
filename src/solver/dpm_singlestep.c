/* dpm-1, dpm-2s, dpm-3s: DPM-Solver 1-3 (Lu et al. 2022, arXiv 2206.00927, algorithms 1 and 2); dpmpp-1, dpmpp-2s,
 * dpmpp-3s: DPM-Solver++ (2211.01095, algorithm 1). ODE, orders 1-3, option lower_order_final.
 * As in diffusers the inner evaluations are at the grid's own points, so any NFE and integer timesteps work: blocks of
 * `order` steps, and the rest. Where steps are uniform in lambda (the default) r is 1/2, or 1/3 and 2/3, and order 3 has
 * its order; elsewhere it has 2. lower_order_final (the default of order 3, as in dpm-solver) ends an NFE that is a multiple
 * of the order with 2, 1 or 1, 1. */
#include "solver/exponential.h"
#include "solver/registry.h"

/* The position of a step in its block, 0, 1, ...: it makes the point after by a formula of one order more. */
static int position(const struct builder *builder) {
    const struct sampler *sampler = builder->sampler;
    int order = (int)sampler->order;
    bool lowered = sampler->lower_order_final == TOGGLE_ON && sampler->steps % order == 0;
    return lowered && builder->index == sampler->steps - 1 ? 0 : builder->index % order;
}

/* registers: [0] x at the block's start, [1 + k] x0 or epsilon of its evaluation k. */
static int step(struct builder *builder, const int *registers, double t, double s, struct error *err) {
    (void)t, (void)s, (void)err;
    int k = position(builder), *m = (int *)registers + 1;
    enum held held = builder->solver->variant;
    const struct node *node = &builder->nodes[builder->index], *base = node - k;
    struct transfer to = transfer_between(held, base, node + 1);
    evaluate_and_keep(builder, held, m[k]);
    struct form next = {.count = 0};
    if (k == 0 && builder->sampler->order > 1) {
        struct form x = {.terms = {{1, 0}}, .count = 1};
        builder_lincomb(builder, registers[0], &x);
    }
    form_add(&next, to.on_x, k == 0 ? 0 : registers[0]);
    form_add(&next, to.scale * psi(0, to.z), m[0]);
    if (k > 0) {
        double r = (node->logsnr - base->logsnr) / to.h, weight = (k == 1 ? 0.5 * psi(0, to.z) : psi(1, to.z)) / r;
        form_add(&next, to.scale * weight, m[k]);
        form_add(&next, -to.scale * weight, m[0]);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

#define SINGLESTEP(NAME, ORDER, HELD, SOURCE)                                                                             \
    {.name = NAME, .kind = "ODE", .orders = #ORDER, .evaluations = 1, .options = SOLVER_LOWER,                            \
     .options_text = "lower_order_final", .source = SOURCE, .default_order = ORDER, .default_clock = CLOCK_LOGSNR, .drops_last = true,        \
     .variant = HELD, .lowers = ORDER == 3 ? TOGGLE_ON : TOGGLE_OFF, .step = step, .registers = 1 + ORDER}

const struct solver solver_dpm_1 = SINGLESTEP("dpm-1", 1, HELD_EPSILON, "Lu et al. 2022 (DPM-Solver), eq. 3.7; is ddim");
const struct solver solver_dpm_2s = SINGLESTEP("dpm-2s", 2, HELD_EPSILON, "Lu et al. 2022 (DPM-Solver), alg. 1");
const struct solver solver_dpm_3s = SINGLESTEP("dpm-3s", 3, HELD_EPSILON, "Lu et al. 2022 (DPM-Solver), alg. 2");
const struct solver solver_dpmpp_1 = SINGLESTEP("dpmpp-1", 1, HELD_X0, "Lu et al. 2022 (DPM-Solver++); is ddim");
const struct solver solver_dpmpp_2s = SINGLESTEP("dpmpp-2s", 2, HELD_X0, "Lu et al. 2022 (DPM-Solver++), alg. 1");
const struct solver solver_dpmpp_3s = SINGLESTEP("dpmpp-3s", 3, HELD_X0, "diffusers' DPMSolverSinglestep, order 3");
