/* Runs that get their samples in rounds: until the FID's error is small enough (evaluate.until), or as cells of a race
 * (sweep.race). What a round came to is in DIR/rounds/SAMPLES.json, in the form of metrics.json; the decisions below
 * are functions of these files alone, and they are of the samples: so every job, on any number of ranks, decides alike.
 */
#ifndef WORK_ROUNDS_H
#define WORK_ROUNDS_H

#include "base/error.h"
#include "eval/precision.h"
#include "run/run.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUNDS_FOLDER "rounds"

char *rounds_path(const struct run *run, uint64_t samples); /* new */
/* New: what the round with so many samples came to. */
int rounds_read(json_t **result, const struct run *run, uint64_t samples, struct error *err);
/* Adds to a "generation" of metrics.json ({}: none) those of the rounds of at most as many samples as the run has.
 * Returns `own`, or json_null in its place where it stays empty. */
json_t *rounds_generation(const struct run *run, json_t *own);

/* A cell of a race in one round. */
struct racer {
    double value, without[JACKKNIFE_BLOCKS]; /* of the metric: of all samples, and without each block of them */
    double delta, error, limit; /* to the leader: the paired difference, corrected for bias, its standard error, and the
                                   multiple of it above which it is left behind */
    bool out;
};
/* Fills value and without of a round's result. CODE_DATA: it has none. */
int racer_read(struct racer *racer, const json_t *result, const char *metric, const char *cell, struct error *err);
/* The leader is the one with the least value. Out are those whose difference to it has an interval above 0: Student's t
 * with JACKKNIFE_BLOCKS - 1 degrees of freedom, two-sided, at `confidence` for all differences together (Bonferroni).
 * Returns the leader. */
size_t race_decide(struct racer *racers, size_t count, double confidence);
/* The value that Student's |t| with 19 degrees of freedom exceeds with this probability. */
double student_t19(double probability);

#endif
