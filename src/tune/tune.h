/* Fits a few-step sampler to a model: its own paths, finely integrated, take the place of the ideal derivatives. For
 * each number of evaluations (NFE) a table of coefficients (job/multistep.h) is fitted step by step by least squares
 * along the student's own states, over several grids; the best one's times are polished; and on paths that neither saw
 * it is compared with the best solver of the registry. Design: linear multistep samplers fitted to a teacher, as Wang
 * et al. 2025 (arXiv 2505.21114) search them, but by regression and without gradients. */
#ifndef TUNE_TUNE_H
#define TUNE_TUNE_H

#include "base/error.h"
#include "cluster/comm.h"
#include "job/card.h"
#include "job/job.h"
#include "torch_shim.h"

#include <jansson.h>

enum { TUNE_NFES = 32, TUNE_ORDERS = 4 };

struct tuning {                    /* what is asked; all pointers borrowed */
    const struct sampler *sampler; /* resolved, not adaptive: its range, final, guidance and clipping are meant */
    const struct card *card;
    struct shim_model *model, *guide; /* guide: as in executor_setup */
    struct comm *comm;
    int device, workers, batch;
    enum noise_kind noise;
    size_t fit, select, judge; /* paths: to fit coefficients, to choose with, and to compare with */
    const uint64_t *seeds;     /* [fit + select + judge] */
    const int64_t *labels;     /* the same, or NULL */
    int teacher;               /* steps of the fine solution */
    int order;                 /* of the fit: so many evaluations a step at most, 1 to TUNE_ORDERS; 0: chosen */
    int nfes[TUNE_NFES];
    size_t nfes_count;
};

/* Collective; the same on every rank and for any number of them. *found (new): {"teacher": {solver, nfe, error},
 * "paths": {fit, select, judge}, "tuned": [{"nfe", "error", "error_se", "grid", "order", "polished", "table", "rival":
 * {sampler, error}, "ratio", "ratio_se", "wins"}, ...], "model_rows"}: errors are rms over elements and judging paths
 * of end points to the teacher's, table as multistep_read takes it. */
int tune(json_t **found, const struct tuning *tuning, struct error *err);

#endif
