/* One step of the quasi-Taylor method as numbers: what `taylor` compiles and `qtaylor diagnose` measures. */
#ifndef SOLVER_TAYLOR_H
#define SOLVER_TAYLOR_H

#include "solver/schedule.h"

/* x(s) = rho x(t) + mu epsilon(x(t), t), the series in `clock` cut after h^order; order 1, 2, ... or INFINITY (uncut:
 * DDIM, the same in every clock). */
int taylor_coefficients(const struct schedule *schedule, enum clock_kind clock, double order, double t, double s,
                        double *rho, double *mu, struct error *err);
/* The same of x0 and z, and where alpha(t) is 0, too: x(s) = on_x0 x0 + on_z z. */
int taylor_parts(const struct schedule *schedule, enum clock_kind clock, double order, double t, double s,
                 double *on_x0, double *on_z, struct error *err);

#endif
