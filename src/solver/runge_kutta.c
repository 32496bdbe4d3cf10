/* euler, heun, midpoint, ralston, rk4: explicit Runge-Kutta methods on the probability-flow ODE (Song et al. 2020,
 * arXiv 2011.13456, eq. 13) in the sampler's clock, dx/du = f x + g^2/(2 sigma) epsilon; orders 1, 2, 2, 2, 4; 1, 2, 2,
 * 2, 4 NFE a step. On an edm schedule in clock t, heun is EDM's sampler (Karras et al. 2022, algorithm 1; its Euler
 * step into sigma 0 is `final: zero`). */
#include "solver/registry.h"

#include <math.h>

enum { STAGES = 4 };
struct tableau {
    int stages;
    double nodes[STAGES];         /* c */
    double inner[STAGES][STAGES]; /* a */
    double weights[STAGES];       /* b */
};

static const struct tableau euler = {1, {0}, {{0}}, {1}};
static const struct tableau heun = {2, {0, 1}, {{0}, {1}}, {0.5, 0.5}};
static const struct tableau midpoint = {2, {0, 0.5}, {{0}, {0.5}}, {0, 1}};
static const struct tableau ralston = {2, {0, 2. / 3}, {{0}, {2. / 3}}, {0.25, 0.75}};
static const struct tableau rk4 = {
    4, {0, 0.5, 0.5, 1}, {{0}, {0.5}, {0, 0.5}, {0, 0, 1}}, {1. / 6, 1. / 3, 1. / 3, 1. / 6}};

static double inner_time(const struct builder *builder, const struct node *from, const struct node *to, double part,
                         double h) {
    if (part == 0) return from->t;
    if (part == 1) return to->t;
    if (builder->sampler->clock == CLOCK_T) return from->t - part * h;
    return schedule_time(builder->schedule, from->logsnr + part * h);
}

/* registers: [0] the stage's x, [1 + i] slope i, dx/dh = -(f x + g^2/(2 sigma) epsilon), h towards data. */
static int run(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
               const struct tableau *tableau, struct error *err) {
    double h = builder_step(builder, from, to);
    struct form next = {.count = 0};
    form_add(&next, 1, 0);
    for (int i = 0; i < tableau->stages; i++) {
        double time = inner_time(builder, from, to, tableau->nodes[i], h);
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

static int euler_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                      struct error *err) {
    return run(builder, registers, from, to, &euler, err);
}

static int heun_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                     struct error *err) {
    return run(builder, registers, from, to, &heun, err);
}

static int midpoint_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                         struct error *err) {
    return run(builder, registers, from, to, &midpoint, err);
}

static int ralston_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                        struct error *err) {
    return run(builder, registers, from, to, &ralston, err);
}

static int rk4_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                    struct error *err) {
    return run(builder, registers, from, to, &rk4, err);
}

#define SONG "Song et al. 2020 (score SDE), eq. 13"
const struct solver solver_euler = {
    .name = "euler",
    .kind = "ODE",
    .orders = "1",
    .evaluations = 1,
    .options = SOLVER_CLOCK,
    .source = SONG,
    .default_order = 1,
    .default_clock = CLOCK_T,
    .in_slopes = true,
    .leaves_noise = true,
    .step = euler_step,
    .registers = 2,
};
const struct solver solver_heun = {
    .name = "heun",
    .kind = "ODE",
    .orders = "2",
    .evaluations = 2,
    .options = SOLVER_CLOCK,
    .source = SONG "; Karras et al. 2022, alg. 1",
    .default_order = 2,
    .default_clock = CLOCK_LOGSNR,
    .in_slopes = true,
    .leaves_noise = true,
    .step = heun_step,
    .registers = 3,
};
const struct solver solver_midpoint = {
    .name = "midpoint",
    .kind = "ODE",
    .orders = "2",
    .evaluations = 2,
    .options = SOLVER_CLOCK,
    .source = SONG ", midpoint rule",
    .default_order = 2,
    .default_clock = CLOCK_LOGSNR,
    .inner_times = true,
    .in_slopes = true,
    .leaves_noise = true,
    .step = midpoint_step,
    .registers = 3,
};
const struct solver solver_ralston = {
    .name = "ralston",
    .kind = "ODE",
    .orders = "2",
    .evaluations = 2,
    .options = SOLVER_CLOCK,
    .source = SONG ", Ralston 1962",
    .default_order = 2,
    .default_clock = CLOCK_LOGSNR,
    .inner_times = true,
    .in_slopes = true,
    .leaves_noise = true,
    .step = ralston_step,
    .registers = 3,
};
const struct solver solver_rk4 = {
    .name = "rk4",
    .kind = "ODE",
    .orders = "4",
    .evaluations = 4,
    .options = SOLVER_CLOCK,
    .source = SONG,
    .default_order = 4,
    .default_clock = CLOCK_LOGSNR,
    .inner_times = true,
    .in_slopes = true,
    .leaves_noise = true,
    .step = rk4_step,
    .registers = 5,
};
