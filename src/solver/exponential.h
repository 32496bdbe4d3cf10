/* Exponential integrators, the common ground of DPM-Solver, UniPC, DEIS, SA-Solver and ER-SDE. In lambda the
 * probability-flow ODE is linear but for epsilon, or but for x0, so that from node a to node b, h = lambda_b -
 * lambda_a, x_b = (sigma_b/sigma_a) x + alpha_b * integral of e^(lambda - lambda_b) x0 dlambda        (data prediction)
 *   x_b = (alpha_b/alpha_a) x - sigma_b * integral of e^(lambda_b - lambda) epsilon dlambda   (noise prediction)
 * (Lu et al. 2022, arXiv 2206.00927, eq. 3.4; 2211.01095, eq. 8). */
#ifndef SOLVER_EXPONENTIAL_H
#define SOLVER_EXPONENTIAL_H

#include "solver/builder.h"

/* What a solver holds of an evaluation. */
enum held { HELD_X0, HELD_EPSILON };

/* x_b = x_a * on_x + scale * (psi_0 m + psi_1 h m' + psi_2 h^2 m'' + ...), psi_k of z: z = -h for x0, h for epsilon. */
struct transfer {
    double on_x, scale, h, z;
};
struct transfer transfer_between(enum held held, const struct node *from, const struct node *to);
/* psi_k(z) = sum over n >= 1 of z^n/(n + k)!: e^z - 1, (e^z - 1)/z - 1, ... without cancellation. */
double psi(int k, double z);

/* Nodes x and weights w of Gauss-Legendre quadrature over [0, 1]: exact for polynomials up to degree 31. */
enum { GAUSS_POINTS = 16 };
struct quadrature {
    double x[GAUSS_POINTS], w[GAUSS_POINTS];
};
/* Made once a thread, whose own it is. */
const struct quadrature *gauss_legendre(void);
/* The Lagrange polynomial that is 1 at nodes[j] and 0 at the others, at u. */
double lagrange(const double *nodes, int count, int j, double u);

/* weights [count] with sum over j of weights[j] nodes[j]^n = moments[n], n = 0..count-1; distinct nodes, count <= 8. */
void solve_moments(const double *nodes, const double *moments, int count, double *weights);

/* EVAL of register 0 at the builder's node into register `out`, which then keeps x0 or epsilon. */
void evaluate_and_keep(struct builder *builder, enum held held, int out);

#endif
