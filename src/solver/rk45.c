/* Dormand-Prince 5(4): its steps and their control. */
#include "solver/rk45.h"

#include "solver/registry.h"

#include <math.h>
#include <stdlib.h>

/* Dormand & Prince 1980; E is the difference of the embedded orders. */
enum { STAGES = 6 };
static const double C[STAGES] = {0, 1. / 5, 3. / 10, 4. / 5, 8. / 9, 1};
static const double A[STAGES][STAGES - 1] = {
    {0},
    {1. / 5},
    {3. / 40, 9. / 40},
    {44. / 45, -56. / 15, 32. / 9},
    {19372. / 6561, -25360. / 2187, 64448. / 6561, -212. / 729},
    {9017. / 3168, -355. / 33, 46732. / 5247, 49. / 176, -5103. / 18656},
};
static const double B[STAGES] = {35. / 384, 0, 500. / 1113, 125. / 192, -2187. / 6784, 11. / 84};
static const double E[STAGES + 1] = {-71. / 57600, 0, 71. / 16695, -71. / 1920, 17253. / 339200, -22. / 525, 1. / 40};
static const double SAFETY = 0.9, SHRINK_MOST = 0.2, GROW_MOST = 10, EXPONENT = -1. / 5;

enum { X, NEW, ERROR, STAGE, K, /* K..K+6 */ UNGUIDED = K + 7, SCRATCH, REGISTERS };
_Static_assert((int)REGISTERS == (int)RK45_REGISTERS, "rk45.h tells the executor how many");

enum phase { START, FIRST_SLOPE, PROBE, STEP, FINISHED };

struct rk45 {
    struct sampler sampler;
    struct card card; /* shallow: the caller's card outlives us */
    struct schedule *schedule;
    struct plan plan; /* the fragment being emitted */
    struct builder builder;
    enum phase phase;       /* what the last fragment was */
    double u, end;          /* where x is and where it goes, in the clock, towards noise: t or -lambda; u runs down */
    double h, probe;        /* lengths in the clock, > 0 */
    double d1;              /* norm of the first slope */
    bool rejected, pending; /* pending: NEW is accepted but not yet copied to X */
    int nfe;
};

int rk45_new(struct rk45 **rk45, const struct sampler *resolved, const struct card *card, struct error *err) {
    struct rk45 *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->sampler = *resolved;
    made->card = *card;
    if (schedule_new(&made->schedule, &made->card, err) != 0) {
        free(made);
        return -1;
    }
    made->builder = (struct builder){.plan = &made->plan,
                                     .schedule = made->schedule,
                                     .sampler = &made->sampler,
                                     .card = &made->card,
                                     .scratch = SCRATCH,
                                     .unguided = UNGUIDED};
    rk45_start(made);
    *rk45 = made;
    return 0;
}

void rk45_free(struct rk45 *rk45) {
    if (!rk45) return;
    plan_release(&rk45->plan);
    schedule_free(rk45->schedule);
    free(rk45);
}

static double position(const struct rk45 *rk45, double t) {
    return rk45->sampler.clock == CLOCK_T ? t : -schedule_logsnr(rk45->schedule, t);
}

/* The ends are hit exactly, not through an inverse. */
static double time_at(const struct rk45 *rk45, double u) {
    if (u == rk45->end) return rk45->sampler.t_end;
    return rk45->sampler.clock == CLOCK_T ? u : schedule_time(rk45->schedule, -u);
}

void rk45_start(struct rk45 *rk45) {
    plan_release(&rk45->plan);
    rk45->phase = START;
    rk45->u = position(rk45, rk45->sampler.t_start);
    rk45->end = position(rk45, rk45->sampler.t_end);
    rk45->rejected = rk45->pending = false;
    rk45->nfe = 0;
}

int rk45_nfe(const struct rk45 *rk45) {
    return rk45->nfe;
}

/* The position a part of the step further on. */
static double after(const struct rk45 *rk45, double part) {
    return part == 1 && rk45->h >= rk45->u - rk45->end ? rk45->end : rk45->u - part * rk45->h;
}

static double left(const struct rk45 *rk45) {
    return rk45->u - rk45->end;
}

/* register k = dx/du at register x and position u. */
static int emit_slope(struct rk45 *rk45, int x, double u, int k, struct error *err) {
    struct form slope;
    struct point point = builder_evaluate(&rk45->builder, x, time_at(rk45, u), k);
    if (builder_slope(&rk45->builder, &point, x, &slope, err) != 0) return -1;
    builder_lincomb(&rk45->builder, k, &slope);
    return 0;
}

/* dst = of_x x + h sum weights[i] K_i; u runs down, so h is negated. */
static void emit_sum(struct rk45 *rk45, int dst, double of_x, const double *weights, int count) {
    struct form sum = {.count = 0};
    if (of_x != 0) form_add(&sum, of_x, X);
    for (int i = 0; i < count; i++)
        if (weights[i] != 0) form_add(&sum, -rk45->h * weights[i], K + i);
    builder_lincomb(&rk45->builder, dst, &sum);
}

static void emit_acceptance(struct rk45 *rk45) {
    if (!rk45->pending) return;
    builder_copy(&rk45->builder, X, NEW);
    builder_copy(&rk45->builder, K, K + STAGES); /* first same as last */
    rk45->pending = false;
}

