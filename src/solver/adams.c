/* deis, deis-rho, deis-t: Zhang & Chen 2022 (arXiv 2204.13902), Adams-Bashforth of epsilon: x_s/alpha_s = x/alpha +
 * sum over j of C_j epsilon_j, C_j = integral over rho = sigma/alpha of the Lagrange polynomial of node j in log rho
 * (diffusers' DEIS), rho (rhoAB) or t (tAB); orders 1-4, option lower_order_final. lms: rhoAB down to sigma 0 at full
 * order, as k-diffusion's LMS (Katherine Crowson 2022), orders 1-4.
 * ipndm: constants of Adams-Bashforth on any grid (Liu et al. 2022, arXiv 2202.09778, eq. 12; Zhang & Chen 2022, eq.
 * 22), then DDIM's step. pndm: the same after three pseudo Runge-Kutta steps (Liu et al. 2022, eq. 13), 9 NFE more.
 * plms: the same after a first step done twice, by the mean of both epsilons, 1 NFE more: Stable Diffusion's PLMS,
 * diffusers' PNDM with skip_prk_steps. All ODE, 1 NFE a step. */
#include "solver/exponential.h"
#include "solver/registry.h"

#include <math.h>

enum { RING = 4 }; /* the evaluations that a step uses */
enum { BASIS_LOG_RHO, BASIS_RHO, BASIS_T };
enum { CROSSINGS = 64 }; /* pieces of the integral over t: a discrete schedule has knots in it */

static double rho_of(const struct node *node) {
    return node->sigma / node->alpha;
}

static double basis_value(int basis, const struct node *node) {
    return basis == BASIS_T ? node->t : basis == BASIS_RHO ? rho_of(node) : node->logsnr;
}

/* C_j for the step after `node`, over the `count` nodes up to it, newest first. */
static void integrals(const struct builder *builder, const struct node *node, int basis, int count, double *c) {
    double u[RING];
    const struct quadrature *rule = gauss_legendre();
    for (int j = 0; j < count; j++) {
        u[j] = basis_value(basis, node - j);
        c[j] = 0;
    }
    double h = basis == BASIS_RHO ? rho_of(node + 1) - rho_of(node) : node[1].logsnr - node[0].logsnr;
    int pieces = basis == BASIS_T && node[1].t < node[0].t ? CROSSINGS : 1;
    for (int i = 0; i < pieces * GAUSS_POINTS; i++) {
        double part = (i / GAUSS_POINTS + rule->x[i % GAUSS_POINTS]) / pieces;
        double weight = rule->w[i % GAUSS_POINTS] * h / pieces, at;
        if (basis == BASIS_RHO) {
            at = rho_of(node) + part * h;
        } else {
            double logsnr = node->logsnr + part * h;
            weight *= -exp(-logsnr); /* d rho / d lambda */
            at = basis == BASIS_T ? schedule_time(builder->schedule, logsnr) : logsnr;
        }
        for (int j = 0; j < count; j++) c[j] += weight * lagrange(u, count, j, at);
    }
}

static int adams_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                      struct error *err) {
    (void)err;
    int order = builder_order(builder);
    double c[RING];
    struct form next = {.count = 0};
    evaluate_and_keep(builder, HELD_EPSILON, registers[builder->index % RING]);
    integrals(builder, from, builder->solver->variant, order, c);
    form_add(&next, to->alpha / from->alpha, 0);
    for (int j = 0; j < order; j++) form_add(&next, to->alpha * c[j], registers[(builder->index - j) % RING]);
    builder_lincomb(builder, 0, &next);
    return 0;
}

static struct form bashforth(const struct builder *builder, const int *ring) {
    static const double constants[RING][RING] = {
        {1}, {3. / 2, -1. / 2}, {23. / 12, -16. / 12, 5. / 12}, {55. / 24, -59. / 24, 37. / 24, -9. / 24}};
    struct form epsilon = {.count = 0};
    int order = builder_order(builder);
    for (int j = 0; j < order; j++) form_add(&epsilon, constants[order - 1][j], ring[(builder->index - j) % RING]);
    return epsilon;
}

static int ipndm_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                      struct error *err) {
    (void)err;
    evaluate_and_keep(builder, HELD_EPSILON, registers[builder->index % RING]);
    struct form epsilon = bashforth(builder, registers);
    builder_ddim(builder, 0, from, to, &epsilon);
    return 0;
}

/* Halfway in model time; a whole timestep where the model has only those. */
static struct node halfway(const struct builder *builder, const struct node *from, const struct node *to) {
    const struct schedule *schedule = builder->schedule;
    double t = (from->t + to->t) / 2;
    if (schedule_has_integer_times(schedule))
        t = (floor(t * schedule_steps(schedule) + 1e-9)) / schedule_steps(schedule);
    return node_at(schedule, t);
}

