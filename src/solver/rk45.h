/* rk45: adaptive Dormand-Prince 5(4) on the probability-flow ODE (Song et al. 2020, eq. 13, as score_sde runs it with
 * scipy's solve_ivp), in the sampler's clock (t by default): the same initial step, error norm, step control and
 * first-same-as-last evaluation as scipy's RK45.
 *
 * A controller: it emits fragments of a plan, the caller executes them on one batch's registers and hands back the
 * norms that the fragment asks for. Register 0 is x throughout. */
#ifndef SOLVER_RK45_H
#define SOLVER_RK45_H

#include "solver/plan.h"

enum { RK45_REGISTERS = 13, RK45_NORMS = 2 };

struct rk45;

struct rk45_norm { /* sqrt(mean((of / (atol + rtol max(|a|, |b|)))^2)) over the batch's real elements, fillers left out
                    */
    int of, a, b;  /* registers */
};
struct rk45_fragment {
    const struct plan *plan; /* ops to execute; borrowed until the next call */
    struct rk45_norm norms[RK45_NORMS];
    int norms_count;
};

int rk45_new(struct rk45 **rk45, const struct sampler *resolved, const struct card *card, struct error *err);
void rk45_free(struct rk45 *rk45);  /* accepts NULL */
void rk45_start(struct rk45 *rk45); /* back to t_start, for a new batch */
/* The next fragment; *more false: t_end is reached and register 0 holds the sample. values: the norms that the last
 * fragment asked for, all finite (NULL at first). A step that shrinks to nothing is CODE_DATA. */
int rk45_next(struct rk45 *rk45, const double *values, struct rk45_fragment *fragment, bool *more, struct error *err);
int rk45_nfe(const struct rk45 *rk45); /* model evaluation points since rk45_start */

#endif
