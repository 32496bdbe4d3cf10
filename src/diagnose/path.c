/* The fine solution that everything is compared with. */
#include "diagnose/path.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MOST 0.1 /* in lambda */
#define SAME 1e-9     /* in lambda: points nearer than this are one */

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Every trained step from the start to the end. */
static int trained_times(struct path *path, const struct schedule *schedule, double start, double end,
                         struct error *err) {
    int steps = schedule_steps(schedule), first = (int)round(start * steps), last = (int)round(end * steps);
    if (last < 1) last = 1;
    path->count = (size_t)(first - last + 1);
    if (!(path->times = malloc(path->count * sizeof *path->times))) return error_memory(err);
    for (size_t i = 0; i < path->count; i++) path->times[i] = (double)(first - (int)i) / steps;
    return 0;
}

/* The wanted times and what fills the gaps. */
static int continuous_times(struct path *path, const struct schedule *schedule, double start, double end,
                            const double *wanted, size_t wanted_count, struct error *err) {
    double length = schedule_logsnr(schedule, end) - schedule_logsnr(schedule, start);
    double *sorted = malloc((wanted_count + 2) * sizeof *sorted);
    path->times = malloc((2 * wanted_count + 4 + (size_t)(length / STEP_MOST)) * sizeof *path->times);
    if (!sorted || !path->times) {
        free(sorted);
        return error_memory(err);
    }
    if (wanted_count) memcpy(sorted, wanted, wanted_count * sizeof *sorted);
    sorted[wanted_count] = start;
    sorted[wanted_count + 1] = end;
    qsort(sorted, wanted_count + 2, sizeof *sorted, falling);
    path->times[path->count++] = start;
    for (size_t i = 0; i < wanted_count + 2; i++) {
        double from = schedule_logsnr(schedule, path->times[path->count - 1]),
               to = schedule_logsnr(schedule, sorted[i]);
        if (to - from <= SAME) continue;
        int parts = (int)ceil((to - from) / STEP_MOST);
        for (int k = 1; k < parts; k++)
            path->times[path->count++] = schedule_time(schedule, from + (to - from) * k / parts);
        path->times[path->count++] = sorted[i];
    }
    path->times[path->count - 1] = end; /* exactly, not a point that is the same */
    free(sorted);
    return 0;
}

static int compile(struct plan *plan, const struct schedule *schedule, const struct sampler *like,
                   const struct card *card, double *times, size_t count, enum final_kind final, struct error *err) {
    bool trained = schedule_has_integer_times(schedule);
    struct sampler wanted, resolved;
    sampler_init(&wanted);
    strcpy(wanted.solver, trained ? "dpmpp-3m" : "rk4");
    if (trained) wanted.lower_order_final = TOGGLE_OFF;
    else
        wanted.clock = schedule_time_is_sigma(schedule) ? CLOCK_T
                                                        : CLOCK_LOGSNR; /* dx/dsigma = epsilon, near to constant */
    wanted.grid = GRID_TIMES;
    wanted.times = times;
    wanted.times_count = count;
    wanted.final = final_is_x0(final) ? final : FINAL_NONE;
    wanted.guidance = like->guidance;
    wanted.clip = like->clip;
    if (plan_resolve(&resolved, &wanted, card, err) != 0) return -1;
    int rc = plan_compile(plan, &resolved, card, NULL, err);
    sampler_release(&resolved);
    return rc;
}

static int compile_coarse(struct path *path, const struct schedule *schedule, const struct sampler *like,
                          const struct card *card, struct error *err) {
    double *times = malloc(path->count * sizeof *times);
    size_t count = 0;
    if (!times) return error_memory(err);
    for (size_t i = 0; i < path->count; i++)
        if (i % 2 == 0 || i == path->count - 1) times[count++] = path->times[i];
    int rc = compile(&path->coarse, schedule, like, card, times, count, like->final, err);
    free(times);
    return rc;
}

/* A step ends where it writes register 0. */
static int find_parts(struct path *path, struct error *err) {
    size_t found = 0;
    if (!(path->parts = calloc(path->count, sizeof *path->parts))) return error_memory(err);
    for (size_t i = 0; i < path->plan.ops_count; i++)
        if (path->plan.ops[i].dst == 0 && ++found < path->count) path->parts[found] = i + 1;
    if (found == path->count - 1) return 0;
    return error_set(err, CODE_INTERNAL, "the plan of the fine solution has %zu steps, expected %zu", found,
                     path->count - 1);
}

int path_make(struct path *path, const struct schedule *schedule, const struct sampler *resolved,
              const struct card *card, const double *wanted, size_t wanted_count, struct error *err) {
    *path = (struct path){0};
    int rc = schedule_has_integer_times(schedule)
                 ? trained_times(path, schedule, resolved->t_start, resolved->t_end, err)
                 : continuous_times(path, schedule, resolved->t_start, resolved->t_end, wanted, wanted_count, err);
    if (rc == 0 && path->count < 2)
        rc = error_set(err, CODE_DATA, "sampler: there is nothing between t_start = %g and t_end = %g",
                       resolved->t_start, resolved->t_end);
    if (rc == 0) rc = compile(&path->plan, schedule, resolved, card, path->times, path->count, FINAL_NONE, err);
    if (rc == 0) rc = compile_coarse(path, schedule, resolved, card, err);
    if (rc == 0) rc = find_parts(path, err);
    if (rc != 0) path_release(path);
    return rc;
}

void path_release(struct path *path) {
    plan_release(&path->plan);
    plan_release(&path->coarse);
    free(path->times);
    free(path->parts);
    *path = (struct path){0};
}

size_t path_find(const struct path *path, double t) {
    size_t low = 0, high = path->count - 1;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (path->times[middle] >= t) low = middle;
        else high = middle;
    }
    return fabs(path->times[low] - t) <= fabs(path->times[high] - t) ? low : high;
}

struct plan path_part(const struct path *path, size_t i) {
    struct plan part = path->plan;
    part.ops += path->parts[i];
    part.ops_count = path->parts[i + 1] - path->parts[i];
    return part;
}
