/* From what a job says of its sampler to every key filled: the solver's and the schedule's defaults, and the number of
 * steps that the wanted NFE allows. */
#include "base/text.h"
#include "solver/grid.h"
#include "solver/multistep.h"
#include "solver/registry.h"
#include "solver/sampler_check.h"

#include <math.h>
#include <string.h>

bool sampler_ends_in_step(const struct sampler *sampler) {
    return sampler->final == FINAL_ZERO || sampler->final == FINAL_MEAN || sampler->final == FINAL_TWEEDIE;
}

static int unknown_solver(const char *name, struct error *err) {
    struct text names = {0};
    const struct solver *solver;
    const char *guess = solver_guess(name);
    if (guess)
        return error_set(
            err, CODE_DATA,
            "sampler.solver: found %s; did you mean %s? expected a name that `qtaylor plan --list` shows%s", name,
            guess,
            strstr(name, "Scheduler") ? " (a scheduler of diffusers has settings, too, which "
                                        "tools/export.py diffusers translates)"
                                      : "");
    for (size_t i = 0; (solver = solver_at(i)); i++) text_add(&names, "%s%s", i ? ", " : "", solver->name);
    error_set(err, CODE_DATA, "sampler.solver: found %s; expected one of %s", name, names.data ? names.data : "");
    text_release(&names);
    return -1;
}

/* Grids uniform or quadratic in the time of a flow go to 0 itself, and final: zero is their last step. So do adaptive
 * solvers, where the slope is finite there (it is what the network says, not divided by sigma), and Runge-Kutta methods
 * whose own formula makes the last step, too: t_end: 0 with final: none. */
static bool reaches_zero(const struct sampler *sampler, const struct solver *solver, const struct card *card,
                         const struct schedule *schedule) {
    bool slope = sampler->clock == CLOCK_T && !sampler->clip.on;
    for (const struct card *of = card; of; of = of->guide)
        slope &= of->prediction == PREDICTION_VELOCITY || of->prediction == PREDICTION_V;
    if (!schedule_is_flow(schedule)) return false;
    if (solver->evaluations == 0) return slope;
    bool in_time = (sampler->grid == GRID_UNIFORM && sampler->clock == CLOCK_T) || sampler->grid == GRID_QUADRATIC;
    if (sampler->final == FINAL_ZERO) return in_time;
    bool asked = sampler->t_end == 0 ? in_time : sampler->grid == GRID_TIMES; /* whose last may be 0 */
    return sampler->final == FINAL_NONE && solver->in_slopes && slope && asked;
}

/* The diffusion whose D is infinite where alpha is 0. */
static bool diffusion_is_score(const struct sampler *sampler) {
    return sampler->diffusion.form == DIFFUSION_UNSET || sampler->diffusion.form == DIFFUSION_SBDM;
}

/* The forms are functions of t, and the step of the mean ends at t = 0. */
static int check_diffusion(const struct sampler *sampler, const struct schedule *schedule, struct error *err) {
    bool mean = sampler->final == FINAL_MEAN, tweedie = sampler->final == FINAL_TWEEDIE;
    if (sampler->last_step > 0 && !mean && !tweedie)
        return error_set(err, CODE_DATA, "sampler.last_step: it goes with final: mean or tweedie: leave it out");
    if (sampler->last_step > 0 && sampler->t_end != sampler->last_step)
        return error_set(err, CODE_DATA, "sampler.last_step: it is t_end, which is %g: say one of them",
                         sampler->t_end);
    if (sampler->clock != CLOCK_T && (mean || sampler->diffusion.form != DIFFUSION_UNSET))
        return error_set(err, CODE_DATA, "sampler.clock: %s is for clock: t", mean ? "final: mean" : "diffusion");
    if (sampler->diffusion.form >= DIFFUSION_DECREASING && schedule_time_is_sigma(schedule))
        return error_set(err, CODE_DATA,
                         "sampler.diffusion.form: %s is of a time from 0 to 1, and this schedule's is sigma",
                         diffusion_names[sampler->diffusion.form]);
    return 0;
}

/* A start where alpha is 0: what the network says there must determine x0, and the solver must have a step from there.
 */
