/* stork: Tan et al. 2025 (arXiv 2505.24210), STORK-2 as in the authors' code (ZT220501/STORK): the 50 stages of the
 * Runge-Kutta-Gegenbauer method of order 2 go over each step of the probability-flow ODE, dx/du = f x + g^2/(2 sigma)
 * epsilon, where epsilon (of a flow: the velocity dx/du) is its Taylor polynomial of order 1 through this evaluation
 * and the one before; the first step is Euler's. ODE, order 1 with a fiftieth of Euler's error constant, since the
 * authors' stage times are another method's; 1 NFE a step. As x enters linearly, the stages are worked out here. */
#include "solver/registry.h"

enum { RING = 2, STAGES = 50, PARTS = 3 };

/* Coefficients of x at the step's start, of what is held now, and of what was held before. */
struct parts {
    double of[PARTS];
};

static struct parts add(struct parts a, double factor, struct parts b) {
    for (int i = 0; i < PARTS; i++) a.of[i] += factor * b.of[i];
    return a;
}

static double b_of(int j) {
    if (j < 2) return j == 0 ? 1 : 1. / 3;
    return 4. * (j - 1) * (j + 4) / (3. * j * (j + 1) * (j + 2) * (j + 3));
}

/* Where in the step stage j > 1 has its slope: that of the stage before. */
static double place_of(int j) {
    const double whole = STAGES * STAGES + STAGES - 2;
    return j == 2 ? 4 / (3 * whole) : ((j - 1) * (j - 1) + (j - 1) - 2) / whole;
}

/* dx/du at a part of the step, towards noise, of x = y. back: the step before over this one. */
static int slope_at(const struct builder *builder, const struct node *from, double h, double part, double back,
                    struct parts y, struct parts *slope, struct error *err) {
    struct parts held = {{0, 1 + part / back, -part / back}};
    if (schedule_is_flow(builder->schedule)) return *slope = held, 0;
    double f, g2, t = builder_time(builder, from, h, part);
    if (builder_drift(builder, t, &f, &g2, err) != 0) return -1;
    *slope = add((struct parts){{0}}, f, y);
    *slope = add(*slope, g2 / (2 * schedule_sigma(builder->schedule, t)), held);
    return 0;
}

/* The stages: x at the end of a step of length h. */
static int gegenbauer(const struct builder *builder, const struct node *from, double h, double back,
                      struct parts *result, struct error *err) {
    const double w = 6. / ((STAGES + 4) * (STAGES - 1));
    const struct parts start = {{1, 0, 0}};
    struct parts first, slope, before = start, now;
    if (slope_at(builder, from, h, 0, back, start, &first, err) != 0) return -1;
    now = add(start, -h * w, first);
    for (int j = 2; j <= STAGES; j++) {
        double mu = (2 * j + 1) * b_of(j) / (j * b_of(j - 1)), nu = -(j + 1) * b_of(j) / (j * b_of(j - 2));
        double gamma = -mu * w * (1 - j * (j + 1) * b_of(j - 1) / 2);
        if (slope_at(builder, from, h, place_of(j), back, now, &slope, err) != 0) return -1;
        struct parts next = add((struct parts){{0}}, mu, now);
        next = add(next, nu, before);
        next = add(next, 1 - mu - nu, start);
        next = add(next, -h * mu * w, slope);
        next = add(next, -h * gamma, first);
        before = now;
        now = next;
    }
    *result = now;
    return 0;
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    int newest = registers[builder->index % RING], before = registers[(builder->index + 1) % RING];
    double h = builder_step(builder, from, to);
    struct form held = {.count = 0}, next = {.count = 0};
    struct parts parts;
    struct point point = builder_evaluate(builder, 0, from->t, newest);
    if (schedule_is_flow(builder->schedule)) {
        if (builder_slope(builder, &point, 0, &held, err) != 0) return -1;
    } else {
        held = point.epsilon;
    }
    builder_lincomb(builder, newest, &held);
    if (builder_history(builder) > 0) {
        if (gegenbauer(builder, from, h, builder_step(builder, &from[-1], from) / h, &parts, err) != 0) return -1;
    } else {
        struct parts slope;
        if (slope_at(builder, from, h, 0, 1, (struct parts){{1, 0, 0}}, &slope, err) != 0) return -1;
        parts = add((struct parts){{1, 0, 0}}, -h, slope);
    }
    form_add(&next, parts.of[0], 0);
    form_add(&next, parts.of[1], newest);
    if (parts.of[2] != 0) form_add(&next, parts.of[2], before);
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_stork = {.name = "stork",
                                    .kind = "ODE",
                                    .orders = "1",
                                    .evaluations = 1,
                                    .options = SOLVER_CLOCK,
                                    .source = "Tan et al. 2025 (STORK), STORK-2, first derivative, 50 stages",
                                    .default_order = 1,
                                    .default_clock = CLOCK_T,
                                    .step = step,
                                    .registers = RING};
