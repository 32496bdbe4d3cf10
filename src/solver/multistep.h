/* Solvers that are tables of coefficients. */
#ifndef SOLVER_MULTISTEP_H
#define SOLVER_MULTISTEP_H

#include "base/error.h"
#include "job/sampler.h"
#include "solver/schedule.h"

/* The grid of a sampler whose solver is a table. CODE_DATA where another has a table, this one none, or other keys say
 * another grid. */
int multistep_resolve(struct sampler *sampler, const struct schedule *schedule, struct error *err);

#endif
