/* The schedules one by one, behind schedule.h: a new one is a row of schedule_kinds in schedules.c (and a kind in
 * job/card.h). */
#ifndef SOLVER_SCHEDULES_H
#define SOLVER_SCHEDULES_H

#include "solver/schedule.h"
#include "solver/table.h"

/* What differs from schedule to schedule. Everything that can be, is computed without cancellation. */
struct schedule_functions {
    double (*alpha)(const struct schedule *, double t);
    double (*sigma)(const struct schedule *, double t);
    double (*logsnr)(const struct schedule *, double t);
    double (*time)(const struct schedule *, double logsnr);
    /* alpha(t - h) and sigma(t - h), clock t */
    int (*series)(const struct schedule *, double t, int order, double *alpha, double *sigma, struct error *err);
    double (*radius)(const struct schedule *, double t);
    /* The same two in clock logsnr, of alpha(lambda + h) and sigma(lambda + h). */
    int (*logsnr_series)(const struct schedule *, double t, int order, double *alpha, double *sigma, struct error *err);
    double (*logsnr_radius)(const struct schedule *, double t);
    double t_start; /* the default; 0: the largest time there is */
    /* What unit normals are multiplied with to be the start: 1, where variance is preserved; sigma, where noise alone
     * is the start (of a flow) or next to alone (of edm); or what data of variance 1 has there. */
    enum { SCALE_UNIT, SCALE_SIGMA, SCALE_NORM } scale;
};

struct schedule {
    const struct card *card;
    const struct schedule_functions *kind;
    struct table table; /* discrete ones; else empty */
    struct schedule *guide;
};

const struct schedule_functions *schedule_functions_of(const struct card *card);
bool schedule_kind_has_table(const struct schedule_functions *kind);
/* Time of EDM's linear process (beta_min, beta_d = beta1 - beta0) at which lambda is this. */
double linear_inverse(double beta0, double beta1, double logsnr);

#endif
