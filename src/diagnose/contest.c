/* Which grids and samplers a study compares. */
#include "diagnose/contest.h"

#include "base/text.h"
#include "solver/registry.h"
#include "solver/taylor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const enum grid_kind grids[] = {GRID_UNIFORM, GRID_QUADRATIC, GRID_UNIFORM_LOGSNR,
                                       GRID_KARRAS,  GRID_TRAILING,  GRID_LINSPACE};
enum { GRIDS = sizeof grids / sizeof *grids };

/* A sampler over a grid with the rest as in the job. */
static struct sampler sampler_on(const struct study *study, const struct track *track, const char *solver, double order,
                                 enum clock_kind clock) {
    const struct sampler *own = study->asked->sampler;
    struct sampler sampler;
    sampler_init(&sampler);
    strcpy(sampler.solver, solver);
    sampler.order = order;
    sampler.clock = track->grid == GRID_UNIFORM && clock == CLOCK_UNSET ? CLOCK_T : clock;
    sampler.grid = track->grid;
    sampler.rho = track->rho;
    if (track->grid == own->grid) {
        sampler.shift = own->shift;
        memcpy(sampler.beta, own->beta, sizeof sampler.beta);
        sampler.steps_offset = own->steps_offset;
        sampler.points = own->points;
    }
    if (grid_is_list(track->grid)) {
        sampler.times = own->times; /* plan_resolve copies them */
        sampler.times_count = own->times_count;
    } else {
        sampler.nfe = track->nfe;
    }
    if (!grid_has_ends(track->grid)) {
        sampler.t_start = own->t_start;
        sampler.t_end = own->t_end;
    }
    sampler.final = own->final;
    sampler.guidance = own->guidance;
    sampler.clip = own->clip;
    return sampler;
}

/* Both new; -1 with CODE_DATA where there is no such sampler. */
static int compile(struct sampler *resolved, struct plan *plan, const struct sampler *wanted, const struct card *card,
                   struct error *err) {
    if (plan_resolve(resolved, wanted, card, err) != 0) return -1;
    int rc = plan_compile(plan, resolved, card, NULL, err);
    if (rc != 0) sampler_release(resolved);
    return rc;
}

/* Does a plan start where the path does, and end there or with a step to sigma 0? */
static bool fits(const struct study *study, const struct plan *plan) {
    const struct sampler *own = study->asked->sampler;
    const struct plan_step *last = &plan->steps[plan->steps_count - 1];
    double start = own->t_start, end = own->t_end;
    if (schedule_has_integer_times(study->schedule)) { /* times are the nearest trained ones */
        int steps = schedule_steps(study->schedule);
        start = round(start * steps) / steps;
        end = fmax(round(end * steps), 1) / steps;
    }
    return fabs(plan->steps[0].t - start) <= 1e-12 * start && (last->s == 0 || fabs(last->s - end) <= 1e-12 * start);
}

/* Adds a grid at an NFE; *added is false where there is none. */
static int add_track(struct study *study, enum grid_kind grid, double rho, int nfe, bool own, bool *added,
                     struct error *err) {
    struct track *track = &study->tracks[study->tracks_count];
    struct sampler resolved;
    struct plan plan;
    *added = false;
    *track = (struct track){.grid = grid, .rho = rho, .nfe = nfe, .own = own};
    struct sampler wanted = sampler_on(study, track, "taylor", INFINITY, CLOCK_UNSET);
    if (compile(&resolved, &plan, &wanted, study->asked->card, err) != 0) return err->code == CODE_DATA ? 0 : -1;
    sampler_release(&resolved);
    if (fits(study, &plan)) {
        track->to_zero = plan.steps[plan.steps_count - 1].s == 0;
        track->steps = plan.steps_count - track->to_zero;
        track->times = calloc(track->steps + 1, sizeof *track->times);
        for (size_t i = 0; track->times && i <= track->steps; i++)
            track->times[i] = i < plan.steps_count ? plan.steps[i].t : plan.steps[i - 1].s;
        study->tracks_count++;
        *added = true;
    }
    plan_release(&plan);
    return !*added || track->times ? 0 : error_memory(err);
}

int contest_tracks(struct study *study, struct error *err) {
    const struct sampler *own = study->asked->sampler;
    int levels[3] = {own->nfe / 2, own->nfe, 2 * own->nfe};
    bool added, own_added = false;
    double own_rho = own->grid == GRID_KARRAS ? own->rho : NAN;
    enum grid_kind own_grid = own->grid;
    if (own_grid == GRID_EXPONENTIAL || own_grid == GRID_LU) own_grid = GRID_UNIFORM_LOGSNR;
    if (own_grid == GRID_UNIFORM && own->clock == CLOCK_LOGSNR) own_grid = GRID_UNIFORM_LOGSNR;
    if (!(study->tracks = calloc(3 * (GRIDS + 1), sizeof *study->tracks))) return error_memory(err);
    for (int level = 0; level < 3; level++) {
        bool listed = false;
        if (levels[level] < 1) continue;
        for (int g = 0; g < GRIDS; g++) {
            bool mine = grids[g] == own_grid;
            listed |= mine;
            if (add_track(study, grids[g], mine ? own_rho : NAN, levels[level], mine, &added, err) != 0) return -1;
            own_added |= mine && added && level == 1;
        }
        if (listed || (grid_is_list(own_grid) && level != 1)) continue;
        if (add_track(study, own_grid, own_rho, levels[level], true, &added, err) != 0) return -1;
        own_added |= added && level == 1;
    }
    if (study->tracks_count == 0)
        return error_set(err, CODE_DATA,
                         "sampler: no grid between t_start = %g and t_end = %g can be compared at NFE %d", own->t_start,
                         own->t_end, own->nfe);
    if (own_added) return 0;
    return study_note(study, err,
                      "the job's own grid is left out: grid %s starts or ends elsewhere than at t_start = %g and t_end "
                      "= %g, from which the others go",
                      grid_names[own->grid], own->t_start, own->t_end);
}

