/* From a sampler to its plan. */
#include "solver/plan.h"

#include "base/text.h"
#include "solver/grid.h"
#include "solver/probe.h"
#include "solver/registry.h"
#include "solver/rk45.h"
#include "solver/taylor.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_TRIED = 2000 };          /* in the search for a number of steps that works */
static const double CUT_LIMIT = 0.02; /* of samples from -1 to 1: 2.5 levels of grey */

void plan_release(struct plan *plan) {
    for (size_t i = 0; i < plan->ops_count; i++) free(plan->ops[i].terms);
    free(plan->ops);
    free(plan->steps);
    *plan = (struct plan){0};
}

/* The grid of `count` points as nodes, new; with one of sigma 0 behind the last where the solver itself steps there. */
static int make_nodes(const struct builder *builder, int count, struct node **nodes, struct error *err) {
    double *points = malloc((size_t)count * sizeof *points);
    *nodes = calloc((size_t)count + 1, sizeof **nodes);
    int rc = points && *nodes ? grid_make(builder->schedule, builder->sampler, count, points, err) : error_memory(err);
    for (int i = 0; rc == 0 && i < count; i++) (*nodes)[i] = node_at(builder->schedule, points[i]);
    if (rc == 0) (*nodes)[count] = (struct node){0, 1, 0, INFINITY};
    free(points);
    return rc;
}

/* Is every step of a grid of `count` points short enough for the solver's formula? */
static bool steps_fit(const struct builder *builder, int count) {
    struct node *nodes;
    struct error ignored;
    bool fit = make_nodes(builder, count, &nodes, &ignored) == 0;
    for (int i = 0; fit && i + 1 < count; i++)
        fit = builder->solver->check(builder, &nodes[i], &nodes[i + 1], &ignored) == 0;
    free(nodes);
    return fit;
}

/* Adds to the error of a step that is too long how many steps would do. */
static void advise_steps(const struct builder *builder, int count, struct error *err) {
    struct error found = *err;
    if (grid_is_list(builder->sampler->grid)) return;
    int extra = builder->sampler->steps - (count - 1);
    for (int more = count + 1; more <= STEPS_TRIED; more++) {
        if (!steps_fit(builder, more)) continue;
        error_set(err, CODE_DATA, "%.1800s; the smallest number of steps that works is %d", found.message,
                  more - 1 + extra);
        return;
    }
    error_set(err, CODE_DATA, "%.1800s; no number of steps up to %d works: choose another order or grid", found.message,
              STEPS_TRIED);
}

/* One line when steps leave the radius of convergence of their series. */
static void warn_radius(const struct builder *builder, int count, struct text *warnings) {
    const struct sampler *sampler = builder->sampler;
    const struct solver *solver = builder->solver;
    int beyond = 0, first = 0;
    double worst = 0;
    bool series = solver->options & SOLVER_ORDER && solver->options & SOLVER_CLOCK;
    if (!warnings || !series || sampler->order <= 1 || sampler->order == INFINITY) return;
    for (int i = 0; i + 1 < count; i++) {
        const struct node *from = &builder->nodes[i];
        double ratio = builder_step(builder, from, from + 1) /
                       schedule_radius(builder->schedule, sampler->clock, from->t);
        if (ratio > 1 && beyond++ == 0) first = i + 1;
        worst = fmax(worst, ratio);
    }
    if (beyond)
        text_add(warnings,
                 "sampler: %d of %d steps, from step %d on, are longer than the radius of convergence of the series in "
                 "%s (up to %.2f times): use more steps, a grid that matches the clock, or order 1 or .inf\n",
                 beyond, count - 1, first, clock_names[sampler->clock], worst);
}

/* How far alpha and sigma at the end of the last step are from what the series, cut after h^order, makes of them; the
 * larger. */
