/* A discrete schedule: lambda = log(alpha/sigma) at the trained steps n = 0..N-1, which stand at t_n = (n+1)/N, and a
 * monotone cubic between them (Fritsch and Carlson 1980 with the slopes of Fritsch and Butland 1984). */
#ifndef SOLVER_TABLE_H
#define SOLVER_TABLE_H

#include "base/error.h"
#include "job/card.h"

#include <stdbool.h>

struct table {
    int steps;      /* N */
    double *logsnr; /* [N], falling, the last perhaps -infinity (alpha = 0); owned */
    double *slope;  /* [N], d logsnr/dn at the steps; owned */
    double *norm;   /* [N], hypot(alpha, sigma), linear between the steps; NULL: 1. Owned */
};

/* Of a card with a discrete or table schedule. A table that does not fall inside (0, 1) is an error. */
int table_init(struct table *table, const struct card *card, struct error *err);
void table_release(struct table *table);

double table_logsnr(const struct table *table, double t); /* t outside [1/N, 1] counts as the nearer end */
double table_slope(const struct table *table, double t);  /* d logsnr/dt */
/* Where alpha falls to 0: in front of the last step it is cos(angle) times the norm, and the angle goes straight to
 * pi/2. *turn: d angle/dt. False elsewhere. */
bool table_angle(const struct table *table, double t, double *angle, double *turn);
double table_norm(const struct table *table, double t);
double table_norm_slope(const struct table *table, double t); /* of the side towards data */
double table_time(const struct table *table, double logsnr);  /* inverse of table_logsnr */

#endif
