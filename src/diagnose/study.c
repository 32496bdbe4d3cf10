/* A study: set up, and freed. */
#include "diagnose/study.h"

#include "base/text.h"
#include "solver/ask.h"
#include "solver/taylor.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

const struct method methods[METHODS] = {
    {CLOCK_T, 1},      {CLOCK_T, 2},      {CLOCK_T, 3},
    {CLOCK_T, 4},      {CLOCK_LOGSNR, 1}, {CLOCK_LOGSNR, 2},
    {CLOCK_LOGSNR, 3}, {CLOCK_LOGSNR, 4}, {CLOCK_UNSET, INFINITY},
};
const enum clock_kind clocks[CLOCKS] = {CLOCK_T, CLOCK_LOGSNR};

enum { PROBES_MOST = 16 };
#define UNIT 0.05 /* of the finite differences, in lambda; their points are 1 to 16 units apart */

int study_note(struct study *study, struct error *err, const char *format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return json_array_append_new(study->notes, json_string(text)) == 0 ? 0 : error_memory(err);
}

const struct track *study_main_track(const struct study *study) {
    const struct track *found = NULL;
    for (size_t i = 0; i < study->tracks_count; i++) {
        const struct track *track = &study->tracks[i];
        if (track->nfe == study->asked->sampler->nfe && (!found || track->own)) found = track;
    }
    return found ? found : &study->tracks[0];
}

/* ---- where derivatives are taken ---- */

/* The times of a stencil around the probe; false where the path is too short for one. */
static bool place(const struct study *study, struct probe *probe, double *times) {
    const struct sampler *sampler = study->asked->sampler;
    const struct schedule *schedule = study->schedule;
    struct stencil *stencil = &probe->stencil;
    double here = schedule_logsnr(schedule, probe->t);
    if (schedule_has_integer_times(schedule)) {
        int steps = schedule_steps(schedule), n = (int)round(probe->t * steps),
            first = (int)round(sampler->t_start * steps);
        int last = (int)fmax(round(sampler->t_end * steps), 1);
        double gap = fabs(here - schedule_logsnr(schedule, (n > 1 ? n - 1.0 : n + 1.0) / steps));
        int unit = (int)fmin(fmax(round(UNIT / gap), 1), (first - last) / (STENCIL_REACH + 1));
        if (unit < 1) return false;
        stencil_place(stencil, (first - n) / unit, (n - last) / unit);
        for (int i = 0; i < stencil->count; i++) times[i] = (double)(n - unit * stencil->offsets[i]) / steps;
        return true;
    }
    double start = schedule_logsnr(schedule, sampler->t_start), end = schedule_logsnr(schedule, sampler->t_end);
    double unit = fmin(UNIT, (end - start) / (STENCIL_REACH + 1));
    stencil_place(stencil, (int)((here - start) / unit + 1e-6), (int)((end - here) / unit + 1e-6));
    for (int i = 0; i < stencil->count; i++) {
        double t = stencil->offsets[i] == 0 ? probe->t : schedule_time(schedule, here + unit * stencil->offsets[i]);
        times[i] = fmin(fmax(t, sampler->t_end), sampler->t_start);
    }
    return true;
}

/* Probes at the starts of the main track's steps, or at some of them; their points' times go into `wanted`. */
static int place_probes(struct study *study, double *wanted, size_t *count, struct error *err) {
    const struct track *track = study_main_track(study);
    size_t every = (track->steps + PROBES_MOST - 1) / PROBES_MOST;
    if (!(study->probes = calloc(PROBES_MOST, sizeof *study->probes))) return error_memory(err);
    for (size_t i = 0; i < track->steps; i += every) {
        struct probe *probe = &study->probes[study->probes_count];
        probe->t = track->times[i];
        if (!place(study, probe, wanted + *count))
            return study_note(
                study, err,
                "no derivatives: there are too few trained steps between t_start and t_end for finite differences");
        *count += (size_t)probe->stencil.count;
        study->probes_count++;
    }
    return 0;
}

static double *new_numbers(size_t count, struct error *err) {
    double *numbers = calloc(count ? count : 1, sizeof *numbers);
    if (!numbers) error_memory(err);
    return numbers;
}