static int last_miss(const struct builder *builder, const struct node *from, double *miss, double cut[2],
                     struct error *err) {
    const struct sampler *sampler = builder->sampler;
    if (taylor_parts(builder->schedule, sampler->clock, sampler->order, from->t, from[1].t, &cut[0], &cut[1], err) != 0)
        return -1;
    *miss = fmax(fabs(cut[0] - from[1].alpha), fabs(cut[1] - from[1].sigma));
    return 0;
}

/* Would the other clock, on its own grid where the grid is this clock's, do better? */
static bool other_clock_fits(const struct builder *builder, int count, struct sampler *other, double *miss) {
    struct builder with = *builder;
    struct node *nodes;
    struct error ignored;
    double cut[2];
    *other = *builder->sampler;
    other->clock = other->clock == CLOCK_T ? CLOCK_LOGSNR : CLOCK_T;
    if (other->grid == GRID_QUADRATIC || other->grid == GRID_UNIFORM_LOGSNR)
        other->grid = other->clock == CLOCK_T ? GRID_QUADRATIC : GRID_UNIFORM_LOGSNR;
    with.sampler = other;
    bool fits = make_nodes(&with, count, &nodes, &ignored) == 0 &&
                last_miss(&with, &nodes[count - 2], miss, cut, &ignored) == 0 && *miss <= CUT_LIMIT;
    free(nodes);
    return fits;
}

/* One line when the last step's series leaves noise behind, or takes too much: no later step mends it, as one does
 * the others', nor is x0 taken from it. */
static int warn_cut(const struct builder *builder, int count, struct text *warnings, struct error *err) {
    const struct sampler *sampler = builder->sampler;
    unsigned options = builder->solver->options;
    bool series = options & SOLVER_ORDER && options & SOLVER_CLOCK && strcmp(builder->solver->kind, "ODE") == 0;
    struct sampler other;
    double miss, cut[2], other_miss;
    if (!warnings || !series || sampler->order == INFINITY || final_is_x0(sampler->final) || count < 2 ||
        builder->nodes[count - 2].alpha == 0)
        return 0;
    if (last_miss(builder, &builder->nodes[count - 2], &miss, cut, err) != 0) return -1;
    if (miss <= CUT_LIMIT) return 0;
    const struct node *last = &builder->nodes[count - 1];
    text_add(warnings,
             "sampler: the series in %s, cut after order %g, makes alpha %.3g and sigma %.3g of %.3g and %.3g in its "
             "last step, number %d: ",
             clock_names[sampler->clock], sampler->order, cut[0], cut[1], last->alpha, last->sigma, count - 1);
    if (other_clock_fits(builder, count, &other, &other_miss))
        text_add(warnings, "say clock: %s with grid: %s, which misses by %.2g there, or order: .inf\n",
                 clock_names[other.clock], grid_names[other.grid], other_miss);
    else text_add(warnings, "use more steps or shorter ones there, or order: .inf\n");
    return 0;
}

/* One line when the samples of Gaussian data come out several times too wide. Clipping would hide or heal it. */
static int warn_unstable(const struct builder *builder, struct text *warnings, struct error *err) {
    const struct sampler *sampler = builder->sampler;
    const struct node *last = &builder->nodes[builder->last];
    double worst = 0, width = 0, least = INFINITY;
    if (!warnings || sampler->clip.on) return 0;
    for (int i = 0; i < PROBES; i++) {
        double found, expected = probe_widths[i];
        if (probe_deviation(builder->plan, (const double(*)[PROBES])builder->slopes, i, &found, err) != 0) return -1;
        if (builder->solver->options & SOLVER_TABLE && !(found <= FLT_MAX))
            return error_set(err, CODE_DATA,
                             "sampler.table: of Gaussian data with standard deviation %g it makes samples that are not "
                             "finite as float32: see the size of its coefficients",
                             probe_widths[i]);
        if (!final_is_x0(sampler->final)) expected = hypot(last->alpha * expected, last->sigma);
        least = fmin(least, found / expected);
        if (found / expected <= worst) continue;
        worst = found / expected;
        width = probe_widths[i];
    }
    if (worst > PROBE_WIDE)
        text_add(warnings,
                 "sampler: %s is unstable at NFE %d on this grid: of Gaussian data with standard deviation %g it makes "
                 "samples %.3g times as wide; use more steps, a lower order, another grid or another solver\n",
                 sampler->solver, builder->plan->nfe, width, worst);
    if (builder->solver->options & SOLVER_TABLE && least < PROBE_NARROW)
        text_add(warnings,
                 "sampler.table: of Gaussian data it makes samples that are %.2g times as wide as they should be: are "
                 "its coefficients those of this schedule, and of epsilon, x0 or velocity as it says?\n",
                 least);
    return 0;
}

