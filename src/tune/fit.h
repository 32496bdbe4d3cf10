/* A linear multistep table fitted to the teacher on a grid. */
#ifndef TUNE_FIT_H
#define TUNE_FIT_H

#include "job/multistep.h"
#include "tune/teacher.h"

enum { FIT_STEPS = 200 }; /* at most */

struct fit {
    size_t steps;
    double times[FIT_STEPS + 1];
    int order; /* evaluations a step, at most */
    enum multistep_kind kind;
    double a[FIT_STEPS], b[FIT_STEPS][TUNE_ORDERS];
    double *errors; /* [paths]: mean squares over elements of the end's distance to the teacher's; owned */
};

/* Collective. times: [steps + 1], the last 0 where the sample is made there. *fit new; a table that does not stay
 * finite has infinite errors. */
int fit_run(struct fit *fit, struct engine *engine, const struct teacher *teacher, const double *times, size_t steps,
            int order, struct error *err);
void fit_release(struct fit *fit);
json_t *fit_table(const struct fit *fit); /* new; NULL: out of memory */

/* Root of the mean of errors of paths first .. first + count - 1. */
double fit_rms(const double *errors, size_t first, size_t count);

#endif