static int check_start(const struct sampler *sampler, const struct solver *solver, const struct card *card,
                       const struct schedule *schedule, struct error *err) {
    double t = sampler->t_start;
    if (schedule_alpha(schedule, t) > 0) return 0;
    for (const struct card *of = card; of; of = of->guide)
        if (of->prediction != PREDICTION_X0 && of->prediction != PREDICTION_V && of->prediction != PREDICTION_VELOCITY)
            return error_set(err, CODE_DATA,
                             "sampler.t_start: at %g alpha is 0, where the %s that the %s predicts says nothing of x0: "
                             "start lower, such as at %g; or does it predict velocity, as networks of flows do?",
                             t, prediction_names[of->prediction], of == card ? "model" : "guiding model", 0.999 * t);
    bool fails = solver_starts_over(solver, sampler) &&
                 (solver->evaluations == 0 || (solver->new_noise && isnan(solver->new_noise(sampler))));
    fails |= solver->options & SOLVER_DIFFUSION && diffusion_is_score(sampler);
    if (fails)
        return error_set(
            err, CODE_DATA,
            "sampler.t_start: at %g alpha is 0, and %s%s has no step from there: start lower, such as at %g", t,
            solver->name, solver->evaluations == 0 ? " in this clock" : " with these options", 0.999 * t);
    if ((sampler->grid >= GRID_UNIFORM_LOGSNR && sampler->grid <= GRID_BETA) ||
        (sampler->grid == GRID_UNIFORM && sampler->clock == CLOCK_LOGSNR))
        return error_set(err, CODE_DATA,
                         "sampler.grid: %s is made of log(alpha/sigma), which is infinite at t_start = %g: say "
                         "another grid, or start lower, such as at %g",
                         grid_names[sampler->grid], t, 0.999 * t);
    return 0;
}

static const double SBDM_START = 0.999, LAST_STEP = 0.04; /* SiT's */

static int fill_times(struct sampler *sampler, const struct schedule *schedule, bool to_zero, struct error *err) {
    enum grid_kind grid = sampler->grid;
    if (grid_has_ends(grid) && !(isnan(sampler->t_start) && isnan(sampler->t_end)))
        return error_set(err, CODE_DATA, "sampler.%s: grid: %s has its own first and last time: leave it out",
                         isnan(sampler->t_start) ? "t_end" : "t_start", grid_names[grid]);
    if (sampler->steps_offset >= 0 && grid != GRID_LEADING)
        return error_set(err, CODE_DATA, "sampler.steps_offset: it is of grid: leading, found grid: %s: leave it out",
                         grid_names[grid]);
    if (grid == GRID_LINSPACE_FRACTIONAL && schedule_has_integer_times(schedule))
        return error_set(err, CODE_DATA,
                         "sampler.grid: linspace-fractional is for models that take any time, and this one takes "
                         "integer timesteps: say linspace");
    if (sampler->final == FINAL_ACP0 && !schedule_is_discrete(schedule))
        return error_set(err, CODE_DATA,
                         "sampler.final: acp0 is a step to the first trained timestep, and this schedule is "
                         "continuous: say zero or none");
    if (grid_is_list(grid) && (grid_listed(schedule, sampler, 0, &sampler->t_start, err) != 0 ||
                               grid_listed(schedule, sampler, grid_list_count(sampler) - 1, &sampler->t_end, err) != 0))
        return -1;
    bool given = !isnan(sampler->t_start), ends = sampler->final == FINAL_MEAN || sampler->final == FINAL_TWEEDIE;
    if (!given) sampler->t_start = schedule_default_t_start(schedule);
    if (!given && sampler->diffusion.form == DIFFUSION_SBDM && schedule_alpha(schedule, sampler->t_start) == 0)
        sampler->t_start *= SBDM_START;
    if (isnan(sampler->t_end) && ends)
        sampler->t_end = sampler->last_step = sampler->last_step > 0 ? sampler->last_step : LAST_STEP;
    if (isnan(sampler->t_end)) sampler->t_end = to_zero ? 0 : schedule_default_t_end(schedule);
    return 0;
}

static int check_times(const struct sampler *sampler, const struct schedule *schedule, bool to_zero,
                       struct error *err) {
    const double rounding = 1e-12;
    double least, most, start = sampler->t_start, end = sampler->t_end;
    schedule_range(schedule, &least, &most);
    if (!(start > 0 && start >= least * (1 - rounding) && start <= most * (1 + rounding)) ||
        !(schedule_alpha(schedule, start) >= 0))
        return error_set(err, CODE_DATA,
                         "sampler.t_start: expected a time of the schedule, above %g and at most %g; found %g", least,
                         most, start);
    bool one_point = grid_is_list(sampler->grid) && sampler->times_count == 1;
    if (!(to_zero && end == 0) && (!(end > 0 && end >= least * (1 - rounding)) || !(end < start || one_point)))
        return error_set(err, CODE_DATA,
                         "sampler.t_end: expected a time of the schedule, %s%g and below t_start = %g; found %g%s",
                         least > 0 ? "at least " : "above ", least, start, end,
                         end == 0 ? " (a step to sigma 0 is final: zero)" : "");
    return 0;
}

/* Heun's method, twice a step, down each interval. */
static int restart_evaluations(const struct restart *restart) {
    int sum = 0;
    for (int i = 0; i < restart->count; i++) sum += restart->list[i].times * 2 * (restart->list[i].steps - 1);
    return sum;
}

