/* Drives rk45 (solver/rk45.h) over one batch: executes a fragment, measures the norms it asks for, and hands them back
 * until the end is reached. Steps are chosen for the batch as a whole, so a sample depends on its batch. */
#ifndef SAMPLE_ADAPTIVE_H
#define SAMPLE_ADAPTIVE_H

#include "sample/registers.h"
#include "solver/plan.h"

struct adaptive;

/* rtol and atol are the sampler's. sampler, card: borrowed for its life. *adaptive new. */
int adaptive_new(struct adaptive **adaptive, const struct sampler *resolved, const struct card *card,
                 struct shim_shape shape, struct error *err);
void adaptive_free(struct adaptive *adaptive); /* accepts NULL */

/* What a batch begins with; borrowed until the next call. */
int adaptive_first(struct adaptive *adaptive, const struct plan **fragment, struct error *err);

/* Register 0 is x at the start and the sample at the end. rows: the real ones, which alone are measured. execute runs a
 * fragment's ops on the registers. *nfe: model evaluation points spent. A norm that is not finite is CODE_DATA. */
int adaptive_run(struct adaptive *adaptive, struct registers *registers, size_t rows,
                 int (*execute)(void *context, const struct plan *fragment, struct error *err), void *context, int *nfe,
                 struct error *err);

#endif
