/* Noise schedules: x_t = alpha(t) x0 + sigma(t) z. All in double. Time t is the schedule's own: (0, 1] for continuous
 * ones, (n+1)/N for step n of discrete ones, sigma itself for edm (alpha = 1). logsnr is lambda = log(alpha/sigma),
 * half the log-SNR of other papers. All but edm, flow and tables of alphas and sigmas are variance-preserving: alpha^2
 * + sigma^2 = 1. Where alpha is 0 lambda is -infinity. */
#ifndef SOLVER_SCHEDULE_H
#define SOLVER_SCHEDULE_H

#include "base/error.h"
#include "job/card.h"
#include "job/sampler.h"

#include <stdbool.h>

struct schedule; /* const once made */

/* card: borrowed for the schedule's life. *schedule new. */
int schedule_new(struct schedule **schedule, const struct card *card, struct error *err);
void schedule_free(struct schedule *schedule);                          /* accepts NULL */
const struct schedule *schedule_guide(const struct schedule *schedule); /* of card->guide; NULL: there is none */

double schedule_alpha(const struct schedule *schedule, double t);
double schedule_sigma(const struct schedule *schedule, double t);
double schedule_logsnr(const struct schedule *schedule, double t);
double schedule_time(const struct schedule *schedule, double logsnr); /* inverse of schedule_logsnr */

bool schedule_is_discrete(const struct schedule *schedule); /* a table underneath */
/* The model takes whole steps n, and nothing between. */
bool schedule_has_integer_times(const struct schedule *schedule);
/* N of a discrete schedule or of a model with discrete time, whose step n stands at t = (n+1)/N; else 0. */
int schedule_steps(const struct schedule *schedule);
/* Times a sampler may start and end at: least <= t <= most. least is 0, not included, for continuous schedules. */
void schedule_range(const struct schedule *schedule, double *least, double *most);
bool schedule_time_is_sigma(const struct schedule *schedule); /* edm: alpha is 1, and t is sigma */
bool schedule_is_flow(const struct schedule *schedule); /* flow or gvp: from t = 1, where alpha is 0, to 0 exactly */
/* What unit normals are multiplied with to be the state at t, the start: 1 where variance is preserved, sigma at the
 * largest time of a flow, sigma of edm, hypot(alpha, sigma) of a table of both. */
double schedule_initial_scale(const struct schedule *schedule, double t);
double schedule_default_t_start(const struct schedule *schedule);
double schedule_default_t_end(const struct schedule *schedule);
/* Length of the step t -> s in a clock, > 0. */
double schedule_step(const struct schedule *schedule, enum clock_kind clock, double t, double s);
/* The number to pass to the model as t, by the card's time kind (and for c_noise by its preconditioning: edm ln(s)/4,
 * edm-vp 999 t, edm-ve ln(s/2), edm-iddpm the nearest step, with s = sigma/alpha). */
double schedule_model_time(const struct schedule *schedule, double t);

/* d alpha/dt and d sigma/dt, finite wherever alpha and sigma are. */
int schedule_slope(const struct schedule *schedule, double t, double *alpha, double *sigma, struct error *err);
/* Taylor coefficients, in the step h > 0 towards data, of alpha and sigma around t: in clock t of alpha(t - h), in
 * clock logsnr of alpha(lambda + h). alpha, sigma: [order + 1], new values; order >= 0. A discrete schedule in clock t
 * has none beyond order 1: an error. */
int schedule_series(const struct schedule *schedule, enum clock_kind clock, double t, int order, double *alpha,
                    double *sigma, struct error *err);
/* Radius of convergence of those series: the distance to the nearest singularity, in the clock's unit; infinite for
 * edm, and for a flow in clock t. Discrete schedules in clock t, and tables of alphas and sigmas: 0. */
double schedule_radius(const struct schedule *schedule, enum clock_kind clock, double t);

#endif
