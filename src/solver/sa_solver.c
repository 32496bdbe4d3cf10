/* sa-solver: Xue et al. 2023 (arXiv 2309.05019), algorithm 1 with data prediction and a constant tau: the SDE whose
 * noise is tau times the reverse SDE's (0: the ODE), k = 1 + tau^2, as stochastic Adams of order p: x_s =
 * (sigma_s/sigma_t) e^(-tau^2 h) x + alpha_s * sum of w_j x0_j + sigma_s sqrt(1 - e^(-2 tau^2 h)) z, w_j = k * integral
 * over [0, h] of e^(-k (h - u)) L_j(lambda_t + u) du, L_j over the last p evaluations; then, when x0 at s is known,
 * again with it as the newest of p, x and the noise z as before. Orders 1-4 (where tau > 0, measured: weak order 2 at
 * most), 1 NFE a step, options order, tau, lower_order_final. */
#include "solver/exponential.h"
#include "solver/registry.h"

#include <math.h>

enum { ORDER_MOST = 4, RING = ORDER_MOST + 1 };

/* x at nodes[index + 1] from `x` at nodes[index], by x0 at `order` nodes up to nodes[newest], and the noise. */
static struct form update(const struct builder *builder, const int *registers, int x, int index, int newest,
                          int order) {
    const struct node *from = &builder->nodes[index], *to = from + 1;
    double tau2 = builder->sampler->tau * builder->sampler->tau, k = 1 + tau2, h = to->logsnr - from->logsnr;
    double nodes[ORDER_MOST] = {0}, moments[ORDER_MOST] = {0}, w[ORDER_MOST], factorial = 1;
    struct form next = {.count = 0};
    for (int n = 0; n < order; n++) {
        nodes[n] = (builder->nodes[newest - n].logsnr - from->logsnr) / h;
        if (n > 0) factorial *= n;
        moments[n] = -factorial * psi(n, -k * h); /* k h times the integral over [0, 1] of e^(-k h (1 - v)) v^n */
    }
    solve_moments(nodes, moments, order, w);
    form_add(&next, to->sigma / from->sigma * exp(-tau2 * h), x);
    for (int j = 0; j < order; j++) form_add(&next, to->alpha * w[j], registers[(newest - j) % RING]);
    form_add(&next, to->sigma * sqrt(-expm1(-2 * tau2 * h)), registers[RING + 1]);
    return next;
}

/* registers: the ring of x0, x before the last prediction, its noise. */
static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)from, (void)to, (void)err;
    int index = builder->index, before = registers[RING], noise = registers[RING + 1];
    evaluate_and_keep(builder, HELD_X0, registers[index % RING]);
    if (builder_history(builder) > 0) {
        builder->index--;
        struct form corrected = update(builder, registers, before, index - 1, index, builder_order(builder));
        builder->index++;
        builder_lincomb(builder, 0, &corrected);
    }
    builder_copy(builder, before, 0);
    builder_noise(builder, noise);
    struct form next = update(builder, registers, 0, index, index, builder_order(builder));
    builder_lincomb(builder, 0, &next);
    return 0;
}

static double new_noise(const struct sampler *sampler) {
    return sampler->tau > 0;
}

const struct solver solver_sa_solver = {
    .name = "sa-solver",
    .kind = "SDE",
    .orders = "1-4 (weak order 2 at most)",
    .evaluations = 1,
    .options = SOLVER_ORDER | SOLVER_LOWER | SOLVER_TAU,
    .source = "Xue et al. 2023 (SA-Solver), alg. 1",
    .default_order = 3,
    .default_clock = CLOCK_LOGSNR,
    .drops_last = true,
    .order_least = 1,
    .order_most = ORDER_MOST,
    .new_noise = new_noise,
    .step = step,
    .registers = RING + 2,
};
