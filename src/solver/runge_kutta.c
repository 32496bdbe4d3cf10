/* euler, heun, midpoint, ralston, rk4: explicit Runge-Kutta methods on the probability-flow ODE (Song et al. 2020,
 * arXiv 2011.13456, eq. 13) in the sampler's clock, dx/du = f x + g^2/(2 sigma) epsilon; orders 1, 2, 2, 2, 4; 1, 2, 2,
 * 2, 4 NFE a step. On an edm schedule in clock t, heun is EDM's sampler (Karras et al. 2022, algorithm 1; its Euler
 * step into sigma 0 is `final: zero`). */
#include "solver/registry.h"

enum { STAGES = 4 };
struct tableau {
    int stages;
    double nodes[STAGES];         /* c */
    double inner[STAGES][STAGES]; /* a */
    double weights[STAGES];       /* b */
};

enum { EULER, HEUN, MIDPOINT, RALSTON, RK4 };
static const struct tableau tableaus[] = {
    [EULER] = {1, {0}, {{0}}, {1}},
    [HEUN] = {2, {0, 1}, {{0}, {1}}, {0.5, 0.5}},
    [MIDPOINT] = {2, {0, 0.5}, {{0}, {0.5}}, {0, 1}},
    [RALSTON] = {2, {0, 2. / 3}, {{0}, {2. / 3}}, {0.25, 0.75}},
    [RK4] = {4, {0, 0.5, 0.5, 1}, {{0}, {0.5}, {0, 0.5}, {0, 0, 1}}, {1. / 6, 1. / 3, 1. / 3, 1. / 6}},
};

/* registers: [0] the stage's x, [1 + i] slope i, dx/dh = -(f x + g^2/(2 sigma) epsilon), h towards data. */
static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    const struct tableau *tableau = &tableaus[builder->solver->variant];
    double h = builder_step(builder, from, to);
    struct form next = {.count = 0};
    form_add(&next, 1, 0);
    for (int i = 0; i < tableau->stages; i++) {
        double part = tableau->nodes[i], time = part == 1 ? to->t : builder_time(builder, from, h, part);
        struct form stage = {.count = 0}, slope = {.count = 0};
        int x = i == 0 ? 0 : registers[0], k = registers[1 + i];
        form_add(&stage, 1, 0);
        for (int j = 0; j < i; j++) form_add(&stage, h * tableau->inner[i][j], registers[1 + j]);
        if (i > 0) builder_lincomb(builder, x, &stage);
        struct form towards_noise;
        struct point point = builder_evaluate(builder, x, time, k);
        if (builder_slope(builder, &point, x, &towards_noise, err) != 0) return -1;
        form_add_form(&slope, -1, &towards_noise);
        if (tableau->stages == 1) {
            form_add_form(&next, h, &slope); /* one LINCOMB does it */
        } else {
            builder_lincomb(builder, k, &slope);
            form_add(&next, h * tableau->weights[i], k);
        }
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

#define SONG "Song et al. 2020 (score SDE), eq. 13"
#define RUNGE_KUTTA(NAME, VARIANT, ORDER, EVALUATIONS, CLOCK, INNER, SOURCE) \
    {.name = NAME, \
     .kind = "ODE", \
     .orders = #ORDER, \
     .evaluations = EVALUATIONS, \
     .options = SOLVER_CLOCK, \
     .source = SOURCE, \
     .default_order = ORDER, \
     .default_clock = CLOCK, \
     .inner_times = INNER, \
     .in_slopes = true, \
     .leaves_noise = true, \
     .variant = VARIANT, \
     .step = step, \
     .registers = 1 + EVALUATIONS}

const struct solver solver_euler = RUNGE_KUTTA("euler", EULER, 1, 1, CLOCK_T, false, SONG);
const struct solver solver_heun = RUNGE_KUTTA("heun", HEUN, 2, 2, CLOCK_LOGSNR, false,
                                              SONG "; Karras et al. 2022, alg. 1");
const struct solver solver_midpoint = RUNGE_KUTTA("midpoint", MIDPOINT, 2, 2, CLOCK_LOGSNR, true,
                                                  SONG ", midpoint rule");
const struct solver solver_ralston = RUNGE_KUTTA("ralston", RALSTON, 2, 2, CLOCK_LOGSNR, true, SONG ", Ralston 1962");
const struct solver solver_rk4 = RUNGE_KUTTA("rk4", RK4, 4, 4, CLOCK_LOGSNR, true, SONG);
