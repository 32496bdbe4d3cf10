/* The grids that are fitted on. */
#include "tune/grids.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { VARIANCE, FLOW, SIGMA };
static const struct choice {
    size_t count;
    struct grid_of list[8];
} few[] = {[VARIANCE] = {3, {{FAMILY_T, 1.5}, {FAMILY_T, 2.5}, {FAMILY_LOGSNR, 0}}},
           [FLOW] = {3, {{FAMILY_T, 0.75}, {FAMILY_T, 1}, {FAMILY_T, 1.5}}},
           [SIGMA] = {3, {{FAMILY_T, 5}, {FAMILY_T, 7}, {FAMILY_LOGSNR, 0}}}},
  all[] = {[VARIANCE] = {8,
                         {{FAMILY_T, 1},
                          {FAMILY_T, 1.5},
                          {FAMILY_T, 2},
                          {FAMILY_T, 2.5},
                          {FAMILY_T, 3},
                          {FAMILY_T, 4},
                          {FAMILY_LOGSNR, 0},
                          {FAMILY_RATIO, 7}}},
           [FLOW] = {8,
                     {{FAMILY_T, 0.5},
                      {FAMILY_T, 0.75},
                      {FAMILY_T, 1},
                      {FAMILY_T, 1.25},
                      {FAMILY_T, 1.5},
                      {FAMILY_T, 2},
                      {FAMILY_LOGSNR, 0},
                      {FAMILY_RATIO, 7}}},
           [SIGMA] = {5, {{FAMILY_T, 3}, {FAMILY_T, 5}, {FAMILY_T, 7}, {FAMILY_T, 10}, {FAMILY_LOGSNR, 0}}}};

int grids_list(struct grid_of **grids, size_t *count, const struct engine *engine, struct error *err) {
    const struct sampler *own = engine->asked->sampler;
    enum kind kind = schedule_time_is_sigma(engine->schedule) ? SIGMA
                     : schedule_is_flow(engine->schedule)     ? FLOW
                                                              : VARIANCE;
    const struct choice *from = engine->asked->thorough ? &all[kind] : &few[kind];
    /* Where an end has no finite lambda, only grids in t go there. */
    bool endless = own->t_end == 0 || schedule_alpha(engine->schedule, own->t_start) == 0;
    *count = 0;
    if (!(*grids = calloc(from->count, sizeof **grids))) return error_memory(err);
    for (size_t i = 0; i < from->count; i++)
        if (!endless || from->list[i].family == FAMILY_T) (*grids)[(*count)++] = from->list[i];
    return 0;
}

/* The last step goes from t_end to 0 by itself. */
static bool jumps(const struct engine *engine) {
    const struct sampler *own = engine->asked->sampler;
    return final_is_x0(own->final) && own->t_end > 0;
}

size_t grids_gaps(const struct engine *engine, size_t steps) {
    return schedule_has_integer_times(engine->schedule) ? 0 : steps - jumps(engine);
}

/* Between the ends, by part 0 to 1. */
static double place(const struct engine *engine, const struct grid_of *grid, double part) {
    const struct sampler *own = engine->asked->sampler;
    double start = own->t_start, end = own->t_end, power = 1 / grid->rho;
    if (grid->family == FAMILY_T)
        return pow(pow(start, power) + part * (pow(end, power) - pow(start, power)), grid->rho);
    double from = schedule_logsnr(engine->schedule, start), to = schedule_logsnr(engine->schedule, end);
    if (grid->family == FAMILY_LOGSNR) return schedule_time(engine->schedule, from + part * (to - from));
    double high = exp(-from * power), low = exp(-to * power);
    return schedule_time(engine->schedule, -grid->rho * log(high + part * (low - high)));
}

/* To whole timesteps, each its own. */
static bool snap(const struct engine *engine, size_t points, double *times) {
    int steps = schedule_steps(engine->schedule);
    for (size_t i = 0; i < points; i++) {
        double n = fmax(round(times[i] * steps), 1);
        if (i > 0) n = fmin(n, round(times[i - 1] * steps) - 1);
        if (n < (double)(points - i)) n = (double)(points - i);
        if (i > 0 && n / steps >= times[i - 1]) return false;
        times[i] = n / steps;
    }
    return true;
}

bool grids_make(const struct engine *engine, const struct grid_of *grid, size_t steps, const double *stretch,
                double *times) {
    const struct sampler *own = engine->asked->sampler;
    size_t gaps = steps - jumps(engine);
    double sum = 0, at = 0;
    for (size_t i = 0; i < gaps; i++) sum += stretch && i + 1 < gaps ? exp(stretch[i]) : 1;
    for (size_t i = 0; i <= gaps; i++) {
        times[i] = i == 0 ? own->t_start : i == gaps ? own->t_end : place(engine, grid, at / sum);
        at += stretch && i + 1 < gaps ? exp(stretch[i]) : 1;
    }
    if (gaps == 0) times[0] = own->t_start;
    if (schedule_has_integer_times(engine->schedule) && !snap(engine, gaps + 1, times)) return false;
    if (jumps(engine)) times[steps] = 0;
    for (size_t i = 0; i < steps; i++)
        if (!(times[i + 1] < times[i])) return false;
    return true;
}

void grids_name(const struct grid_of *grid, char text[GRID_TEXT]) {
    const char *of = grid->family == FAMILY_T ? "t" : "sigma/alpha";
    if (grid->family == FAMILY_LOGSNR) snprintf(text, GRID_TEXT, "uniform in log(alpha/sigma)");
    else if (grid->rho == 1) snprintf(text, GRID_TEXT, "uniform in %s", of);
    else snprintf(text, GRID_TEXT, "uniform in %s^(1/%g)", of, grid->rho);
}