static int finish_probe(struct study *study, struct probe *probe, const double *times, struct error *err) {
    double lambda[STENCIL_POINTS];
    size_t paths = study->asked->paths;
    for (int i = 0; i < probe->stencil.count; i++) {
        probe->points[i] = path_find(&study->path, times[i]);
        lambda[i] = schedule_logsnr(study->schedule, study->path.times[probe->points[i]]);
    }
    stencil_weigh(&probe->stencil, lambda);
    for (int c = 0; c < CLOCKS; c++) {
        struct error why;
        probe->has[c] = derivative_map(&probe->maps[c], study->schedule, clocks[c], probe->t, &why) == 0;
        for (int kind = 0; kind < KINDS; kind++)
            for (int q = 0; q < QUANTITIES; q++)
                if (!(probe->values[c][kind][q] = new_numbers(paths, err))) return -1;
    }
    for (int k = 0; k <= EPSILON_ORDERS; k++)
        if (!(probe->epsilon[k] = new_numbers(paths, err)) || !(probe->doubt[k] = new_numbers(paths, err))) return -1;
    return (probe->noise = new_numbers(paths, err)) ? 0 : -1;
}

/* ---- the grids' steps ---- */

static int finish_track(const struct study *study, struct track *track, struct error *err) {
    const struct path *path = &study->path;
    size_t paths = study->asked->paths;
    track->points = calloc(track->steps + 1, sizeof *track->points);
    if (!track->points || !(track->rho_mu = new_numbers(track->steps * METHODS * 2, err))) return error_memory(err);
    for (size_t i = 0; i <= track->steps; i++) track->points[i] = path_find(path, track->times[i]);
    for (size_t i = 0; i < track->steps; i++)
        for (int m = 0; m < METHODS; m++) {
            struct error why;
            double *rho_mu = &track->rho_mu[(i * METHODS + (size_t)m) * 2];
            double t = path->times[track->points[i]], s = path->times[track->points[i + 1]];
            if (taylor_coefficients(study->schedule, methods[m].clock, methods[m].order, t, s, &rho_mu[0], &rho_mu[1],
                                    &why) != 0)
                rho_mu[0] = rho_mu[1] = NAN;
        }
    track->errors = new_numbers(METHODS * track->steps * paths, err);
    track->last = new_numbers(paths, err);
    track->level = new_numbers(track->steps * paths, err);
    track->change = new_numbers(track->steps * paths, err);
    return track->errors && track->last && track->level && track->change ? 0 : -1;
}

/* ---- all of it ---- */

static int collect(struct study *study, struct error *err) {
    size_t most = (size_t)PROBES_MOST * STENCIL_POINTS, count = 0, at = 0;
    for (size_t i = 0; i < study->tracks_count; i++) most += study->tracks[i].steps + 1;
    double *wanted = new_numbers(most, err);
    if (!wanted) return -1;
    int rc = place_probes(study, wanted, &count, err);
    for (size_t i = 0; i < study->tracks_count; i++)
        for (size_t k = 0; k <= study->tracks[i].steps; k++) wanted[count++] = study->tracks[i].times[k];
    if (rc == 0)
        rc = path_make(&study->path, study->schedule, study->asked->sampler, study->asked->card, wanted, count, err);
    for (size_t i = 0; i < study->probes_count && rc == 0; i++) {
        rc = finish_probe(study, &study->probes[i], wanted + at, err);
        at += (size_t)study->probes[i].stencil.count;
    }
    for (size_t i = 0; i < study->tracks_count && rc == 0; i++) rc = finish_track(study, &study->tracks[i], err);
    free(wanted);
    return rc;
}

static void need(struct study *study, size_t point, size_t until) {
    if (study->last[point] == 0 || study->last[point] < until) study->last[point] = until;
}

static int compile_ask(struct study *study, struct plan *ask, double t, struct error *err) {
    if (ask_compile(ask, study->schedule, study->asked->sampler, study->asked->card, t, study->x, err) != 0) return -1;
    if (ask->registers > study->registers) study->registers = ask->registers;
    return 0;
}

/* Which points are asked for epsilon, how long they are kept, and the programs that ask. */
static int compile_asks(struct study *study, struct error *err) {
    size_t count = study->path.count;
    study->asks = calloc(count, sizeof *study->asks);
    study->last = calloc(count, sizeof *study->last);
    if (!study->asks || !study->last) return error_memory(err);
    for (size_t i = 0; i < study->tracks_count; i++) {
        const struct track *track = &study->tracks[i];
        for (size_t k = 0; k < track->steps; k++) need(study, track->points[k], track->points[k + 1]);
        need(study, track->points[track->steps], track->to_zero ? count - 1 : track->points[track->steps]);
    }
    for (size_t i = 0; i < study->probes_count; i++) {
        const struct probe *probe = &study->probes[i];
        for (int k = 0; k < probe->stencil.count; k++)
            need(study, probe->points[k], probe->points[probe->stencil.count - 1]);
    }
    need(study, count - 1, count - 1);
    study->registers = study->path.plan.registers;
    study->x = study->registers;
    for (size_t i = 0; i < count; i++)
        if (study->last[i] > 0 && compile_ask(study, &study->asks[i], study->path.times[i], err) != 0) return -1;
    for (size_t i = 0; i < study->probes_count; i++)
        for (int k = 0; k < NUDGES; k++) {
            double t = study->probes[i].t, logsnr = schedule_logsnr(study->schedule, t);
            if (k > 0 && !schedule_has_integer_times(study->schedule))
                t = schedule_time(study->schedule, logsnr + k * NUDGE);
            if (compile_ask(study, &study->probes[i].nudged[k], t, err) != 0) return -1;
        }
    return 0;
}