static int record_step(struct plan *plan, const struct node *from, double s) {
    struct plan_step *steps = realloc(plan->steps, (plan->steps_count + 1) * sizeof *steps);
    if (!steps) return -1;
    plan->steps = steps;
    steps[plan->steps_count++] = (struct plan_step){
        .t = from->t, .s = s, .alpha = from->alpha, .sigma = from->sigma, .logsnr = from->logsnr};
    return 0;
}

/* The step from a point where alpha is 0, x is noise and lambda -infinity: of order 1, as is that into sigma 0. */
static void leave_noise(struct builder *builder, int out, int noise, const struct node *from, const struct node *to) {
    double fresh = builder->solver->new_noise ? builder->solver->new_noise(builder->sampler) : 0;
    struct form next = {.count = 0};
    struct point point = builder_evaluate(builder, 0, from->t, out);
    form_add_form(&next, to->alpha, &point.x0);
    form_add_form(&next, to->sigma * sqrt(fmax(1 - fresh * fresh, 0)), &point.epsilon);
    if (fresh > 0) {
        builder_noise(builder, noise);
        form_add(&next, to->sigma * fresh, noise);
    }
    builder_lincomb(builder, 0, &next);
}

static int compile_steps(struct builder *builder, int count, struct error *err) {
    struct plan *plan = builder->plan;
    const struct solver *solver = builder->solver;
    const struct node *nodes = builder->nodes;
    int registers[solver->registers];
    for (int i = 0; i < solver->registers; i++) registers[i] = builder_register(builder);
    for (int i = 0; i < builder->last; i++) {
        builder->index = i;
        if (record_step(plan, &nodes[i], nodes[i + 1].t) != 0) return error_memory(err);
        if (nodes[i].alpha == 0 && solver_starts_over(solver, builder->sampler)) {
            leave_noise(builder, registers[0], registers[solver->registers - 1], &nodes[i], &nodes[i + 1]);
            continue;
        }
        if (solver->step(builder, registers, &nodes[i], &nodes[i + 1], err) != 0) {
            if (solver->check && err->code == CODE_DATA) advise_steps(builder, count, err);
            return -1;
        }
    }
    if (final_is_x0(builder->sampler->final) && builder->last < count) { /* x becomes x0 */
        if (record_step(plan, &nodes[builder->last], 0) != 0) return error_memory(err);
        struct point point = builder_evaluate(builder, 0, nodes[builder->last].t, registers[0]);
        builder_lincomb(builder, 0, &point.x0);
    }
    return builder_finish(builder, err);
}

/* A coefficient that overflowed would reach JSON and the samples as nonsense. */
static int check_finite(const struct plan *plan, struct error *err) {
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        bool finite = isfinite(op->a) && isfinite(op->b) && isfinite(op->time);
        for (size_t k = 0; k < op->terms_count; k++) finite &= isfinite(op->terms[k].coefficient) != 0;
        if (!finite)
            return error_set(err, CODE_DATA,
                             "sampler: op %zu of the plan has a coefficient or a time that is not finite: take more "
                             "steps, or times further from alpha = 0 and sigma = 0",
                             i + 1);
    }
    return 0;
}

