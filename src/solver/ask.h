/* The network asked for epsilon at a place of the caller's choice. */
#ifndef SOLVER_ASK_H
#define SOLVER_ASK_H

#include "solver/plan.h"
#include "solver/schedule.h"

/* A program that reads x at time t from register x and leaves epsilon, with the sampler's guidance and clipping, in
 * register x + 1. It may use further ones behind (plan->registers of them in all); those before x stay as they are. */
int ask_compile(struct plan *plan, const struct schedule *schedule, const struct sampler *resolved,
                const struct card *card, double t, int x, struct error *err);

#endif
