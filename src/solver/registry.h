/* The table of solvers. Adding one: its own file and one line in registry.c. */
#ifndef SOLVER_REGISTRY_H
#define SOLVER_REGISTRY_H

#include "solver/builder.h"

#include <stdbool.h>

enum { /* keys a solver takes beyond the common ones; CLOCK: its numbers, not only its grid, depend on the clock */
    SOLVER_ORDER = 1, SOLVER_ETA = 2, SOLVER_VARIANCE = 4, SOLVER_CLOCK = 8, SOLVER_LOWER = 16, SOLVER_CHURN = 32,
    SOLVER_TAU = 64
};

struct solver {
    const char *name;
    const char *kind;      /* "ODE", "SDE", "ODE or SDE" */
    const char *orders;    /* what `order` may be, or the fixed order */
    int evaluations;       /* NFE a step; 0: adaptive */
    unsigned options;      /* SOLVER_* */
    const char *options_text;
    const char *source;    /* paper and equation */
    int variant;           /* tells the solvers of one family apart */
    int start_steps;       /* so many steps at the start take start_evaluations more each; no fewer steps are taken */
    int start_evaluations;
    enum toggle lowers;    /* lower_order_final's default; unset: below 15 steps, as diffusers' multistep solvers */
    bool drops_last;       /* its peers' `leading` and `linspace` have a point more, the last, which they leave out */
    bool into_zero;        /* its own formula makes `final: zero`'s last step; else x0 at the last point is the sample */
    double default_order;
    enum grid_kind default_grid; /* on schedules without integer times; unset: as suits the clock */
    enum clock_kind default_clock; /* on continuous schedules */
    bool inner_times;      /* evaluates between grid points */
    /* CODE_DATA when the sampler's order is none of this solver's. NULL: there is nothing to choose. */
    bool (*takes_order)(double order);
    /* Emits the builder's step, t -> s. Sigma is 0 at no t and, without into_zero, at no s. Register 0 is x; registers are those `prepare` reserved. */
    int (*step)(struct builder *builder, const int *registers, double t, double s, struct error *err);
    int registers;         /* besides x */
};

const struct solver *solver_find(const char *name); /* NULL: unknown */
const struct solver *solver_at(size_t i);           /* NULL beyond the last */

/* The order of `qtaylor plan --list`. One family a file. */
#define SOLVERS(X)                                                                                                        \
    X(taylor) X(taylor_2m) X(ito_taylor) X(ddim) X(ddpm) X(euler_ancestral) X(euler) X(euler_maruyama) X(heun) X(edm)      \
    X(midpoint) X(ralston) X(rk4) X(rk45)                                                                                 \
    X(dpm_1) X(dpm_2) X(dpm_3) X(dpm_2s) X(dpm_3s) X(dpm_2m) X(dpm_3m)                                                    \
    X(dpmpp_1) X(dpmpp_2) X(dpmpp_3) X(dpmpp_2s) X(dpmpp_3s) X(dpmpp_2m) X(dpmpp_3m) X(dpmpp_3m_common)                   \
    X(sde_dpmpp) X(er_sde) X(sa_solver) X(unipc) X(unipc_bh1) X(unip) X(deis) X(deis_rho) X(deis_t) X(lms) X(ipndm) X(pndm)
#define SOLVER_DECLARE(name) extern const struct solver solver_##name;
SOLVERS(SOLVER_DECLARE)
#undef SOLVER_DECLARE

/* Smallest cut variance of ito-taylor over a step; used to name the number of steps that works. */
int ito_taylor_variance(const struct schedule *schedule, const struct sampler *sampler, double t, double h,
                        double *variance, struct error *err);

#endif