enum { FEW_STEPS = 15 }; /* below which lower_order_final is on, as in diffusers */

/* steps and nfe, from one of them or the list of times. between: steps from one grid point to the next. */
static int fill_steps(struct sampler *sampler, const struct solver *solver, const struct schedule *schedule,
                      struct error *err) {
    int last = final_is_x0(sampler->final), zero = sampler_ends_in_step(sampler), between;
    int extra = solver->start_steps * solver->start_evaluations + restart_evaluations(&sampler->restart),
        needed = solver->start_steps;
    if (needed == 0 && !last) needed = 1;
    /* A first step of order 1, from alpha 0, takes one evaluation. */
    int saved = schedule_alpha(schedule, sampler->t_start) == 0 && solver_starts_over(solver, sampler)
                    ? solver->evaluations - 1
                    : 0;
    int smallest = needed * solver->evaluations + extra + last - (needed > 0 ? saved : 0);
    if (grid_is_list(sampler->grid)) {
        if (sampler->nfe || sampler->steps)
            return error_set(err, CODE_DATA, "sampler.%s: grid: {%s: ...} says how many steps there are: leave it out",
                             sampler->nfe ? "nfe" : "steps", grid_names[sampler->grid]);
        between = grid_list_count(sampler) - 1 + (sampler->final == FINAL_ACP0);
    } else if (sampler->nfe && sampler->steps) {
        return error_set(err, CODE_DATA, "sampler.nfe and sampler.steps: expected one of them");
    } else if (sampler->nfe) {
        if (sampler->nfe < smallest)
            return error_set(err, CODE_DATA, "sampler.nfe: %s needs at least %d, found %d", solver->name, smallest,
                             sampler->nfe);
        between = (sampler->nfe - extra - last + saved) / solver->evaluations;
    } else if (sampler->steps) {
        between = sampler->steps - zero;
    } else {
        return error_set(err, CODE_DATA, "sampler.nfe: missing; expected the number of model evaluations (or steps)");
    }
    if (between < needed)
        return error_set(err, CODE_DATA, "sampler.steps: %s needs at least %d, found %d", solver->name, needed + zero,
                         between + zero);
    sampler->steps = between + zero;
    sampler->nfe = between * solver->evaluations + extra + last - (between > 0 ? saved : 0);
    if (sampler->lower_order_final == TOGGLE_UNSET && solver->options & SOLVER_LOWER)
        sampler->lower_order_final = solver->lowers               ? solver->lowers
                                     : sampler->steps < FEW_STEPS ? TOGGLE_ON
                                                                  : TOGGLE_OFF;
    return 0;
}

static void fill_defaults(struct sampler *sampler, const struct solver *solver, const struct schedule *schedule,
                          const struct card *card) {
    bool discrete = schedule_is_discrete(schedule), edm = schedule_time_is_sigma(schedule);
    if (isnan(sampler->order)) sampler->order = solver->default_order;
    bool flow = schedule_is_flow(schedule);
    if (flow && solver->options & SOLVER_DIFFUSION && sampler->diffusion.form == DIFFUSION_UNSET)
        sampler->diffusion = (struct diffusion){DIFFUSION_SBDM, 1};
    bool diffuses = sampler->diffusion.form != DIFFUSION_UNSET;
    if (sampler->clock == CLOCK_UNSET && diffuses) sampler->clock = CLOCK_T;
    if (sampler->clock == CLOCK_UNSET)
        sampler->clock = discrete ? CLOCK_LOGSNR : edm || flow ? CLOCK_T : solver->default_clock;
    if (sampler->grid == GRID_UNSET) {
        if (solver->default_grid) sampler->grid = solver->default_grid;
        else sampler->grid = sampler->clock == CLOCK_T ? GRID_QUADRATIC : GRID_UNIFORM_LOGSNR;
        if (discrete && !solver->default_grid) sampler->grid = GRID_UNIFORM_LOGSNR;
        if (flow || diffuses) sampler->grid = GRID_UNIFORM;
        /* Even where any time may be asked for, a table whose last alpha is 0 has no logsnr to start a grid at. */
        bool noise = discrete && isnan(sampler->t_start) && isnan(sampler->t_end) &&
                     schedule_alpha(schedule, schedule_default_t_start(schedule)) == 0;
        if (noise || schedule_has_integer_times(schedule)) sampler->grid = GRID_TRAILING;
        if (edm) sampler->grid = GRID_KARRAS;
    }
    if (sampler->final == FINAL_UNSET && diffuses && sampler->grid == GRID_UNIFORM) sampler->final = FINAL_MEAN;
    if (sampler->final == FINAL_UNSET && solver->ends_at_least && (discrete || edm) && !grid_has_ends(sampler->grid))
        sampler->final = FINAL_NONE;
    if (sampler->final == FINAL_UNSET) sampler->final = discrete || edm || flow ? FINAL_ZERO : FINAL_NONE;
    if (isnan(sampler->eta) && solver->options & SOLVER_ETA) sampler->eta = solver->default_eta;
    if (isnan(sampler->tau) && solver->options & SOLVER_TAU) sampler->tau = 1;
    if (sampler->variance == VARIANCE_UNSET && solver->options & SOLVER_VARIANCE)
        sampler->variance = card->learned_variance ? VARIANCE_LEARNED : VARIANCE_SMALL;
}

