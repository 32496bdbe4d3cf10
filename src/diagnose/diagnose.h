/* Measures the premise of the quasi-Taylor method on a model: how near to constant epsilon is along a path of the
 * probability-flow ODE (the single-point approximation), how the ideal derivatives compare with the true ones, and what
 * that costs: the error of one step from the exact path, and that of whole samples. */
#ifndef DIAGNOSE_DIAGNOSE_H
#define DIAGNOSE_DIAGNOSE_H

#include "base/error.h"
#include "job/card.h"
#include "job/job.h"
#include "solver/plan.h"
#include "torch_shim.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct diagnosis {                 /* what is asked; all pointers borrowed */
    const struct sampler *sampler; /* resolved, not adaptive: its NFE, grid, range, guidance and clipping are meant */
    const struct card *card;
    struct shim_model *model, *guide; /* guide: as in executor_setup */
    int device, workers, batch;
    enum noise_kind noise;
    size_t paths;                        /* so many seeds */
    const uint64_t *seeds;               /* [paths] */
    const int64_t *labels;               /* [paths], or NULL */
    const struct conditions *conditions; /* as in executor_setup */
    const uint64_t *condition_rows;      /* [paths], or NULL */
};

/* In findings.c. Runs `workers` OpenMP threads of its own; not collective. *findings (new): docs/solvers.md, Diagnose.
 * What can't be measured on this model is left out, and `notes` says why. */
int diagnose(json_t **findings, const struct diagnosis *diagnosis, struct error *err);

#endif
