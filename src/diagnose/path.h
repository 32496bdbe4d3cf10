/* The fine solution that everything is measured against: points from the sampler's t_start down to t_end, and a plan
 * that goes through all of them. */
#ifndef DIAGNOSE_PATH_H
#define DIAGNOSE_PATH_H

#include "solver/plan.h"
#include "solver/schedule.h"

struct path {
    struct plan plan;   /* rk4 in logsnr, or in t where that is sigma; dpmpp-3m over all trained steps for a model that
                           knows no times between them */
    struct plan coarse; /* the same through every second point, and on to sigma 0 where the sampler goes there: a whole
                         * sampler, which tells how fine the fine one is */
    double *times;      /* [count], falling */
    size_t count;
    size_t *parts; /* [count]: the plan's ops before parts[i] lead to point i */
};

/* Fills *path, to be given to path_release. Through `wanted` (in any order, inside t_start..t_end) and as many more
 * points as keep steps below 0.1 in lambda. */
int path_make(struct path *path, const struct schedule *schedule, const struct sampler *resolved,
              const struct card *card, const double *wanted, size_t wanted_count, struct error *err);
void path_release(struct path *path);
size_t path_find(const struct path *path, double t); /* the point nearest to t */
/* The ops from point i to point i + 1; borrowed from the path. */
struct plan path_part(const struct path *path, size_t i);

#endif
