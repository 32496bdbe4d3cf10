/* What solvers build plans with. A solver writes its update as a form, a linear combination of registers; epsilon and
 * x0 at a point are forms too, whatever the network predicts, so that the kinds of prediction differ only in
 * coefficients and every update becomes one LINCOMB. */
#ifndef SOLVER_BUILDER_H
#define SOLVER_BUILDER_H

#include "base/error.h"
#include "solver/plan.h"
#include "solver/probe.h"
#include "solver/schedule.h"

enum { FORM_TERMS = 12 };
struct form { /* sum of coefficient * register, in order; no register twice */
    struct term terms[FORM_TERMS];
    int count; /* more than FORM_TERMS: it did not fit, and no plan comes of it */
};

void form_add(struct form *form, double coefficient, int source);
void form_add_form(struct form *form, double coefficient, const struct form *other);
struct form form_two(double a, int x, double b, int y); /* a x + b y */

/* What a network's output F means: x0 = x0_x x + x0_out F and epsilon = epsilon_x x + epsilon_out F, F seeing input x.
 */
struct meaning {
    double input, x0_x, x0_out, epsilon_x, epsilon_out;
};
/* Of a network with this card at t; infinite where its F says nothing of x0 or epsilon. */
struct meaning meaning_at(const struct schedule *schedule, const struct card *card, double t);

struct node { /* a grid point */
    double t, alpha, sigma, logsnr;
};
struct node node_at(const struct schedule *schedule, double t);

enum { CLIPPED_MOST = 64 };
struct builder {
    struct plan *plan;
    const struct schedule *schedule;
    const struct sampler *sampler; /* resolved */
    const struct card *card;
    int scratch;  /* register for a scaled model input, or -1 */
    int unguided; /* register for the output without labels, or of the guiding model, or -1 */
    int variance; /* register that builder_evaluate leaves the model's variance channels in; 0: not wanted */
    int difference, parallel;  /* registers of apg: its running difference, and a scratch; 0: none yet */
    int clipped[CLIPPED_MOST]; /* by output register: the one of its clipped x0 where epsilon is kept; 0: none yet */
    uint32_t streams;          /* NOISE ops so far */
    const struct solver *solver;
    const struct node *nodes; /* of the grid; with one of sigma 0 at the end where the solver steps there itself */
    int index, last;          /* the step from nodes[index] to nodes[index + 1]; nodes[last] is the end */
    double (*slopes)[PROBES]; /* [plan->model_calls], see probe.h; the caller frees it. Not kept where there are no
                                 nodes */
    const char *failed;       /* why no plan will come of it (builder_finish says so); stays */
};

struct point { /* where the model was evaluated */
    struct node at;
    struct form epsilon, x0; /* over the evaluated register and the output register */
};

int builder_register(struct builder *builder); /* a new register's number */
/* EVAL of register x at time t into `out` (two where guidance acts; the variance is that of the model itself under the
 * labels given); x must stay as it is while the forms are used. */
struct point builder_evaluate(struct builder *builder, int x, double t, int out);
void builder_lincomb(struct builder *builder, int dst, const struct form *form); /* zero terms dropped */
/* The form into register dst, so that it outlives its sources; nothing where it is dst already. */
void builder_keep(struct builder *builder, int dst, const struct form *form);
void builder_copy(struct builder *builder, int dst, int src);
/* DDIM's step of register 0, x_to = ratio x + (sigma_to - ratio sigma_from) epsilon, ratio = alpha_to/alpha_from, into
 * dst: Euler's in sigma/alpha. */
void builder_ddim(struct builder *builder, int dst, const struct node *from, const struct node *to,
                  const struct form *epsilon);
/* Steps before this one that a multistep formula can use: none before a start where alpha is 0 and lambda infinite. */
int builder_history(const struct builder *builder);
/* The order of this step: less than the sampler's while history is short and, under lower_order_final, at the end. */
int builder_order(const struct builder *builder);
void builder_append(struct builder *builder, struct op op); /* op.terms become the plan's */
void builder_noise(struct builder *builder, int dst);
void builder_mulexp(struct builder *builder, int dst, int src, double a, double b); /* dst = dst exp(a + b src) */

/* Coefficients of the processes at a time, in the sampler's clock u (u runs towards noise):
 * dx/du = f x + g2/(2 sigma) epsilon is the probability-flow ODE, dx = f x du + g dW the forward SDE. */
int builder_drift(const struct builder *builder, double t, double *f, double *g2, struct error *err);
/* dx/du at a point whose x is in register x, as a form: f x + g2/(2 sigma) epsilon, or alpha' x0 + sigma' epsilon,
 * which is the same and finite where alpha is 0. */
int builder_slope(const struct builder *builder, const struct point *point, int x, struct form *slope,
                  struct error *err);
/* The time a part of the step further on, of a step from `from` of length h in the sampler's clock. */
double builder_time(const struct builder *builder, const struct node *from, double h, double part);
/* Length of a step in the sampler's clock, > 0. */
double builder_step(const struct builder *builder, const struct node *from, const struct node *to);
/* Gaussian transition of the forward process from `to` up to `from`: x_from = ratio x_to + sqrt(variance) z. */
void builder_transition(const struct node *from, const struct node *to, double *ratio, double *variance);
/* Of a network's output F at t, by its input, on the data of probe.h: F = slopes input + offsets mean. */
void builder_probe(const struct schedule *schedule, const struct card *card, double t, double slopes[PROBES],
                   double offsets[PROBES]);
/* After the last op: CODE_INTERNAL when memory ran out or a form had too many terms. */
int builder_finish(const struct builder *builder, struct error *err);

#endif
