/* Derivatives along a path of the probability-flow ODE: what they are made of, and finite differences of epsilon.
 *
 * On a path x(h) = alpha(h) (x/alpha + integral from 0 to h of epsilon kappa'), kappa = sigma/alpha, and the score is
 * S(h) = -epsilon(h)/sigma(h), h the step towards data. So their derivatives are sums of x, epsilon and the derivatives
 * of epsilon by lambda = log(alpha/sigma) along the path. With epsilon constant they are the ideal ones of the
 * single-point approximation (Tachibana et al. 2021, section 3.2). */
#ifndef DIAGNOSE_DERIVATIVE_H
#define DIAGNOSE_DERIVATIVE_H

#include "solver/schedule.h"

enum {
    EPSILON_ORDERS = 3,              /* measured derivatives of epsilon */
    PATH_ORDERS = EPSILON_ORDERS + 1 /* and so many of x are known */
};

/* d^k x/dh^k = on_x[k] x + sum over j of path[k][j] epsilon_j and d^k S/dh^k = sum over j of score[k][j] epsilon_j,
 * where epsilon_j is the j-th derivative of epsilon by lambda (0: epsilon itself). The ideal derivatives have j = 0
 * alone. */
struct derivative_map {
    double on_x[PATH_ORDERS + 1];
    double path[PATH_ORDERS + 1][EPSILON_ORDERS + 1];
    double score[EPSILON_ORDERS + 1][EPSILON_ORDERS + 1];
};
/* Fills *map for a clock at t. CODE_DATA in clock t of a discrete schedule, which has no series. */
int derivative_map(struct derivative_map *map, const struct schedule *schedule, enum clock_kind clock, double t,
                   struct error *err);

/* ---- finite differences ----
 * Points at whole numbers of units around a centre, in three windows of five: 1, 2 and 4 units apart. `simple` takes
 * one window (level 0: 1 unit apart, 1: 2 units), `extrapolated` that window and the one of twice its width: on even
 * spacing that is Richardson's extrapolation of the two, and elsewhere its like, the interpolation through all their
 * points. */
enum { STENCIL_LEVELS = 2, STENCIL_POINTS = 11, STENCIL_REACH = 19 /* so many units always have room for one */ };
struct stencil {
    int count, centre;                                                 /* centre: the point with offset 0 */
    int offsets[STENCIL_POINTS];                                       /* rising */
    double simple[STENCIL_LEVELS][EPSILON_ORDERS + 1][STENCIL_POINTS]; /* weights of the derivative by lambda */
    double extrapolated[STENCIL_LEVELS][EPSILON_ORDERS + 1][STENCIL_POINTS];
};
/* Offsets of no more than `before` units on the one side and `after` on the other, as even as can be; before + after >=
 * STENCIL_REACH. */
void stencil_place(struct stencil *stencil, int before, int after);
/* The weights, once lambda [count] of the points is known. */
void stencil_weigh(struct stencil *stencil, const double *lambda);

#endif
