/* What is measured: set up once, filled batch by batch (each writes its own paths' numbers), read at the end. Every
 * number is a square, a mean over the elements of a sample, so that means over paths and their errors can be had of it.
 */
#ifndef DIAGNOSE_STUDY_H
#define DIAGNOSE_STUDY_H

#include "diagnose/derivative.h"
#include "diagnose/diagnose.h"
#include "diagnose/path.h"

#include <stdbool.h>

/* One step of the quasi-Taylor method, of every order that is compared. */
enum { METHODS = 9 };
struct method {
    enum clock_kind clock;
    double order;
};
extern const struct method methods[METHODS];

struct track { /* a grid at an NFE, as points of the path */
    enum grid_kind grid;
    double rho;
    int nfe;
    bool own;       /* the job's grid */
    bool to_zero;   /* a last step goes to sigma 0: x0 at the last point is the sample */
    size_t steps;   /* the others */
    double *times;  /* [steps + 1] */
    size_t *points; /* [steps + 1] */
    double *rho_mu; /* [steps][METHODS][2]: coefficients of x and epsilon; NAN where the clock has no such series */
    double *errors; /* [METHODS][steps][paths]: of one step from the path, in units of hypot(alpha, sigma) at its end */
    double *last;   /* [paths]: of the last step, to sigma 0 */
    double *level;  /* [steps][paths]: of epsilon at the step's start */
    double *change; /* [steps][paths]: of epsilon(end) - epsilon(start) */
};

enum { CLOCKS = 2 };
extern const enum clock_kind clocks[CLOCKS];

enum { NUDGES = 9 };
#define NUDGE 1e-3 /* of one to the next: relative in x, absolute in lambda */

/* Of a derivative: its true and its ideal value, their product and difference, and the finite difference's own error.
 */
enum quantity { TRUE2, IDEAL2, PRODUCT, MISS2, TRUNCATION2, NOISE2, QUANTITIES };
enum { SCORE_FIRST = PATH_ORDERS, KINDS = PATH_ORDERS + EPSILON_ORDERS }; /* x' x'' ... and then S' S'' ... */

struct probe { /* a place where derivatives are taken: the start of a step of the job's grid */
    double t;
    struct stencil stencil;
    size_t points[STENCIL_POINTS];
    bool has[CLOCKS];
    struct derivative_map maps[CLOCKS];
    double *values[CLOCKS][KINDS][QUANTITIES]; /* [paths] each */
    double *epsilon[EPSILON_ORDERS + 1];       /* [paths]: of epsilon and of its derivatives by lambda */
    double *doubt[EPSILON_ORDERS + 1];         /* [paths]: of their errors */
    struct plan nudged[NUDGES]; /* epsilon at t and at times so near that it moves by rounding and little else */
    double *noise;              /* [paths]: of the network's rounding, in epsilon */
};

struct candidate {          /* a sampler whose samples are compared with the fine ones */
    struct sampler sampler; /* resolved */
    struct plan plan;
    bool own;
    double *errors; /* [paths]; infinite where a sample is not finite */
};

struct study {
    const struct diagnosis *asked;
    struct schedule *schedule;
    struct path path;
    struct plan *asks; /* [path.count]: epsilon at a point; no ops where nobody wants it */
    size_t *last;      /* [path.count]: the point after which this one's x and epsilon are not needed */
    int x;             /* the register that asks read; epsilon is the next one */
    int registers;     /* of the largest plan */
    struct track *tracks;
    size_t tracks_count;
    struct probe *probes;
    size_t probes_count;
    struct candidate *candidates; /* [0]: the coarse solution */
    size_t candidates_count;
    double *samples; /* [paths][elements]: the fine ones */
    json_t *notes;   /* of texts */
};

/* In this order: begin; tracks (contest.h); place; candidates (contest.h); measure. Free it also when one fails. */
int study_begin(struct study *study, const struct diagnosis *asked, struct error *err);
/* The path through all tracks' times, where derivatives are taken, and the programs that ask for epsilon there. */
int study_place(struct study *study, struct error *err);
void study_release(struct study *study);
/* The track whose steps the tables over t follow: the job's own, or the first at its NFE. */
const struct track *study_main_track(const struct study *study);
/* A line for `notes`. */
int study_note(struct study *study, struct error *err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Fills all of it (measure.c), on threads of its own. */
int study_measure(struct study *study, struct error *err);

#endif
