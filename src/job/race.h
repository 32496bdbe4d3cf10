/* `sweep.race`: cells get their samples in rounds, and one that is surely worse than the best is left as it is. */
#ifndef JOB_RACE_H
#define JOB_RACE_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct race {
    bool on;           /* the sweep is one */
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
};
/* Cells are compared by the same samples, sample by sample: they have the metric, the seeds, the evaluation and the
 * shards of the first, and more seeds than one round. CODE_DATA: not. file: for messages. */
int race_check(const struct race *race, const struct race_cell *cell, const struct race_cell *first, const char *file,
               struct error *err);

/* How many samples there are after the round that follows the one with so many (0: the first), in whole shards: of a
 * race 1,000, 2,000, 5,000, 10,000, ..., else a quarter more each time from 1,000 on; at last all of them. */
uint64_t rounds_next(uint64_t samples, bool race, uint64_t shard_rows, uint64_t all);

#endif
