/* The grids that are fitted on: families of times with one number each, and their gaps stretched. */
#ifndef TUNE_GRIDS_H
#define TUNE_GRIDS_H

#include "tune/engine.h"

enum grid_family { FAMILY_T, FAMILY_RATIO, FAMILY_LOGSNR }; /* uniform in t^(1/rho), (sigma/alpha)^(1/rho), lambda */
struct grid_of {
    enum grid_family family;
    double rho;
};

/* Those to try on this schedule, new [*count]. */
int grids_list(struct grid_of **grids, size_t *count, const struct engine *engine, struct error *err);
/* Gaps that a stretch moves: one more than the numbers in it. 0: there is nothing to move. */
size_t grids_gaps(const struct engine *engine, size_t steps);
/* times: [steps + 1] from the sampler's t_start to its end, 0 where the sample is made there. stretch: [gaps - 1]
 * logarithms of gaps by the last one, or NULL. False: there is no such grid (too many steps for whole timesteps). */
bool grids_make(const struct engine *engine, const struct grid_of *grid, size_t steps, const double *stretch,
                double *times);
/* "quadratic in t"; as long as the longest needs. */
enum { GRID_TEXT = 64 };
void grids_name(const struct grid_of *grid, char text[GRID_TEXT]);

#endif