/* Registers nobody used (noise of a deterministic run) are not allocated. */
static int drop_unused_registers(struct plan *plan, struct error *err) {
    int *map = calloc((size_t)plan->registers, sizeof *map), used = 1;
    if (!map) return error_memory(err);
    for (size_t i = 0; i < plan->ops_count; i++) map[plan->ops[i].dst] = map[plan->ops[i].dst2] = 1;
    map[0] = 0; /* x */
    for (int r = 1; r < plan->registers; r++)
        if (map[r]) map[r] = used++;
    for (size_t i = 0; i < plan->ops_count; i++) {
        struct op *op = &plan->ops[i];
        op->dst = map[op->dst];
        op->src = map[op->src];
        op->like = map[op->like];
        op->dst2 = map[op->dst2];
        for (size_t k = 0; k < op->terms_count; k++) op->terms[k].source = map[op->terms[k].source];
    }
    plan->registers = used;
    free(map);
    return 0;
}

static int compile_fixed(struct builder *builder, struct text *warnings, struct error *err) {
    const struct sampler *sampler = builder->sampler;
    struct node *nodes;
    int count = sampler->steps - sampler_ends_in_step(sampler) + 1;
    int rc = make_nodes(builder, count, &nodes, err);
    builder->nodes = nodes;
    if (rc == 0) builder->plan->initial_scale = schedule_initial_scale(builder->schedule, nodes[0].t);
    builder->last = count - 1 +
                    (sampler->final == FINAL_MEAN || (sampler->final == FINAL_ZERO && builder->solver->into_zero));
    if (rc == 0) rc = compile_steps(builder, count, err);
    if (rc == 0) rc = check_finite(builder->plan, err);
    if (rc == 0) warn_radius(builder, count, warnings);
    if (rc == 0) rc = warn_cut(builder, count, warnings, err);
    if (rc == 0) rc = warn_unstable(builder, warnings, err);
    if (rc == 0) rc = drop_unused_registers(builder->plan, err);
    free(builder->slopes);
    free(nodes);
    return rc;
}

int plan_compile(struct plan *plan, const struct sampler *resolved, const struct card *card, struct text *warnings,
                 struct error *err) {
    const struct solver *solver = solver_find(resolved->solver);
    struct schedule *schedule;
    if (resolved->plan) return plan_file_read(plan, resolved, card, warnings, err);
    *plan = (struct plan){.registers = 1};
    if (schedule_new(&schedule, card, err) != 0) return -1;
    snprintf(plan->solver, sizeof plan->solver, "%s", resolved->solver);
    plan->initial_scale = schedule_initial_scale(schedule, resolved->t_start);
    plan->trained = schedule_has_integer_times(schedule) ? schedule_steps(schedule) : 0;
    int rc = 0;
    if (solver->evaluations == 0) {
        plan->adaptive = true;
        plan->rtol = resolved->rtol;
        plan->atol = resolved->atol;
        plan->registers = RK45_REGISTERS;
    } else {
        struct builder builder = {.plan = plan,
                                  .schedule = schedule,
                                  .sampler = resolved,
                                  .card = card,
                                  .solver = solver,
                                  .scratch = -1,
                                  .unguided = -1};
        rc = compile_fixed(&builder, warnings, err);
    }
    schedule_free(schedule);
    if (rc != 0) plan_release(plan);
    return rc;
}

const struct op *plan_twin(const struct plan *plan, const struct sampler *sampler, size_t i) {
    if (sampler->guidance.batched != BATCHED_ON || i + 1 >= plan->ops_count) return NULL;
    const struct op *op = &plan->ops[i], *next = op + 1;
    bool both = op->kind == OP_EVAL && next->kind == OP_EVAL && op->model == 0 && next->model == 0;
    bool same = both && op->src == next->src && op->time == next->time && op->dst != op->src;
    bool labels = same && op->labels != EVAL_NULL && next->labels == EVAL_NULL;
    return labels && next->dst2 == 0 && next->dst != op->dst && next->dst != op->dst2 ? next : NULL;
}

bool plan_has_twins(const struct plan *plan, const struct sampler *sampler) {
    for (size_t i = 0; i < plan->ops_count; i++)
        if (plan_twin(plan, sampler, i)) return true;
    return false;
}
