/* A job's own metric as the judge: the FID of a sampler's samples of other seeds, in the job's feature network. */
#ifndef TUNE_JUDGE_H
#define TUNE_JUDGE_H

#include "tune/engine.h"

struct judged {
    struct side side; /* the features */
    double *features; /* [count][dim]; owned */
    size_t count;     /* samples */
    json_t *values;   /* of score(): fid, fid_corrected, fid_error, ...; owned */
};

/* Collective. The samples that `plan` makes of the first so many seeds behind the paths'; *judged has those of fewer (a
 * multiple of the engine's block), at first none ({0}), and is to be given to judge_release also on failure. A sampler
 * whose samples are not finite has values NULL. */
int judge_plan(struct judged *judged, struct engine *engine, const struct plan *plan, size_t samples,
               struct error *err);
/* Collective: what score_difference says of one against another. *values new. */
int judge_compare(json_t **values, const struct engine *engine, const struct judged *one, const struct judged *other,
                  struct error *err);
void judge_release(struct judged *judged);

#endif
