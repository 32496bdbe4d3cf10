/* Fits a few-step sampler to a model: its own paths, finely integrated, take the place of the ideal derivatives. For
 * each number of evaluations (NFE) a table of coefficients (job/multistep.h) is fitted step by step by least squares
 * along the student's own states, over several grids; the best one's times are polished; and on paths that neither saw
 * it is compared with the best solver of the registry. Design: linear multistep samplers fitted to a teacher, as Wang
 * et al. 2025 (arXiv 2505.21114) search them, but by regression and without gradients. */
#ifndef TUNE_TUNE_H
#define TUNE_TUNE_H

#include "base/error.h"
#include "cluster/comm.h"
#include "eval/network.h"
#include "eval/side.h"
#include "job/card.h"
#include "job/job.h"
#include "torch_shim.h"

#include <jansson.h>

enum { TUNE_NFES = 32, TUNE_ORDERS = 4 };

struct tuning {                    /* what is asked; all pointers borrowed */
    const struct sampler *sampler; /* resolved, not adaptive: its range, final, guidance and clipping are meant */
    const struct card *card;
    struct shim_model *model, *guide; /* guide: as in executor_setup */
    struct comm *comm;                /* NULL: this process alone */
    int device, workers, batch;
    enum noise_kind noise;
    size_t fit, select, judge;           /* paths: to fit coefficients, to choose with, and to compare with */
    const uint64_t *seeds;               /* [fit + select + judge + samples], one after another */
    const int64_t *labels;               /* the same, or NULL */
    const struct conditions *conditions; /* as in executor_setup */
    const uint64_t *condition_rows;      /* as many as seeds, or NULL */
    size_t samples;                      /* that FIDs are of; 0: there are none */
    const struct network *network;       /* loaded; with the next two, where samples > 0 */
    const struct side *reference;        /* factored for FID */
    struct shim_model *decoder;          /* of the card's decoder, of whose pictures the FIDs are; NULL: it has none */
    int decoder_batch;                   /* pictures a call */
    enum rounding rounding;
    bool thorough; /* every solver of the registry, all grids, the best times polished, FIDs in rounds; else a few of
                    * each, for a hundredth of it */
    int teacher;   /* steps of the fine solution */
    int order;     /* of the fit: so many evaluations a step at most, 1 to TUNE_ORDERS; 0: chosen */
    int nfes[TUNE_NFES];
    size_t nfes_count;
    const char *folder;   /* where what is computed is kept (kept.h), to go on with; NULL: nowhere */
    const char *identity; /* all that decides of the samples besides what is here, as a text, where there is a folder */
};

/* CODE_DATA: a sampler that no finer solution is a teacher of. */
int tune_possible(const struct sampler *sampler, struct error *err);
/* Collective; the same on every rank and for any number of them. *found (new): {"teacher": {solver, nfe, error,
 * spread}, "paths": {fit, select, judge}, "samples", "tuned": [{"nfe", "error", "grid", "order", "polished", "table",
 * "samples": of the FIDs, "seeds": of paths and samples, "chosen_by": {metric, samples, reference_sha256}, "fid",
 * "rival": {sampler, error, tried, fid}, "ratio", "ratio_error", "delta", "margin", "wins"}, ...], "model_rows",
 * "calls": of the model an evaluation}. Errors are rms over elements and judging paths of end points to the teacher's;
 * table is as multistep_read takes it; with samples, fid is score()'s, delta score_difference's, and a table wins whose
 * FID is lower by more than margin (race.h) times the difference's error; without them one whose ratio is below 1 by
 * more than its error. */
int tune(json_t **found, const struct tuning *tuning, struct error *err);
/* Collective: what could be gained at the first NFE. *found (new): {"nfe", "paths": as above, "registry": {"sampler",
 * "error", "uncertainty"} of the nearest of its solvers, "orders": [{"order", "grid", "error", "uncertainty"}, ...]} of
 * the best fits of orders 1 to 3, as errors of end points on judging paths, with their standard errors over these. A
 * fit of order 1 is about the most that a formula can do which sees the present x and evaluation alone. */
int tune_gains(json_t **found, const struct tuning *tuning, struct error *err);

#endif
