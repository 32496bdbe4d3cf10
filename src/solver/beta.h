/* The beta distribution's quantile, for grids that follow it. */
#ifndef SOLVER_BETA_H
#define SOLVER_BETA_H

/* x in [0, 1] with I_x(a, b) = p, the regularised incomplete beta function (DLMF 8.17); 0 <= p <= 1, a and b from 0.01
 * to 100. The relative error of x for p <= 1/2, of 1 - x for larger p, is below 1e-12. */
double beta_quantile(double p, double a, double b);

#endif
