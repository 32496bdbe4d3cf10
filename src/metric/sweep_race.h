/* `sweep.race`: cells get their samples in rounds, and one that is surely worse than the best is left as it is. Pure
 * functions of the job and of the metrics. */
#ifndef METRIC_SWEEP_RACE_H
#define METRIC_SWEEP_RACE_H

#include "base/error.h"
#include "eval/precision.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct race {
    int metric;        /* index of race_metrics */
    double confidence; /* of a round's decisions together */
};

/* Metrics that have a value without each block of samples, lower is better; NULL at the end. */
extern const char *const race_metrics[];

/* value: {"metric", "confidence"}, each may be left out (fid, 0.95). file: for messages. CODE_DATA: a wrong key or
 * value. */
int race_read(struct race *race, const json_t *value, const char *file, struct error *err);

/* What a race asks of a cell. */
struct race_cell {
    const char *name;
    const json_t *job; /* resolved */
    uint64_t shard_rows;
    int model_calls; /* a sample; 0: the solver is adaptive */
};
/* Cells are compared by the same samples, sample by sample: they have the metric, the seeds, the evaluation and the
 * shards of the first, and more seeds than one round. CODE_DATA: not. file: for messages. */
int race_check(const struct race *race, const struct race_cell *cell, const struct race_cell *first, const char *file,
               struct error *err);

/* What its cells cost; {0} before the first. */
struct race_costs {
    size_t cells;
    double nfe;      /* of the first, as its job asks for it */
    int least, most; /* model calls a sample */
    bool unequal;    /* another NFE was asked for, or half as many calls again: all compete, so those with few lose */
};
void race_cost_add(struct race_costs *costs, const struct race_cell *cell);
/* Says so, and of a race of one cell that it is none. */
void race_warn(const struct race_costs *costs, const char *file);

/* How many samples there are after the round that follows the one with so many (0: the first), in whole shards: of a
 * race 1,000, 2,000, 5,000, 10,000, ..., else a quarter more each time from 1,000 on; at last all of them. */
uint64_t rounds_next(uint64_t samples, bool race, uint64_t shard_rows, uint64_t all);

/* A cell of a race in one round. */
struct racer {
    double numbers[1 + JACKKNIFE_BLOCKS]; /* of the metric: of all samples, and without each block of them */
    double delta, error, limit; /* to the leader: the paired difference, corrected for bias, its standard error, and the
                                   multiple of it above which it is left behind */
    bool out;
};
/* Fills the numbers of a round's result. CODE_DATA: it has none. */
int racer_read(struct racer *racer, const json_t *result, const char *metric, const char *cell, struct error *err);
/* The leader is the one with the least number. Out are those whose difference to it has an interval above 0: Student's
 * t with JACKKNIFE_BLOCKS - 1 degrees of freedom, two-sided, at `confidence` for all differences together (Bonferroni).
 * Returns the leader. */
size_t race_decide(struct racer *racers, size_t count, double confidence);
/* Has a race.json (work/pace.h) all that it is shown by? Where not, the words behind its name: */
bool race_is_record(const json_t *race);
#define RACE_UNREADABLE "is not the record of a race as a sweep writes it: remove it, or run the sweep again"
/* The value that Student's |t| with 19 degrees of freedom exceeds with this probability. */
double student_t19(double probability);

#endif
