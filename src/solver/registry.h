/* The table of solvers. Adding one: its own file and one line in registry.c. */
#ifndef SOLVER_REGISTRY_H
#define SOLVER_REGISTRY_H

#include "solver/builder.h"

#include <stdbool.h>

enum { SOLVER_ORDER = 1, SOLVER_ETA = 2, SOLVER_VARIANCE = 4 }; /* keys a solver takes beyond the common ones */

struct solver {
    const char *name;
    const char *kind;      /* "ODE", "SDE", "ODE or SDE" */
    const char *orders;    /* what `order` may be, or the fixed order */
    int evaluations;       /* NFE a step; 0: adaptive */
    unsigned options;      /* SOLVER_* */
    const char *options_text;
    const char *source;    /* paper and equation */
    double default_order;
    enum clock_kind default_clock; /* on continuous schedules */
    bool inner_times;      /* evaluates between grid points */
    /* CODE_DATA when the sampler's order is none of this solver's. NULL: there is nothing to choose. */
    bool (*takes_order)(double order);
    /* Emits one step t -> s, both > 0 in sigma. Register 0 is x; registers are those `prepare` reserved. */
    int (*step)(struct builder *builder, const int *registers, double t, double s, struct error *err);
    int registers;         /* besides x */
};

const struct solver *solver_find(const char *name); /* NULL: unknown */
const struct solver *solver_at(size_t i);           /* NULL beyond the last */

/* One solver family a file. */
extern const struct solver solver_taylor, solver_ito_taylor, solver_ddim, solver_ddpm, solver_euler, solver_heun,
    solver_rk4, solver_euler_maruyama, solver_rk45;

/* Smallest cut variance of ito-taylor over a step; used to name the number of steps that works. */
int ito_taylor_variance(const struct schedule *schedule, const struct sampler *sampler, double t, double h,
                        double *variance, struct error *err);

#endif
