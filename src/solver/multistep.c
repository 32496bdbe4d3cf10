/* table: any linear multistep formula from its coefficients, see job/multistep.h; ODE, 1 NFE a step, option table. The
 * table's times are the grid; a last one of 0 is the step into sigma 0. */
#include "solver/multistep.h"

#include "job/multistep.h"
#include "solver/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* May a key stand there, unset or as the table has it (a resolved sampler is resolved again)? */
static const char *said_beside(const struct sampler *sampler, enum final_kind final, size_t count) {
    bool other = sampler->grid != GRID_TIMES || sampler->times_count != count;
    for (size_t i = 0; !other && i < count; i++) other = sampler->times[i] != multistep_time(sampler->table, i);
    if (sampler->grid != GRID_UNSET && other) return "grid";
    if (sampler->final != FINAL_UNSET && sampler->final != final) return "final";
    if (sampler->clock == CLOCK_LOGSNR) return "clock";
    if (!isnan(sampler->shift)) return "shift";
    if (!isnan(sampler->t_end) && sampler->t_end != multistep_time(sampler->table, count - 1)) return "t_end";
    if (!isnan(sampler->t_start) && sampler->t_start != multistep_time(sampler->table, 0)) return "t_start";
    return NULL;
}

/* Models of whole timesteps have no others, and the coefficients are of the table's. */
static int check_whole(const struct sampler *sampler, const struct schedule *schedule, struct error *err) {
    int steps = schedule_steps(schedule);
    for (size_t i = 0; schedule_has_integer_times(schedule) && i < sampler->times_count; i++) {
        double index = sampler->times[i] * steps;
        if (fabs(index - round(index)) > 1e-6)
            return error_set(err, CODE_DATA,
                             "sampler.table: times[%zu]: the model takes whole timesteps n, which stand at (n + 1)/%d: "
                             "expected such a time, found %.15g",
                             i, steps, sampler->times[i]);
    }
    return 0;
}

int multistep_resolve(struct sampler *sampler, const struct schedule *schedule, struct error *err) {
    bool named = strcmp(sampler->solver, "table") == 0;
    if (!named && !sampler->table) return 0;
    if (!named)
        return error_set(err, CODE_DATA, "sampler.table: %s takes none: leave it out, or say solver: table",
                         sampler->solver);
    if (!sampler->table)
        return error_set(err, CODE_DATA, "sampler.table: missing; expected the path of a table {times, steps}, or one");
    size_t steps = multistep_steps(sampler->table);
    bool to_zero = multistep_time(sampler->table, steps) == 0;
    enum final_kind final = to_zero ? FINAL_ZERO : FINAL_NONE;
    size_t count = steps + !to_zero;
    const char *key = said_beside(sampler, final, count);
    if (key) return error_set(err, CODE_DATA, "sampler.%s: the table says all of that: leave it out", key);
    free(sampler->times);
    sampler->times = malloc(count * sizeof *sampler->times);
    if (!sampler->times) return error_memory(err);
    for (size_t i = 0; i < count; i++) sampler->times[i] = multistep_time(sampler->table, i);
    sampler->times_count = count;
    sampler->grid = GRID_TIMES;
    sampler->final = final;
    sampler->clock = CLOCK_T;
    sampler->t_start = sampler->t_end = NAN;
    return check_whole(sampler, schedule, err);
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)to;
    const json_t *table = builder->sampler->table;
    double a, b[MULTISTEP_MOST], alpha, sigma;
    size_t index = (size_t)builder->index, count = multistep_step(table, index, &a, b);
    int newest = registers[index % MULTISTEP_MOST];
    struct point point = builder_evaluate(builder, 0, from->t, newest);
    struct form held = {.count = 0}, next = {.count = 0};
    switch (multistep_kind(table)) {
        case MULTISTEP_EPSILON: held = point.epsilon; break;
        case MULTISTEP_X0: held = point.x0; break;
        case MULTISTEP_VELOCITY:
            if (schedule_slope(builder->schedule, from->t, &alpha, &sigma, err) != 0) return -1;
            form_add_form(&held, alpha, &point.x0);
            form_add_form(&held, sigma, &point.epsilon);
            break;
    }
    builder_keep(builder, newest, &held);
    form_add(&next, a, 0);
    for (size_t j = 0; j < count; j++) form_add(&next, b[j], registers[(index - j) % MULTISTEP_MOST]);
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_table = {.name = "table",
                                    .kind = "ODE",
                                    .orders = "the table's",
                                    .evaluations = 1,
                                    .options = SOLVER_TABLE,
                                    .source = "coefficients in a file: jobs/README.md, Tables",
                                    .default_order = 1,
                                    .default_clock = CLOCK_T,
                                    .into_zero = true,
                                    .leaves_noise = true,
                                    .step = step,
                                    .registers = MULTISTEP_MOST};
