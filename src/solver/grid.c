/* The times at which a sampler evaluates. */
#include "solver/grid.h"

#include "solver/beta.h"
#include "solver/registry.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static double between(double a, double b, int i, int last) {
    if (i == last) return b;
    return a + (b - a) * i / last;
}

/* diffusers' integers n_i, i = 0..count-1, of N trained steps; `more`: out of so many more points, the last left out.
 */
static double timestep(const struct sampler *sampler, int trained, int i, int count, int more) {
    int all = count + more, last = all - 1;
    double linear = last > 0 ? (double)(trained - 1) * (last - i) / last : trained - 1;
    switch (sampler->grid) {
        case GRID_LEADING: return (double)(last - i) * (trained / all) + fmax(sampler->steps_offset, 0);
        case GRID_LINSPACE: return nearbyint(linear);
        case GRID_LINSPACE_FRACTIONAL: return linear;
        default: return nearbyint(trained - i * ((double)trained / count)) - 1; /* GRID_TRAILING */
    }
}

/* Lee et al. 2024 (arXiv 2407.12173): sigma/alpha from that at t_end to that at t_start by the quantiles of 1 - i/last.
 */
static double place_beta(const struct schedule *schedule, const struct sampler *sampler, int i, int last) {
    const double usual = 0.6;
    double a = isnan(sampler->beta[0]) ? usual : sampler->beta[0],
           b = isnan(sampler->beta[1]) ? usual : sampler->beta[1];
    double most = exp(-schedule_logsnr(schedule, sampler->t_start)),
           least = exp(-schedule_logsnr(schedule, sampler->t_end));
    return schedule_time(schedule, -log(least + beta_quantile(1 - (double)i / last, a, b) * (most - least)));
}

static double place(const struct schedule *schedule, const struct sampler *sampler, int i, int last) {
    double rho = isnan(sampler->rho) ? 7 : sampler->rho, a = sampler->t_start, b = sampler->t_end;
    if (last == 0) return a;
    switch (sampler->grid) {
        case GRID_QUADRATIC: return pow(between(sqrt(a), sqrt(b), i, last), 2);
        case GRID_KARRAS: {
            double from = exp(-schedule_logsnr(schedule, a) / rho), to = exp(-schedule_logsnr(schedule, b) / rho);
            return schedule_time(schedule, -rho * log(between(from, to, i, last)));
        }
        case GRID_BETA: return place_beta(schedule, sampler, i, last);
        case GRID_UNIFORM:
            if (sampler->clock == CLOCK_T) return between(a, b, i, last);
            break;
        default: break;
    }
    /* uniform-logsnr; exponential and lu are the same: sigma/alpha is geometric where lambda is uniform */
    return schedule_time(schedule, between(schedule_logsnr(schedule, a), schedule_logsnr(schedule, b), i, last));
}

int grid_list_count(const struct sampler *sampler) {
    return sampler->points ? sampler->points : (int)sampler->times_count;
}

static double list_logsnr(const struct sampler *sampler, size_t i) {
    return sampler->grid == GRID_SIGMAS ? -log(sampler->times[i]) : sampler->times[i];
}

/* Points between the list's numbers: linear in lambda, which is log-linear in sigma/alpha, by their position. */
static double interpolated(const struct sampler *sampler, int i) {
    int last = grid_list_count(sampler) - 1, given = (int)sampler->times_count - 1;
    if (last == given || given == 0) return list_logsnr(sampler, (size_t)i);
    int before = (int)((int64_t)i * given / last);
    if (before == given) return list_logsnr(sampler, (size_t)given);
    double part = (double)((int64_t)i * given % last) / last, from = list_logsnr(sampler, (size_t)before);
    return from + (list_logsnr(sampler, (size_t)before + 1) - from) * part;
}

/* Published lists have two to five digits (Align-Your-Steps' 0.029 is Stable Diffusion's 0.02917): so far beyond a
 * schedule's ends a point is taken for the end. */
static const double LIST_ROUNDING = 0.02;

int grid_listed(const struct schedule *schedule, const struct sampler *sampler, int i, double *t, struct error *err) {
    int trained = schedule_steps(schedule);
    const char *name = grid_names[sampler->grid];
    if (sampler->grid == GRID_TIMES) {
        *t = sampler->times[i];
        return 0;
    }
    if (sampler->grid == GRID_STEPS) {
        double n = sampler->times[i];
        if (trained == 0)
            return error_set(err, CODE_DATA,
                             "sampler.grid.steps: this schedule is continuous and has no trained timesteps: say times, "
                             "sigmas or logsnr");
        if (n >= trained)
            return error_set(err, CODE_DATA, "sampler.grid.steps: expected timesteps from 0 to %d, found %g",
                             trained - 1, n);
        *t = (n + 1) / trained;
        return 0;
    }
    if (sampler->points && sampler->times_count < 2)
        return error_set(err, CODE_DATA, "sampler.grid.points: expected two or more %s to interpolate, found one",
                         name);
    double logsnr = interpolated(sampler, i), least, most;
    *t = schedule_time(schedule, logsnr);
    schedule_range(schedule, &least, &most);
    double low = schedule_logsnr(schedule, most), high = schedule_logsnr(schedule, least);
    if (!(logsnr >= low - LIST_ROUNDING && logsnr <= high + LIST_ROUNDING))
        return error_set(err, CODE_DATA,
                         "sampler.grid.%s: expected sigma/alpha from %g to %g (log(alpha/sigma) %g to %g), which is "
                         "what the schedule has; found %g (%g)",
                         name, exp(-high), exp(-low), low, high, exp(-logsnr), logsnr);
    *t = fmin(fmax(*t, least), most);
    return 0;
}

