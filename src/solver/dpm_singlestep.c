/* dpm-1, dpm-2s, dpm-3s: DPM-Solver 1-3 (Lu et al. 2022, arXiv 2206.00927, algorithms 1 and 2); dpmpp-1, dpmpp-2s,
 * dpmpp-3s: DPM-Solver++ (2211.01095, algorithm 1). ODE, orders 1-3, option lower_order_final.
 * As in diffusers the inner evaluations are at the grid's own points, so any NFE and integer timesteps work: blocks of
 * `order` steps, and the rest. Where steps are uniform in lambda (the default) r is 1/2, or 1/3 and 2/3, and order 3
 * has its order; elsewhere it has 2. lower_order_final (the default of order 3, as in dpm-solver) ends an NFE that is a
 * multiple of the order with 2, 1 or 1, 1. dpm-2, dpm-3, dpmpp-2, dpmpp-3: the same papers' with inner evaluations of
 * their own, at r = 1/2, or 1/3 and 2/3, of a step in lambda, which has its order on any grid; 2 or 3 NFE a step. */
#include "solver/exponential.h"
#include "solver/registry.h"

/* The position of a step in its block, 0, 1, ...: it makes the point after by a formula of one order more. */
static int position(const struct builder *builder) {
    const struct sampler *sampler = builder->sampler;
    int order = (int)sampler->order;
    bool lowered = sampler->lower_order_final == TOGGLE_ON && sampler->steps % order == 0;
    return lowered && builder->index == sampler->steps - 1 ? 0 : builder_history(builder) % order;
}

/* registers: [0] x at the block's start, [1 + k] x0 or epsilon of its evaluation k. */
static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)err;
    int k = position(builder);
    const int *m = registers + 1;
    enum held held = builder->solver->variant;
    const struct node *base = from - k;
    struct transfer transfer = transfer_between(held, base, to);
    evaluate_and_keep(builder, held, m[k]);
    struct form next = {.count = 0};
    if (k == 0 && builder->sampler->order > 1) builder_copy(builder, registers[0], 0);
    form_add(&next, transfer.on_x, k == 0 ? 0 : registers[0]);
    form_add(&next, transfer.scale * psi(0, transfer.z), m[0]);
    if (k > 0) {
        double r = (from->logsnr - base->logsnr) / transfer.h,
               weight = (k == 1 ? 0.5 * psi(0, transfer.z) : psi(1, transfer.z)) / r;
        form_add(&next, transfer.scale * weight, m[k]);
        form_add(&next, -transfer.scale * weight, m[0]);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

/* registers: [0] x at the stage, [1 + k] x0 or epsilon of evaluation k. */
static int inner_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                      struct error *err) {
    (void)err;
    int order = (int)builder->sampler->order, x = 0;
    double h = to->logsnr - from->logsnr;
    const int *m = registers + 1;
    struct node node = *from;
    for (int k = 0; k < order; k++) {
        struct point point = builder_evaluate(builder, x, node.t, m[k]);
        builder_keep(builder, m[k], builder->solver->variant == HELD_X0 ? &point.x0 : &point.epsilon);
        double reached = node.logsnr - from->logsnr;
        bool last = k + 1 == order;
        node = last ? *to
                    : node_at(builder->schedule, schedule_time(builder->schedule, from->logsnr + h * (k + 1) / order));
        struct transfer part = transfer_between(builder->solver->variant, from, &node);
        struct form next = {.count = 0};
        form_add(&next, part.on_x, 0);
        form_add(&next, part.scale * psi(0, part.z), m[0]);
        if (k > 0) {
            double weight = (order == 2 ? 0.5 * psi(0, part.z) : psi(1, part.z)) * part.h / reached;
            form_add(&next, part.scale * weight, m[k]);
            form_add(&next, -part.scale * weight, m[0]);
        }
        x = last ? 0 : registers[0];
        builder_lincomb(builder, x, &next);
    }
    return 0;
}

#define INNER(NAME, ORDER, HELD, SOURCE) \
    {.name = NAME, \
     .kind = "ODE", \
     .orders = #ORDER, \
     .evaluations = ORDER, \
     .source = SOURCE, \
     .default_order = ORDER, \
     .default_clock = CLOCK_LOGSNR, \
     .inner_times = true, \
     .variant = HELD, \
     .step = inner_step, \
     .registers = 1 + ORDER}

const struct solver solver_dpm_2 = INNER("dpm-2", 2, HELD_EPSILON, "Lu et al. 2022 (DPM-Solver), alg. 1, r = 1/2");
const struct solver solver_dpm_3 = INNER("dpm-3", 3, HELD_EPSILON, "Lu et al. 2022 (DPM-Solver), alg. 2, r = 1/3, 2/3");
const struct solver solver_dpmpp_2 = INNER("dpmpp-2", 2, HELD_X0, "Lu et al. 2022 (DPM-Solver++), alg. 1, r = 1/2");
const struct solver solver_dpmpp_3 = INNER("dpmpp-3", 3, HELD_X0, "dpm-solver's singlestep of order 3, r = 1/3, 2/3");

#define SINGLESTEP(NAME, ORDER, HELD, SOURCE) \
    {.name = NAME, \
     .kind = "ODE", \
     .orders = #ORDER, \
     .evaluations = 1, \
     .options = SOLVER_LOWER, \
     .source = SOURCE, \
     .default_order = ORDER, \
     .default_clock = CLOCK_LOGSNR, \
     .drops_last = true, \
     .variant = HELD, \
     .lowers = ORDER == 3 ? TOGGLE_ON : TOGGLE_OFF, \
     .step = step, \
     .registers = 1 + ORDER}

const struct solver solver_dpm_1 = SINGLESTEP("dpm-1", 1, HELD_EPSILON,
                                              "Lu et al. 2022 (DPM-Solver), eq. 3.7; is ddim");
const struct solver solver_dpm_2s = SINGLESTEP("dpm-2s", 2, HELD_EPSILON, "Lu et al. 2022 (DPM-Solver), alg. 1");
const struct solver solver_dpm_3s = SINGLESTEP("dpm-3s", 3, HELD_EPSILON, "Lu et al. 2022 (DPM-Solver), alg. 2");
const struct solver solver_dpmpp_1 = SINGLESTEP("dpmpp-1", 1, HELD_X0, "Lu et al. 2022 (DPM-Solver++); is ddim");
const struct solver solver_dpmpp_2s = SINGLESTEP("dpmpp-2s", 2, HELD_X0, "Lu et al. 2022 (DPM-Solver++), alg. 1");
const struct solver solver_dpmpp_3s = SINGLESTEP("dpmpp-3s", 3, HELD_X0, "diffusers' DPMSolverSinglestep, order 3");
