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
    size_t tables;       /* that were asked, of which table is the best */
    size_t samples;      /* that the FIDs of these two are of */
    json_t *delta;       /* judge_compare of table against rival; NULL: one has no FID; owned */
};

/* Collective. Up to asked->samples samples each; fewer, where a table is ahead beyond doubt. To be given to
 * race_release also on failure, which releases what the contestants were judged by. */
int race_run(struct race *race, struct engine *engine, struct error *err);
/* How many paired standard errors the best table has to lead by, 1 where it was the only one: so many that of tables
 * of which none is better the best seems so no oftener than a single one that leads by one. The best rival is the
 * one that the same FIDs say, which is against the tables. */
double race_margin(const struct race *race);
bool race_won(const struct race *race);
void race_release(struct race *race);
double race_fid(const struct contestant *contestant); /* corrected; infinite where there is none */

#endif
