/* What a job says of its sampler against its solver and its model. */
#ifndef SOLVER_SAMPLER_CHECK_H
#define SOLVER_SAMPLER_CHECK_H

#include "solver/registry.h"

/* CODE_DATA, naming the key: one that the solver does not take, an order it does not have, or a guidance or clipping
 * that the model cannot have. sampler: as the job has it, not resolved. */
int sampler_check(const struct sampler *sampler, const struct solver *solver, const struct card *card,
                  const struct schedule *schedule, struct error *err);
/* CODE_DATA where the model card->guide cannot guide this one. */
int sampler_check_guide(const struct card *card, const struct schedule *schedule, struct error *err);

#endif
