/* The table of solvers. Adding one: its own file and a word in SOLVERS below. */
#ifndef SOLVER_REGISTRY_H
#define SOLVER_REGISTRY_H

#include "solver/builder.h"

#include <stdbool.h>

/* The keys a solver may take beyond the common ones: symbol and names, as `plan --list` prints them. CLOCK: its
 * numbers, not only its grid, depend on the clock. */
/* clang-format off */
#define SOLVER_OPTIONS(X) \
    X(SOLVER_ORDER, "order") \
    X(SOLVER_CLOCK, "clock") \
    X(SOLVER_ETA, "eta") \
    X(SOLVER_VARIANCE, "variance") \
    X(SOLVER_TAU, "tau") \
    X(SOLVER_CHURN, "churn") \
    X(SOLVER_RESTART, "restart") \
    X(SOLVER_TOLERANCES, "rtol, atol") \
    X(SOLVER_LOWER, "lower_order_final") \
    X(SOLVER_DIFFUSION, "diffusion, last_step") \
    X(SOLVER_TYPE, "solver_type") \
    X(SOLVER_TABLE, "table")
/* clang-format on */
#define SOLVER_OPTION_BIT(symbol, name) symbol##_BIT,
enum { SOLVER_OPTIONS(SOLVER_OPTION_BIT) SOLVER_OPTIONS_COUNT };
#define SOLVER_OPTION_MASK(symbol, name) symbol = 1 << symbol##_BIT,
enum { SOLVER_OPTIONS(SOLVER_OPTION_MASK) };
#undef SOLVER_OPTION_BIT
#undef SOLVER_OPTION_MASK

struct solver {
    const char *name;
    const char *kind;   /* "ODE", "SDE", "ODE or SDE" */
    const char *orders; /* what `order` may be, or the fixed order */
    int evaluations;    /* NFE a step; 0: adaptive */
    unsigned options;   /* SOLVER_* */
    const char *source; /* paper and equation */
    int variant;        /* tells the solvers of one family apart */
    int start_steps;    /* so many steps at the start take start_evaluations more each; no fewer steps are taken */
    int start_evaluations;
    enum toggle lowers; /* lower_order_final's default; unset: below 15 steps, as diffusers' multistep solvers */
    bool drops_last;    /* its peers' `leading` and `linspace` have a point more, the last, which they leave out */
    bool into_zero;     /* its own formula makes `final: zero`'s last step; else x0 at the last point is the sample */
    bool ends_at_least; /* a step to the schedule's least time is x0 already: there a grid ends, with final: none */
    double default_order;
    double default_eta;
    enum grid_kind default_grid;   /* on schedules without integer times; unset: as suits the clock */
    enum clock_kind default_clock; /* on continuous schedules */
    bool inner_times;              /* evaluates between grid points */
    bool in_slopes;                /* steps along dx/dt alone, and so to t = 0 itself where that is finite */
    bool leaves_noise;             /* its own formula (in clock t, where that matters) steps from where alpha is 0 */
    /* Otherwise that step is x0's mean and this share of new noise, 0 to 1 in standard deviations. NULL: none; NAN: the
     * solver has no formula there. */
    double (*new_noise)(const struct sampler *sampler);
    int order_least, order_most; /* `order` may be a whole number of these, ... */
    double order_others[2];      /* ... or one of these; 0: none. All 0: there is nothing to choose */
    int registers;               /* besides x */
    /* Emits the step between two neighbours of builder->nodes, so that from[-1] is the node before where builder->index
     * > 0. Sigma is 0 at no `from` and, without into_zero, at no `to`. registers [solver->registers]: the solver's own,
     * the same in every step; register 0 is x. */
    int (*step)(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err);
    /* Where a step may be too long for its formula: CODE_DATA when it is. A compiler whose step failed asks it for the
     * number of steps that works. NULL: any step will do. */
    int (*check)(const struct builder *builder, const struct node *from, const struct node *to, struct error *err);
};

const struct solver *solver_find(const char *name); /* NULL: unknown */
/* The name of the solver that another tool calls `name`, or that a slip of the pen made it of; NULL: none. */
const char *solver_guess(const char *name);
const struct solver *solver_at(size_t i); /* NULL beyond the last */
/* Is the step from alpha 0 one of order 1, by new_noise, and not the solver's own? */
bool solver_starts_over(const struct solver *solver, const struct sampler *sampler);
/* Of new_noise: all of it is new, or there is no formula. */
double new_noise_all(const struct sampler *sampler);
double new_noise_none(const struct sampler *sampler);
bool solver_takes_order(const struct solver *solver, double order);

/* The order of `qtaylor plan --list`. One family a file. */
/* clang-format off */
#define SOLVERS(X) \
    X(taylor) X(taylor_2m) X(ito_taylor) X(ddim) X(ddpm) X(euler_ancestral) X(euler) X(euler_maruyama) X(heun) X(edm) \
    X(midpoint) X(ralston) X(rk4) X(rk45) X(dpm_1) X(dpm_2) X(dpm_3) X(dpm_2s) X(dpm_3s) X(dpm_2m) X(dpm_3m) \
    X(dpmpp_1) X(dpmpp_2) X(dpmpp_3) X(dpmpp_2s) X(dpmpp_3s) X(dpmpp_2m) X(dpmpp_3m) X(dpmpp_3m_common) \
    X(sde_dpmpp) X(er_sde) X(sa_solver) X(unipc) X(unipc_bh1) X(unip) X(deis) X(deis_rho) X(deis_t) X(lms) X(ipndm) \
    X(pndm) X(plms) X(kdpm2) X(kdpm2_ancestral) X(lcm) X(tcd) X(consistency) \
    X(res_2m) X(gradient_estimation) X(stork) X(restart) X(table)
/* clang-format on */
#define SOLVER_DECLARE(name) extern const struct solver solver_##name;
SOLVERS(SOLVER_DECLARE)
#undef SOLVER_DECLARE

#endif
