/* Which sampler has the lowest FID: rounds of more and more samples, after each of which the worst leave. */
#ifndef TUNE_RACE_H
#define TUNE_RACE_H

#include "tune/judge.h"

struct contestant {
    const struct plan *plan; /* borrowed */
    bool table;              /* else of the registry */
    bool out;
    struct judged judged;
};

struct race {
    struct contestant *list; /* [count], both kinds; borrowed */
    size_t count;
    size_t table, rival; /* the best of each kind: places in the list */
    size_t samples;      /* that the FIDs of these two are of */
    json_t *delta;       /* judge_compare of table against rival; NULL: one has no FID; owned */
};

/* Collective. Up to asked->samples samples each; fewer, where a table is ahead beyond doubt. To be given to
 * race_release also on failure, which releases what the contestants were judged by. */
int race_run(struct race *race, struct engine *engine, struct error *err);
void race_release(struct race *race);
double race_fid(const struct contestant *contestant); /* corrected; infinite where there is none */

#endif