/* ---- samplers ---- */

/* Takes over resolved and plan. */
static int add(struct study *study, const struct sampler *resolved, const struct plan *plan, bool own,
               struct error *err) {
    struct candidate *candidate = &study->candidates[study->candidates_count++];
    *candidate = (struct candidate){*resolved, *plan, own, calloc(study->asked->paths, sizeof(double))};
    return candidate->errors ? 0 : error_memory(err);
}

static bool same_sampler(const struct sampler *a, const struct sampler *b) {
    bool clock = a->order == INFINITY || a->clock == b->clock;
    bool grid = a->grid == b->grid && (a->grid != GRID_UNIFORM || a->clock == b->clock);
    return strcmp(a->solver, b->solver) == 0 && a->order == b->order && clock && grid && a->nfe == b->nfe;
}

static int add_on(struct study *study, const struct track *track, const char *solver, struct method method,
                  struct error *err) {
    struct sampler wanted = sampler_on(study, track, solver, method.order, method.clock), resolved;
    struct plan plan;
    if (track->grid == GRID_UNIFORM && method.clock == CLOCK_LOGSNR) return 0; /* that is uniform-logsnr */
    if (compile(&resolved, &plan, &wanted, study->asked->card, err) != 0) return err->code == CODE_DATA ? 0 : -1;
    bool own = same_sampler(&resolved, study->asked->sampler);
    bool again = schedule_time_is_sigma(study->schedule) && method.clock == CLOCK_T && method.order > 1;
    if (own || !again) return add(study, &resolved, &plan, own, err);
    plan_release(&plan); /* sigma and alpha are linear in t: every order is the first */
    sampler_release(&resolved);
    return 0;
}

/* The job's own sampler, where it is none of the others. */
static int add_own(struct study *study, struct error *err) {
    const struct sampler *own = study->asked->sampler;
    const struct solver *solver = solver_find(own->solver);
    struct sampler wanted = *own, resolved;
    struct plan plan;
    for (size_t i = 0; i < study->candidates_count; i++)
        if (study->candidates[i].own) return 0;
    if (strncmp(solver->kind, "ODE", 3) != 0 || own->eta > 0 || own->churn.amount > 0)
        return study_note(study, err,
                          "the job's own sampler, %s, is no solver of the ODE: its samples differ from the ODE's by "
                          "more than an error",
                          own->solver);
    wanted.state = STATE_FLOAT64;
    wanted.steps = 0;
    if (grid_is_list(wanted.grid)) wanted.nfe = 0;
    if (grid_has_ends(wanted.grid)) wanted.t_start = wanted.t_end = NAN;
    if (compile(&resolved, &plan, &wanted, study->asked->card, err) != 0) return -1;
    if (fits(study, &plan)) return add(study, &resolved, &plan, true, err);
    plan_release(&plan);
    sampler_release(&resolved);
    return 0;
}

int contest_candidates(struct study *study, struct error *err) {
    static const struct method multistep[] = {{CLOCK_T, 2}, {CLOCK_LOGSNR, 2}, {CLOCK_UNSET, INFINITY}};
    enum { MULTISTEP = sizeof multistep / sizeof *multistep };
    struct candidate *coarse;
    study->candidates = calloc(study->tracks_count * (METHODS + MULTISTEP) + 2, sizeof *study->candidates);
    if (!study->candidates) return error_memory(err);
    coarse = &study->candidates[study->candidates_count++];
    *coarse = (struct candidate){.plan = study->path.coarse, .errors = calloc(study->asked->paths, sizeof(double))};
    study->path.coarse = (struct plan){0};
    if (!coarse->errors) return error_memory(err);
    for (size_t i = study->tracks_count; i-- > 0;) { /* the dearest first */
        for (int m = 0; m < METHODS; m++)
            if (add_on(study, &study->tracks[i], "taylor", methods[m], err) != 0) return -1;
        for (int m = 0; m < MULTISTEP; m++)
            if (add_on(study, &study->tracks[i], "taylor-2m", multistep[m], err) != 0) return -1;
    }
    if (add_own(study, err) != 0) return -1;
    for (size_t i = 0; i < study->candidates_count; i++)
        if (study->candidates[i].plan.registers > study->registers)
            study->registers = study->candidates[i].plan.registers;
    return 0;
}