/* Every time moved to lambda - ln S; alpha = 0 and sigma = 0 stay. */
static int shift_points(const struct schedule *schedule, double shift, int count, double *points, struct error *err) {
    const double rounding = 1e-12;
    double least, most, by = log(shift);
    schedule_range(schedule, &least, &most);
    double low = schedule_logsnr(schedule, most), high = schedule_logsnr(schedule, least);
    for (int i = 0; i < count; i++) {
        double t = points[i], logsnr = schedule_logsnr(schedule, t) - by;
        if (schedule_alpha(schedule, t) == 0 || schedule_sigma(schedule, t) == 0) continue;
        if (logsnr < low - rounding || logsnr > high + rounding)
            return error_set(
                err, CODE_DATA,
                "sampler.shift: %g moves t = %g to log(alpha/sigma) = %.6g, beyond the schedule's %.6g: say "
                "t_%s: %.6g, which it moves to %g, or another grid",
                shift, t, logsnr, logsnr < low ? low : high, logsnr < low ? "start" : "end",
                schedule_time(schedule, (logsnr < low ? low : high) + by), logsnr < low ? most : least);
        points[i] = fmin(fmax(schedule_time(schedule, logsnr), least), most);
    }
    return 0;
}

/* Moves points to times the model knows, (n + 1)/N, to the nearest that leaves every point its own integer. */
static int snap(const struct schedule *schedule, int count, double *points, struct error *err) {
    int trained = schedule_steps(schedule);
    double first = round(points[0] * trained) - 1, last = fmax(round(points[count - 1] * trained) - 1, 0);
    if (count > first - last + 1)
        return error_set(err, CODE_DATA,
                         "sampler.nfe: %d evaluations between t_start and t_end need distinct integer timesteps, and "
                         "the model has %g there: ask for fewer",
                         count, first - last + 1);
    for (int i = 0; i < count; i++) points[i] = round(points[i] * trained) - 1;
    points[count - 1] = last;
    for (int i = count - 2; i >= 0; i--) points[i] = fmax(points[i], points[i + 1] + 1);
    points[0] = first;
    for (int i = 1; i < count; i++) points[i] = fmin(points[i], points[i - 1] - 1);
    for (int i = 0; i < count; i++) points[i] = (points[i] + 1) / trained;
    return 0;
}

/* The points that the grid itself makes, before they move. */
static int place_points(const struct schedule *schedule, const struct sampler *sampler, int count, double *points,
                        struct error *err) {
    int last = count - 1, trained = schedule_steps(schedule);
    int whole = last + (sampler->t_end == 0 && sampler->final == FINAL_ZERO); /* steps; that to 0 is final's */
    const struct solver *solver = solver_find(sampler->solver);
    bool list = grid_is_list(sampler->grid), steps = grid_has_ends(sampler->grid) && !list;
    if (steps && trained == 0)
        return error_set(err, CODE_DATA,
                         "sampler.grid: %s is for models with trained integer timesteps, and this schedule is "
                         "continuous: say uniform, quadratic or uniform-logsnr",
                         grid_names[sampler->grid]);
    if (steps && count > trained)
        return error_set(err, CODE_DATA, "sampler.nfe: expected at most the model's %d timesteps, found %d", trained,
                         count);
    for (int i = 0; i < count; i++) {
        if (list && grid_listed(schedule, sampler, i, &points[i], err) != 0) return -1;
        if (steps) points[i] = (timestep(sampler, trained, i, count, solver && solver->drops_last) + 1) / trained;
        else if (!list) points[i] = place(schedule, sampler, i, whole);
    }
    if (steps && points[0] > 1)
        return error_set(err, CODE_DATA,
                         "sampler.steps_offset: %d puts the first timestep at %g, beyond the model's last, %d",
                         sampler->steps_offset, points[0] * trained - 1, trained - 1);
    /* The ends exactly, not through an inverse. */
    if (!grid_has_ends(sampler->grid)) {
        points[0] = sampler->t_start;
        if (whole == last && last > 0) points[last] = sampler->t_end;
    }
    return 0;
}

int grid_make(const struct schedule *schedule, const struct sampler *sampler, int count, double *points,
              struct error *err) {
    bool acp0 = sampler->final == FINAL_ACP0;
    int made = count - acp0;
    if (place_points(schedule, sampler, made, points, err) != 0) return -1;
    if (!isnan(sampler->shift) && shift_points(schedule, sampler->shift, made, points, err) != 0) return -1;
    if (schedule_has_integer_times(schedule) && snap(schedule, made, points, err) != 0) return -1;
    if (acp0) points[made] = 1.0 / schedule_steps(schedule);
    /* The first trained step may stand twice: diffusers' last step of no length, which a formula of one point can make.
     */
    const struct solver *solver = solver_find(sampler->solver);
    bool twice = acp0 && points[made] == points[made - 1];
    if (twice && !(solver && solver->evaluations == 1 && strcmp(solver->orders, "1") == 0))
        return error_set(err, CODE_DATA,
                         "sampler.final: acp0, but the grid ends at the first trained step already: say final: none");
    for (int i = 1; i < count - twice; i++)
        if (!(points[i] < points[i - 1]))
            return error_set(err, CODE_DATA, "sampler.grid: times must decrease, but number %d is %g after %g", i,
                             points[i], points[i - 1]);
    return 0;
}
