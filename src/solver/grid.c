#include "solver/grid.h"

#include "solver/registry.h"

#include <math.h>

static double between(double a, double b, int i, int last) {
    if (i == last) return b;
    return a + (b - a) * i / last;
}

/* diffusers' integers n_i, i = 0..count-1, of N trained steps; `more`: out of so many more points, the last left out. */
static double timestep(enum grid_kind kind, int trained, int i, int count, int more) {
    int all = count + more, last = all - 1;
    switch (kind) {
        case GRID_LEADING: return (double)(last - i) * (trained / all);
        case GRID_LINSPACE: return last > 0 ? nearbyint((double)(trained - 1) * (last - i) / last) : trained - 1;
        default: return nearbyint(trained - i * ((double)trained / count)) - 1; /* GRID_TRAILING */
    }
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
        case GRID_UNIFORM:
            if (sampler->clock == CLOCK_T) return between(a, b, i, last);
            break;
        default: break;
    }
    /* uniform-logsnr; exponential is the same: sigma/alpha is geometric where lambda is uniform */
    return schedule_time(schedule, between(schedule_logsnr(schedule, a), schedule_logsnr(schedule, b), i, last));
}

/* Moves points to times the model knows, (n + 1)/N, to the nearest that leaves every point its own integer. */
static int snap(const struct schedule *schedule, int count, double *points, struct error *err) {
    int trained = schedule_steps(schedule);
    double first = round(points[0] * trained) - 1, last = fmax(round(points[count - 1] * trained) - 1, 0);
    if (count > first - last + 1)
        return error_set(err, CODE_DATA, "sampler.nfe: %d evaluations between t_start and t_end need distinct integer "
                         "timesteps, and the model has %g there: ask for fewer", count, first - last + 1);
    for (int i = 0; i < count; i++) points[i] = round(points[i] * trained) - 1;
    points[count - 1] = last;
    for (int i = count - 2; i >= 0; i--) points[i] = fmax(points[i], points[i + 1] + 1);
    points[0] = first;
    for (int i = 1; i < count; i++) points[i] = fmin(points[i], points[i - 1] - 1);
    for (int i = 0; i < count; i++) points[i] = (points[i] + 1) / trained;
    return 0;
}

int grid_make(const struct schedule *schedule, const struct sampler *sampler, int count, double *points,
              struct error *err) {
    int last = count - 1, trained = schedule_steps(schedule);
    int whole = last + (sampler->t_end == 0); /* steps of the grid: down to 0 itself final: zero makes the last one */
    const struct solver *solver = solver_find(sampler->solver);
    bool integers = sampler->grid == GRID_LEADING || sampler->grid == GRID_LINSPACE || sampler->grid == GRID_TRAILING;
    if (integers && trained == 0)
        return error_set(err, CODE_DATA, "sampler.grid: leading, linspace and trailing are for models with trained integer "
                         "timesteps; this schedule is continuous: say uniform, quadratic or uniform-logsnr");
    if (integers && count > trained)
        return error_set(err, CODE_DATA, "sampler.nfe: expected at most the model's %d timesteps, found %d", trained, count);
    for (int i = 0; i < count; i++) {
        if (integers) points[i] = (timestep(sampler->grid, trained, i, count, solver && solver->drops_last) + 1) / trained;
        else if (sampler->grid == GRID_TIMES) points[i] = sampler->times[i];
        else points[i] = place(schedule, sampler, i, whole);
    }
    /* The ends exactly, not through an inverse. */
    if (!integers && sampler->grid != GRID_TIMES) {
        points[0] = sampler->t_start;
        if (whole == last && last > 0) points[last] = sampler->t_end;
    }
    if (schedule_has_integer_times(schedule)) return snap(schedule, count, points, err);
    for (int i = 1; i < count; i++)
        if (!(points[i] < points[i - 1]))
            return error_set(err, CODE_DATA, "sampler.grid: times must decrease, but number %d is %g after %g", i, points[i],
                             points[i - 1]);
    return 0;
}