/* registers: the ring of epsilon, then x at a stage, epsilon there, and the sum of the stages. */
static int pndm_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                     struct error *err) {
    if (builder_history(builder) >= RING - 1) return ipndm_step(builder, registers, from, to, err);
    int first = registers[builder->index % RING], stage = registers[RING], other = registers[RING + 1];
    struct node half = halfway(builder, from, to);
    const struct node *at[] = {from, &half, &half, to};
    const double weights[] = {1. / 6, 1. / 3, 1. / 3, 1. / 6};
    int sum = registers[RING + 2];
    for (int k = 0; k < 4; k++) {
        int out = k == 0 ? first : other;
        struct point point = builder_evaluate(builder, k == 0 ? 0 : stage, at[k]->t, out);
        builder_keep(builder, out, &point.epsilon);
        struct form total = {.count = 0}, epsilon = {.terms = {{1, out}}, .count = 1};
        if (k > 0) form_add(&total, 1, sum);
        form_add(&total, weights[k], out);
        builder_lincomb(builder, sum, &total);
        if (k < 3) builder_ddim(builder, stage, from, at[k + 1], &epsilon);
    }
    struct form mean = {.terms = {{1, sum}}, .count = 1};
    builder_ddim(builder, 0, from, to, &mean);
    return 0;
}

/* The first step again from the same x, by the mean of epsilon at its start and at the end that it found. */
static int plms_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                     struct error *err) {
    if (builder->index > 0) return ipndm_step(builder, registers, from, to, err);
    int first = registers[0], end = registers[RING], other = registers[RING + 1];
    evaluate_and_keep(builder, HELD_EPSILON, first);
    struct form epsilon = {.terms = {{1, first}}, .count = 1}, mean = {.count = 0};
    builder_ddim(builder, end, from, to, &epsilon);
    struct point point = builder_evaluate(builder, end, to->t, other);
    form_add(&mean, 0.5, first);
    form_add_form(&mean, 0.5, &point.epsilon);
    builder_ddim(builder, 0, from, to, &mean);
    return 0;
}

#define DEIS(NAME, BASIS, SOURCE) \
    {.name = NAME, \
     .kind = "ODE", \
     .orders = "1-4", \
     .evaluations = 1, \
     .options = SOLVER_ORDER | SOLVER_LOWER, \
     .source = SOURCE, \
     .default_order = 3, \
     .default_clock = CLOCK_LOGSNR, \
     .drops_last = true, \
     .variant = BASIS, \
     .order_least = 1, \
     .order_most = RING, \
     .step = adams_step, \
     .registers = RING}

const struct solver solver_deis = DEIS("deis", BASIS_LOG_RHO, "Zhang & Chen 2022 (DEIS), in log rho as diffusers");
const struct solver solver_deis_rho = DEIS("deis-rho", BASIS_RHO, "Zhang & Chen 2022 (DEIS), rhoAB");
const struct solver solver_deis_t = DEIS("deis-t", BASIS_T, "Zhang & Chen 2022 (DEIS), tAB");
const struct solver solver_lms = {
    .name = "lms",
    .kind = "ODE",
    .orders = "1-4",
    .evaluations = 1,
    .options = SOLVER_ORDER,
    .source = "Crowson 2022 (k-diffusion), LMS",
    .default_order = 4,
    .default_clock = CLOCK_LOGSNR,
    .variant = BASIS_RHO,
    .into_zero = true,
    .order_least = 1,
    .order_most = RING,
    .step = adams_step,
    .registers = RING,
};
const struct solver solver_ipndm = {
    .name = "ipndm",
    .kind = "ODE",
    .orders = "1-4 (2 in fact)",
    .evaluations = 1,
    .options = SOLVER_ORDER,
    .source = "Zhang & Chen 2022 (DEIS), iPNDM",
    .default_order = 4,
    .default_grid = GRID_UNIFORM,
    .default_clock = CLOCK_T,
    .into_zero = true,
    .order_least = 1,
    .order_most = RING,
    .step = ipndm_step,
    .registers = RING,
};
const struct solver solver_pndm = {
    .name = "pndm",
    .kind = "ODE",
    .orders = "4 (2 in fact)",
    .evaluations = 1,
    .start_steps = 3,
    .start_evaluations = 3,
    .source = "Liu et al. 2022 (PNDM), alg. 2",
    .default_order = 4,
    .default_grid = GRID_UNIFORM,
    .default_clock = CLOCK_T,
    .into_zero = true,
    .new_noise = new_noise_none,
    .step = pndm_step,
    .registers = RING + 3,
};
const struct solver solver_plms = {
    .name = "plms",
    .kind = "ODE",
    .orders = "4 (2 in fact)",
    .evaluations = 1,
    .start_steps = 1,
    .start_evaluations = 1,
    .source = "Rombach et al. 2022 (Stable Diffusion), PLMS",
    .default_order = 4,
    .default_grid = GRID_UNIFORM,
    .default_clock = CLOCK_T,
    .into_zero = true,
    .new_noise = new_noise_none,
    .step = plms_step,
    .registers = RING + 2,
};
