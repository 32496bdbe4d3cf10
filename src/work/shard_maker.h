/* Making a shard: its samples and features, batch by batch, on one rank. */
#ifndef WORK_SHARD_MAKER_H
#define WORK_SHARD_MAKER_H

#include "base/error.h"
#include "cluster/cluster.h"
#include "cluster/comm.h"
#include "run/cells.h"

#include <signal.h>
#include <stdint.h>

/* What making samples took: struct tally's values. Its code is that of a conclusion. */
enum {
    MADE_SAMPLES,     /* those of a unit given out twice are counted once */
    MADE_EVALUATIONS, /* model evaluation points times batches, for the NFE of adaptive solvers */
    MADE_BATCHES,
    MADE_MODEL,       /* s, over workers: running the plan, which is the model and little else */
    MADE_WORKER,      /* s, over workers: all of it, features and writing too */
    MADE_FEATURELESS, /* shards whose features failed */
};

/* A worker's own: the executor of the cell it works at, and its buffers. */
struct maker {
    const struct cell *cell; /* NULL: none */
    struct executor *executor;
    double *x;       /* [batch][elements] */
    int device;
    const volatile sig_atomic_t *stop;
};
/* Leaves the cell it was at, whose memory is freed. samples: an executor is needed, and warmed up. */
int maker_move(struct maker *maker, const struct cell *cell, bool samples, struct error *err);
void maker_leave(struct maker *maker);

struct making; /* a shard that is being made on this rank; batches of it run side by side */
/* *making: new, also on failure (or NULL); its number of batches. What status says is good is not made again. */
int making_open(struct making **making, const struct cell *cell, shard_id shard, uint64_t *batches, struct error *err);
int making_batch(struct making *making, struct maker *maker, uint64_t batch, struct error *err);
/* A sample as it is stored, once its batch was made; borrowed. */
const void *making_row(const struct making *making, uint64_t row);
int making_commit(struct making *making, int worker, struct tally *tally, struct error *err);
void making_close(struct making *making); /* accepts NULL */

#endif
