/* What a table or a plan that is a file says of its own making ("made"), against what it is used with. */
#ifndef SOLVER_MADE_H
#define SOLVER_MADE_H

#include "base/error.h"
#include "base/text.h"
#include "job/sampler.h"
#include "solver/plan.h"

/* A line for each doubt about a resolved sampler's table or its plan that is a file: made.model_sha256 is another
 * model's than the file at `model` (NULL, or nothing there: not asked), made.table_sha256 is of other numbers. The
 * model is read only where there is a made.model_sha256. */
int made_doubts(struct text *doubts, const struct sampler *sampler, const struct plan *plan, const char *model,
                struct error *err);

#endif
