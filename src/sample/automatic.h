/* What a job leaves to be measured: `batch: auto`, `workers: auto`, `sampler.guidance.batched: auto`. It is decided
 * once: by the run in the job's folder, or another cell of its sweep, or else by a measurement on this machine. */
#ifndef SAMPLE_AUTOMATIC_H
#define SAMPLE_AUTOMATIC_H

#include "base/error.h"
#include "job/card.h"
#include "job/job.h"

struct automatic {        /* what is known so far, for all cells of a sweep; begins with `cores` alone */
    int cores;            /* the most workers on the CPU */
    int batch, workers;   /* 0: not yet */
    enum batched batched; /* BATCHED_AUTO: not yet */
};
void automatic_init(struct automatic *automatic, int cores);
/* Takes what the run in this folder was made with, if there is one; *there: whether. CODE_DATA: no run has such a batch
 * or so many workers. */
int automatic_recall(struct automatic *automatic, bool *there, const char *dir, struct error *err);
/* Without a measurement, where there is no choice: a file of a fixed batch, a guide of its own. */
void automatic_settle_fixed(struct job *job, const struct card *card);
/* After that. Nothing is left to be measured in *job afterwards. automatic NULL: nothing is measured, the defaults are
 * taken, and job->unmeasured is set. Outside of parallel regions. */
int automatic_settle(struct automatic *automatic, struct job *job, const struct card *card, struct error *err);

#endif