static int check_clock(const struct sampler *sampler, const struct solver *solver, const struct schedule *schedule,
                       struct error *err) {
    bool higher = solver->options & SOLVER_CLOCK && sampler->order > 1 && sampler->order != INFINITY;
    if (schedule_is_discrete(schedule) && sampler->clock == CLOCK_T && higher)
        return error_set(err, CODE_DATA,
                         "sampler.clock: t on a discrete schedule is for order 1 and .inf only (a step crosses many "
                         "knots of its table), found order %g: say clock: logsnr",
                         sampler->order);
    bool churns = sampler->churn.amount > 0;
    if ((churns || sampler->restart.count > 0) && schedule_has_integer_times(schedule))
        return error_set(
            err, CODE_DATA,
            "sampler.%s: it evaluates between grid points, but the model takes integer timesteps: leave it out",
            churns ? "churn" : "restart");
    if (solver->inner_times && schedule_has_integer_times(schedule))
        return error_set(err, CODE_DATA,
                         "sampler.solver: %s evaluates between grid points, but the model takes integer timesteps: "
                         "choose another solver",
                         solver->name);
    return 0;
}

static int resolve_adaptive(struct sampler *sampler, const struct solver *solver, const struct schedule *schedule,
                            struct error *err) {
    if (sampler->nfe || sampler->steps)
        return error_set(err, CODE_DATA, "sampler.%s: %s chooses its own steps: leave it out and say rtol and atol",
                         sampler->nfe ? "nfe" : "steps", solver->name);
    if (sampler->grid != GRID_UNSET || sampler->final > FINAL_NONE || !isnan(sampler->shift))
        return error_set(err, CODE_DATA, "sampler.%s: %s has no grid and stops at t_end: leave it out",
                         sampler->grid != GRID_UNSET   ? "grid"
                         : sampler->final > FINAL_NONE ? "final"
                                                       : "shift",
                         solver->name);
    if (schedule_has_integer_times(schedule))
        return error_set(err, CODE_DATA,
                         "sampler.solver: %s evaluates at any time, but the model takes integer timesteps",
                         solver->name);
    sampler->final = FINAL_NONE;
    if (sampler->clock == CLOCK_UNSET) sampler->clock = schedule_is_discrete(schedule) ? CLOCK_LOGSNR : CLOCK_T;
    sampler->order = solver->default_order;
    if (isnan(sampler->rtol)) sampler->rtol = 1e-5;
    if (isnan(sampler->atol)) sampler->atol = 1e-5;
    return 0;
}

static int resolve(struct sampler *sampler, const struct card *card, const struct schedule *schedule,
                   struct error *err) {
    if (sampler->plan && plan_file_resolve(sampler, err) != 0) return -1;
    if (sampler->plan) return card->guide ? sampler_check_guide(card, schedule, err) : 0;
    const struct solver *solver = solver_find(sampler->solver);
    if (!solver) return unknown_solver(sampler->solver, err);
    if (multistep_resolve(sampler, schedule, err) != 0) return -1;
    if (sampler_check(sampler, solver, card, schedule, err) != 0) return -1;
    bool adaptive = solver->evaluations == 0;
    if (!adaptive) fill_defaults(sampler, solver, schedule, card);
    else if (resolve_adaptive(sampler, solver, schedule, err) != 0) return -1;
    bool to_zero = reaches_zero(sampler, solver, card, schedule);
    if (fill_times(sampler, schedule, to_zero, err) != 0 || check_times(sampler, schedule, to_zero, err) != 0 ||
        check_clock(sampler, solver, schedule, err) != 0 || check_diffusion(sampler, schedule, err) != 0 ||
        check_start(sampler, solver, card, schedule, err) != 0)
        return -1;
    return adaptive ? 0 : fill_steps(sampler, solver, schedule, err);
}

int plan_resolve(struct sampler *resolved, const struct sampler *wanted, const struct card *card, struct error *err) {
    struct schedule *schedule = NULL;
    if (sampler_copy(resolved, wanted, err) != 0) return -1;
    int rc = schedule_new(&schedule, card, err);
    if (rc == 0) rc = resolve(resolved, card, schedule, err);
    schedule_free(schedule);
    if (rc != 0) sampler_release(resolved);
    return rc;
}
