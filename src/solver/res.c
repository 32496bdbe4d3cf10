/* res-2m: Zhang et al. 2023 (arXiv 2308.02157), the refined exponential solver as a multistep one: x0 is a straight
 * line in lambda through the last two evaluations, integrated exactly (phi_1 and phi_2, where DPM-Solver++(2M) has an
 * approximation of phi_2); ODE, order 2, 1 NFE a step. */
#include "solver/exponential.h"
#include "solver/registry.h"

enum { RING = 2 };

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)err;
    int newest = registers[builder->index % RING], before = registers[(builder->index + 1) % RING];
    struct transfer transfer = transfer_between(HELD_X0, from, to);
    struct form next = {.count = 0};
    evaluate_and_keep(builder, HELD_X0, newest);
    form_add(&next, transfer.on_x, 0);
    form_add(&next, transfer.scale * psi(0, transfer.z), newest);
    if (builder_history(builder) > 0) {
        double slope = transfer.scale * psi(1, transfer.z) * transfer.h / (from->logsnr - from[-1].logsnr);
        form_add(&next, slope, newest);
        form_add(&next, -slope, before);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_res_2m = {.name = "res-2m",
                                     .kind = "ODE",
                                     .orders = "2",
                                     .evaluations = 1,
                                     .source = "Zhang et al. 2023 (RES), multistep, exact phi_2",
                                     .default_order = 2,
                                     .default_clock = CLOCK_LOGSNR,
                                     .step = step,
                                     .registers = RING};
