/* Where a sampler evaluates: model times that go down from t_start to t_end. */
#ifndef SOLVER_GRID_H
#define SOLVER_GRID_H

#include "base/error.h"
#include "solver/schedule.h"

/* points: [count], filled with decreasing times from t_start to t_end; count - 1 steps between them (count may be 1:
 * t_start alone). leading, linspace and trailing are diffusers' integers over all trained steps instead, whatever
 * t_start and t_end. A list must have `count` numbers. Under final: acp0 the last point is the first trained step, and
 * the grid makes the others. Then sampler.shift moves them all. Models with integer times get the nearest times of
 * distinct integers; more points than integers is an error. */
int grid_make(const struct schedule *schedule, const struct sampler *sampler, int count, double *points,
              struct error *err);

int grid_list_count(const struct sampler *sampler); /* of a list: the points it stands for */
/* A list's point i as a time; -1 with CODE_DATA where the schedule has no such time. */
int grid_listed(const struct schedule *schedule, const struct sampler *sampler, int i, double *t, struct error *err);

#endif