static int emit_probe(struct rk45 *rk45, struct error *err) {
    struct form probe = form_two(1, X, -rk45->probe, K), difference = form_two(1, K + 1, -1, K);
    builder_lincomb(&rk45->builder, NEW, &probe);
    if (emit_slope(rk45, NEW, rk45->u - rk45->probe, K + 1, err) != 0) return -1;
    builder_lincomb(&rk45->builder, ERROR, &difference);
    return 0;
}

static int emit_step(struct rk45 *rk45, struct error *err) {
    emit_acceptance(rk45);
    for (int i = 1; i < STAGES; i++) {
        emit_sum(rk45, STAGE, 1, A[i], i);
        if (emit_slope(rk45, STAGE, after(rk45, C[i]), K + i, err) != 0) return -1;
    }
    emit_sum(rk45, NEW, 1, B, STAGES);
    if (emit_slope(rk45, NEW, after(rk45, 1), K + STAGES, err) != 0) return -1;
    emit_sum(rk45, ERROR, 0, E, STAGES + 1);
    return 0;
}

/* scipy's select_initial_step, second half. */
static double initial_step(const struct rk45 *rk45, double d2) {
    double largest = fmax(rk45->d1, d2 / rk45->probe);
    double h = largest <= 1e-15 ? fmax(1e-6, rk45->probe * 1e-3) : pow(0.01 / largest, -EXPONENT);
    return fmin(fmin(100 * rk45->probe, h), left(rk45));
}

/* Takes the error norm of the last step; leaves t, h and the phase for the next. */
static void control(struct rk45 *rk45, double norm) {
    if (norm >= 1) {
        rk45->h *= fmax(SHRINK_MOST, SAFETY * pow(norm, EXPONENT));
        rk45->rejected = true;
        return;
    }
    double factor = norm == 0 ? GROW_MOST : fmin(GROW_MOST, SAFETY * pow(norm, EXPONENT));
    if (rk45->rejected) factor = fmin(1, factor);
    rk45->u = after(rk45, 1);
    rk45->h *= factor;
    rk45->rejected = false;
    rk45->pending = true;
}

/* From the last fragment's phase and norms to the phase, place and length of the next. */
static int advance(struct rk45 *rk45, const double *values, struct error *err) {
    if (rk45->phase == START) {
        rk45->phase = FIRST_SLOPE;
        return 0;
    }
    if (rk45->phase == FIRST_SLOPE) {
        double d0 = values[0];
        rk45->d1 = values[1];
        rk45->probe = fmin(d0 < 1e-5 || rk45->d1 < 1e-5 ? 1e-6 : 0.01 * d0 / rk45->d1, left(rk45));
        rk45->phase = PROBE;
        return 0;
    }
    if (rk45->phase == PROBE) rk45->h = initial_step(rk45, values[0]);
    else control(rk45, values[0]);
    rk45->phase = left(rk45) > 0 ? STEP : FINISHED;
    double least = 10 * (rk45->u - nextafter(rk45->u, -INFINITY));
    if (!(rk45->h >= least) && rk45->rejected)
        return error_set(err, CODE_DATA,
                         "rk45: the step at t = %g shrinks to nothing; the model's output is not smooth, or rtol and "
                         "atol are too small",
                         time_at(rk45, rk45->u));
    rk45->h = fmin(fmax(rk45->h, least), left(rk45));
    return 0;
}

int rk45_next(struct rk45 *rk45, const double *values, struct rk45_fragment *fragment, bool *more, struct error *err) {
    int rc = 0;
    *fragment = (struct rk45_fragment){.plan = &rk45->plan};
    *more = rk45->phase != FINISHED;
    if (!*more) return 0;
    if (advance(rk45, values, err) != 0) return -1;
    plan_release(&rk45->plan);
    rk45->plan.registers = REGISTERS;
    switch (rk45->phase) {
        case FIRST_SLOPE:
            rc = emit_slope(rk45, X, rk45->u, K, err);
            fragment->norms[fragment->norms_count++] = (struct rk45_norm){X, X, X};
            fragment->norms[fragment->norms_count++] = (struct rk45_norm){K, X, X};
            break;
        case PROBE:
            rc = emit_probe(rk45, err);
            fragment->norms[fragment->norms_count++] = (struct rk45_norm){ERROR, X, X};
            break;
        case STEP:
            rc = emit_step(rk45, err);
            fragment->norms[fragment->norms_count++] = (struct rk45_norm){ERROR, X, NEW};
            break;
        default: emit_acceptance(rk45); /* the last fragment: nothing to measure */
    }
    rk45->nfe += rk45->plan.nfe;
    return rc != 0 ? rc : builder_finish(&rk45->builder, err);
}

const struct solver solver_rk45 = {
    .name = "rk45",
    .kind = "ODE",
    .orders = "5",
    .evaluations = 0,
    .options = SOLVER_CLOCK | SOLVER_TOLERANCES,
    .source = "Dormand & Prince 1980; Song et al. 2020, eq. 13",
    .default_order = 5,
    .leaves_noise = true,
    .default_clock = CLOCK_T,
};
