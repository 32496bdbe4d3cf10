/* gradient-estimation: Permenter & Yuan 2023 (arXiv 2306.04848), section 5: DDIM's step by gamma epsilon_i +
 * (1 - gamma) epsilon_(i-1), gamma = 2, with epsilon_i alone in the first one; ODE, order 1, 1 NFE a step. */
#include "solver/exponential.h"
#include "solver/registry.h"

enum { RING = 2 };
static const double GAMMA = 2;

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)err;
    int newest = registers[builder->index % RING], before = registers[(builder->index + 1) % RING];
    struct form epsilon = {.terms = {{1, newest}}, .count = 1};
    evaluate_and_keep(builder, HELD_EPSILON, newest);
    if (builder_history(builder) > 0) epsilon = form_two(GAMMA, newest, 1 - GAMMA, before);
    builder_ddim(builder, 0, from, to, &epsilon);
    return 0;
}

const struct solver solver_gradient_estimation = {.name = "gradient-estimation",
                                                  .kind = "ODE",
                                                  .orders = "1",
                                                  .evaluations = 1,
                                                  .source = "Permenter & Yuan 2023, gradient estimation, gamma = 2",
                                                  .default_order = 1,
                                                  .default_clock = CLOCK_LOGSNR,
                                                  .step = step,
                                                  .registers = RING};
