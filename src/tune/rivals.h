/* The best that the registry has at an NFE. */
#ifndef TUNE_RIVALS_H
#define TUNE_RIVALS_H

#include "tune/teacher.h"

struct rival {
    json_t *sampler; /* as a job has it, without what the job says already; owned */
    double *errors;  /* [paths]: as in struct fit; owned */
    size_t tried;
};

/* Collective. Every solver of the ODE, of the usual grids and orders, with at most this NFE: on the paths that choose,
 * and the best of them on all. *rival new. -1 with CODE_DATA where none is left. */
int rivals_best(struct rival *rival, struct engine *engine, const struct teacher *teacher, int nfe, struct error *err);
void rival_release(struct rival *rival);

#endif
