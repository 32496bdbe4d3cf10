/* dpmpp-2m, dpmpp-3m: DPM-Solver++, multistep (Lu et al. 2022, arXiv 2211.01095, algorithm 2 and its third order), ODE,
 * orders 2 and 3; dpm-2m, dpm-3m: the same of epsilon. 1 NFE a step, options lower_order_final and solver_type: the
 * second order's weight of D1 is half the first one's (midpoint) or the exact integral's (heun). The third order as it
 * is commonly coded halves the last coefficient: with D2 = h^2 m''/2 the exact integral is 2 psi_2 D2, not psi_2 D2,
 * and what is coded has order 2. Here it is right; dpmpp-3m-common is the common one. sde-dpmpp: SDE-DPM-Solver++ 1 and
 * 2M (the same paper, appendix), SDE, orders 1 and 2: the exact transition of the reverse SDE for a constant x0, with
 * half of D1 added. */
#include "solver/exponential.h"
#include "solver/registry.h"

#include <math.h>

enum { OF_X0, OF_EPSILON, COMMON };
enum { RING = 3 };

/* m of the last evaluations, newest first, as registers; D1 and D2 of Lu et al. as forms over them. */
struct differences {
    struct form d1, d2;
};

static struct differences differences(const struct builder *builder, const int *ring, int order, double h) {
    struct differences found = {0};
    const struct node *node = &builder->nodes[builder->index];
    if (order < 2) return found;
    int m0 = ring[builder->index % RING], m1 = ring[(builder->index + RING - 1) % RING];
    double r0 = (node[0].logsnr - node[-1].logsnr) / h;
    found.d1 = form_two(1 / r0, m0, -1 / r0, m1);
    if (order < 3) return found;
    int m2 = ring[(builder->index + RING - 2) % RING];
    double r1 = (node[-1].logsnr - node[-2].logsnr) / h;
    found.d2 = form_two(1 / (r0 * (r0 + r1)), m0, -(1 / r0 + 1 / r1) / (r0 + r1), m1);
    form_add(&found.d2, 1 / (r1 * (r0 + r1)), m2);
    form_add_form(&found.d1, r0, &found.d2);
    return found;
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)err;
    int variant = builder->solver->variant, order = builder_order(builder), m0 = registers[builder->index % RING];
    enum held held = variant == OF_EPSILON ? HELD_EPSILON : HELD_X0;
    struct transfer transfer = transfer_between(held, from, to);
    evaluate_and_keep(builder, held, m0);
    struct differences d = differences(builder, registers, order, transfer.h);
    struct form next = {.count = 0};
    form_add(&next, transfer.on_x, 0);
    form_add(&next, transfer.scale * psi(0, transfer.z), m0);
    form_add_form(&next,
                  transfer.scale * (order == 2 && builder->sampler->solver_type != TYPE_HEUN ? 0.5 * psi(0, transfer.z)
                                                                                             : psi(1, transfer.z)),
                  &d.d1);
    form_add_form(&next, transfer.scale * psi(2, transfer.z) * (variant == COMMON ? 1 : 2), &d.d2);
    builder_lincomb(builder, 0, &next);
    return 0;
}

static int sde_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                    struct error *err) {
    (void)err;
    double h = to->logsnr - from->logsnr, pull = -expm1(-2 * h);
    int m0 = registers[builder->index % RING], noise = registers[RING];
    evaluate_and_keep(builder, HELD_X0, m0);
    struct differences d = differences(builder, registers, builder_order(builder), h);
    struct form next = {.count = 0};
    form_add(&next, to->sigma / from->sigma * exp(-h), 0);
    form_add(&next, to->alpha * pull, m0);
    bool heun = builder->sampler->solver_type == TYPE_HEUN;
    form_add_form(&next, to->alpha * (heun ? -psi(1, -2 * h) : 0.5 * pull), &d.d1);
    builder_noise(builder, noise);
    form_add(&next, to->sigma * sqrt(pull), noise);
    builder_lincomb(builder, 0, &next);
    return 0;
}

#define MULTISTEP(NAME, ORDERS, ORDER, VARIANT, SOURCE) \
    {.name = NAME, \
     .kind = "ODE", \
     .orders = ORDERS, \
     .evaluations = 1, \
     .options = SOLVER_LOWER | SOLVER_TYPE, \
     .source = SOURCE, \
     .default_order = ORDER, \
     .default_clock = CLOCK_LOGSNR, \
     .drops_last = true, \
     .variant = VARIANT, \
     .step = step, \
     .registers = RING}

const struct solver solver_dpm_2m = MULTISTEP("dpm-2m", "2", 2, OF_EPSILON,
                                              "Lu et al. 2022 (DPM-Solver++), multistep, of epsilon");
const struct solver solver_dpm_3m = MULTISTEP("dpm-3m", "3", 3, OF_EPSILON, "the same");
const struct solver solver_dpmpp_2m = MULTISTEP("dpmpp-2m", "2", 2, OF_X0, "Lu et al. 2022 (DPM-Solver++), alg. 2");
const struct solver solver_dpmpp_3m = MULTISTEP("dpmpp-3m", "3", 3, OF_X0,
                                                "Lu et al. 2022 (DPM-Solver++), exact third order");
const struct solver solver_dpmpp_3m_common = MULTISTEP("dpmpp-3m-common", "2 (coded as 3)", 3, COMMON,
                                                       "dpm-solver's and diffusers' code");
const struct solver solver_sde_dpmpp = {
    .name = "sde-dpmpp",
    .kind = "SDE",
    .orders = "1, 2",
    .evaluations = 1,
    .options = SOLVER_ORDER | SOLVER_LOWER | SOLVER_TYPE,
    .source = "Lu et al. 2022 (DPM-Solver++), SDE-DPM-Solver++ 1 and 2M",
    .default_order = 2,
    .default_clock = CLOCK_LOGSNR,
    .drops_last = true,
    .order_least = 1,
    .order_most = 2,
    .new_noise = new_noise_all,
    .step = sde_step,
    .registers = RING + 1,
};
