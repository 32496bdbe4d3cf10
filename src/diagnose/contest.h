/* Which grids and samplers a study compares. */
#ifndef DIAGNOSE_CONTEST_H
#define DIAGNOSE_CONTEST_H

#include "diagnose/study.h"

/* Both fill arrays of the study, which study_release frees, and are called by one thread. The grids, from the job's
 * sampler: before study_place. */
int contest_tracks(struct study *study, struct error *err);
/* The samplers on them, where they start with the path: after study_place. */
int contest_candidates(struct study *study, struct error *err);

#endif
