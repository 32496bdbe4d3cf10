/* What guidance makes of a network's two outputs, and where its scale is what. */
#ifndef SOLVER_GUIDANCE_H
#define SOLVER_GUIDANCE_H

#include "solver/builder.h"

/* The scale at t, where sigma/alpha is `ratio`; 1: it does not act; NAN: each sample has its own. */
double guidance_scale(const struct guidance *guidance, double t, double ratio);

/* It acts at every time, so that each call of the model has its twin. */
bool guidance_everywhere(const struct guidance *guidance);

/* out = guided output of `out` and `guide`, which is used up. x0: the model's x0 over x and `out`. */
void guidance_output(struct builder *builder, int out, int guide, double scale, const struct form *x0);

/* Options that make no sense together or with this network. adaptive: the solver chooses its own steps. */
int guidance_check(const struct guidance *guidance, const struct card *card, bool adaptive, struct error *err);

#endif
