/* The fine solution of every path: its points at any time, and its end. */
#ifndef TUNE_TEACHER_H
#define TUNE_TEACHER_H

#include "tune/engine.h"

enum { TEACHER_WINDOW = 6 }; /* points that a time between is interpolated from */

struct teacher {
    struct sampler sampler; /* resolved: rk4, or dpmpp-3m for a model of whole timesteps */
    struct plan plan;
    size_t points;   /* where the paths are kept: the starts of the plan's steps, and its last x where that has noise */
    double *u;       /* [points]: the interpolation's variable, lambda or, of a flow, t */
    double *x;       /* [points][paths][elements], those of this rank's blocks */
    double *samples; /* [paths][elements]: the ends */
    double error;    /* of the ends, rms over the first block, as half as many steps tell */
    double spread;   /* rms of the samples of the first block */
};

/* The plan alone, with which the engine starts. *teacher is to be given to teacher_release also on failure. */
int teacher_plan(struct teacher *teacher, const struct tuning *asked, struct error *err);
/* Collective: all paths. */
int teacher_run(struct teacher *teacher, struct engine *engine, struct error *err);
void teacher_release(struct teacher *teacher);

struct teacher_weights {
    size_t first, count; /* points first .. first + count - 1 */
    double weights[TEACHER_WINDOW];
};
/* How x at time t (above 0) is made of the points. */
struct teacher_weights teacher_at(const struct teacher *teacher, const struct schedule *schedule, double t);
/* out [elements] = x of one path. */
void teacher_x(const struct teacher *teacher, const struct engine *engine, const struct teacher_weights *at,
               size_t path, double *out);

/* A solver over a list of times with the rest as asked, compiled: -1 with CODE_DATA where there is none such. */
int tune_compile(struct sampler *resolved, struct plan *plan, const struct sampler *wanted, const struct card *card,
                 struct error *err);
/* What every sampler of a tuning has in common: guidance, clipping and the end. */
struct sampler tune_sampler(const struct tuning *asked, const char *solver);

#endif
