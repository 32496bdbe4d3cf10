/* The best that the registry has at an NFE. */
#ifndef TUNE_RIVALS_H
#define TUNE_RIVALS_H

#include "tune/teacher.h"

enum { RIVALS = 10 };
struct rival {
    json_t *sampler; /* as a job has it, without what the job says already; owned */
    struct plan plan;
    double *errors; /* [paths], of those that judge: as in struct fit; owned */
    double error;   /* rms over judging paths */
};
struct rivals {
    struct rival list[RIVALS]; /* the nearest first */
    size_t count, tried;
};

/* Collective. Every solver of the ODE, of the usual grids and orders, with at most this NFE: on some of the paths
 * that choose, and the best of them on those that judge. *rivals new. -1 with CODE_DATA where none is left. */
int rivals_best(struct rivals *rivals, struct engine *engine, const struct teacher *teacher, int nfe,
                struct error *err);
void rivals_release(struct rivals *rivals);

#endif
