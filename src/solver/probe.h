/* A plan tried on data it can be followed exactly on: x0 ~ N(0, width^2), where epsilon = sigma x/(alpha^2 width^2 +
 * sigma^2), so that every register is a linear form of the start and the noises. What is unstable at few steps shows
 * here, before a model is run. */
#ifndef SOLVER_PROBE_H
#define SOLVER_PROBE_H

#include "solver/plan.h"

enum { PROBES = 2 };
/* Samples so many times as wide as the data are warned of. EDM's Heun on CIFAR-10 has 25 at NFE 5, where its FID is
 * 320, and 2.8 at 9, where it is about 20; two steps of DDIM have 0.16. */
#define PROBE_WIDE 4
#define PROBE_NARROW 0.05
extern const double probe_widths[PROBES]; /* that of images as a whole, and of what they vary by in one direction */

/* Standard deviation of the samples on data of probe_widths[which]. slopes: of every EVAL in order, its output by its
 * input there. Clamps are left out, learned variance is in the middle. The streams of NOISE count from 1 to at most the
 * number of these ops. */
int probe_deviation(const struct plan *plan, const double (*slopes)[PROBES], int which, double *deviation,
                    struct error *err);
/* The same, and what is left of the data's mean in that of the samples. offsets: of every EVAL, what the mean adds to
 * its output. */
int probe_samples(const struct plan *plan, const double (*slopes)[PROBES], const double (*offsets)[PROBES], int which,
                  double *deviation, double *mean, struct error *err);

#endif
