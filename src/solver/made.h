/* What a table or a plan that is a file says of its own making ("made"), against what it is used with. */
#ifndef SOLVER_MADE_H
#define SOLVER_MADE_H

#include "base/error.h"
#include "base/text.h"
#include "job/job.h"
#include "solver/plan.h"

#include <jansson.h>

/* What a table is fitted to, of all that a run's samples follow from (a fingerprint's keys): its numbers of samples or
 * steps are not of it. New, or NULL when out of memory. */
json_t *made_keys(const json_t *keys);
/* The made.keys of the sampler's table, such ones; borrowed, NULL: it has none. */
const json_t *made_under(const struct sampler *sampler);

/* A line for each doubt about a resolved sampler's table or its plan that is a file: made.model_sha256 is another
 * model's than the job's file (there is none: not asked), made.table_sha256 is of other numbers, made.keys are others
 * than those of the job (keys: of its fingerprint; NULL: not asked), made.seeds has some of the job's. The model is
 * read only where there is a made.model_sha256. */
int made_doubts(struct text *doubts, const struct sampler *sampler, const struct plan *plan, const struct job *job,
                const json_t *keys, struct error *err);

#endif