static int refuse(const struct diagnosis *asked, struct error *err) {
    const struct guidance *guidance = &asked->sampler->guidance;
    bool always = guidance->interval[0] <= 0 && guidance->interval[1] == INFINITY;
    if (guidance->scale != 1 && !always)
        return error_set(err, CODE_DATA,
                         "sampler.guidance.interval: epsilon jumps at its ends, so a path has no derivatives there: "
                         "diagnose without the interval (--set sampler.guidance.interval=[0,.inf])");
    if (guidance->scale_rows)
        return error_set(err, CODE_DATA,
                         "sampler.guidance.scale: diagnose takes one scale for all samples: say a number (--set "
                         "sampler.guidance.scale=2)");
    if (guidance->zero_init_steps > 0 || (!isnan(guidance->momentum) && guidance->momentum != 0))
        return error_set(err, CODE_DATA,
                         "sampler.guidance: zero_init_steps and momentum depend on the steps taken, so a path has no "
                         "derivatives: diagnose without them");
    if (asked->sampler->plan)
        return error_set(err, CODE_DATA,
                         "sampler.plan: diagnose compares solvers on a grid, and a plan that is a file has none: say "
                         "--set sampler.plan=null --set sampler.solver=taylor --set sampler.nfe=10");
    if (asked->sampler->nfe == 0)
        return error_set(err, CODE_DATA,
                         "sampler.solver: %s chooses its own steps, and diagnose compares solvers at an NFE: say --set "
                         "sampler.solver=taylor --set sampler.nfe=10 and leave out its tolerances",
                         asked->sampler->solver);
    return 0;
}

int study_begin(struct study *study, const struct diagnosis *asked, struct error *err) {
    *study = (struct study){.asked = asked, .notes = json_array()};
    if (!study->notes) return error_memory(err);
    if (refuse(asked, err) != 0 || schedule_new(&study->schedule, asked->card, err) != 0) return -1;
    if (schedule_is_discrete(study->schedule) &&
        study_note(study, err,
                   "clock t has no series beyond order 1 on a discrete schedule: those columns are empty") != 0)
        return -1;
    if (schedule_time_is_sigma(study->schedule) &&
        study_note(study, err, "in clock t of an edm schedule (t is sigma, alpha is 1) every order is order 1") != 0)
        return -1;
    if (asked->sampler->clip.on &&
        study_note(study, err, "clip bends epsilon where x0 leaves the range: derivatives are rough there") != 0)
        return -1;
    return 0;
}

int study_place(struct study *study, struct error *err) {
    if (collect(study, err) != 0 || compile_asks(study, err) != 0) return -1;
    return (study->samples = new_numbers(study->asked->paths * card_elements(study->asked->card), err)) ? 0 : -1;
}

static void probe_release(struct probe *probe) {
    for (int c = 0; c < CLOCKS; c++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int q = 0; q < QUANTITIES; q++) free(probe->values[c][kind][q]);
    for (int k = 0; k <= EPSILON_ORDERS; k++) {
        free(probe->epsilon[k]);
        free(probe->doubt[k]);
    }
    for (int k = 0; k < NUDGES; k++) plan_release(&probe->nudged[k]);
    free(probe->noise);
}

static void candidate_release(struct candidate *candidate) {
    plan_release(&candidate->plan);
    sampler_release(&candidate->sampler);
    free(candidate->errors);
}

void study_release(struct study *study) {
    for (size_t i = 0; i < study->candidates_count; i++) candidate_release(&study->candidates[i]);
    for (size_t i = 0; i < study->probes_count; i++) probe_release(&study->probes[i]);
    for (size_t i = 0; i < study->tracks_count; i++) {
        struct track *track = &study->tracks[i];
        free(track->times);
        free(track->points);
        free(track->rho_mu);
        free(track->errors);
        free(track->last);
        free(track->level);
        free(track->change);
    }
    for (size_t i = 0; study->asks && i < study->path.count; i++) plan_release(&study->asks[i]);
    free(study->candidates);
    free(study->probes);
    free(study->tracks);
    free(study->asks);
    free(study->last);
    free(study->samples);
    path_release(&study->path);
    schedule_free(study->schedule);
    json_decref(study->notes);
}
