/* Making a shard: its samples and features, batch by batch, on one rank. Nothing here is collective. A making may be
 * used by several workers at once where its functions say so; a maker belongs to one worker. Errors name the run and
 * the shard. */
#ifndef WORK_SHARD_MAKER_H
#define WORK_SHARD_MAKER_H

#include "base/error.h"
#include "cluster/cluster.h"
#include "cluster/comm.h"
#include "run/cells.h"
#include "sample/execute.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* What making samples took: struct tally's values. Its code is that of a conclusion. */
enum {
    MADE_SAMPLES,     /* those of a unit given out twice are counted once */
    MADE_EVALUATIONS, /* model evaluation points times batches, for the NFE of adaptive solvers */
    MADE_BATCHES,
    MADE_MODEL,       /* s, over workers: running the plan, which is the model and little else */
    MADE_DECODER,     /* s, over workers: decoding */
    MADE_WORKER,      /* s, over workers: all of it, features and writing too */
    MADE_FEATURELESS, /* shards whose features failed */
};

/* A worker's own: the executor of the cell it works at, and its buffers. {.device, .stop} is an empty one. */
struct maker {
    const struct cell *cell; /* NULL: none */
    struct plan plan;        /* the cell's, as long as there is an executor */
    struct executor *executor;
    struct decoding *decoding;         /* NULL: the samples are what the model makes */
    double *x;                         /* [batch][elements]: what the solver ends with, of the batch it makes */
    int device;                        /* SHIM_CPU or a CUDA index */
    const volatile sig_atomic_t *stop; /* 1: batches end with CODE_AGAIN; NULL: never */
};
/* Frees what belongs to the cell it was at, if that is another one, and gets ready for this one; solves: with an
 * executor, warmed up; decodes: with what its decoder needs, if it has one. Called by the worker itself. */
int maker_move(struct maker *maker, const struct cell *cell, bool solves, bool decodes, struct error *err);
void maker_leave(struct maker *maker); /* frees it all; it may move again */

struct making; /* a shard that is being made on this rank; batches of it run side by side */
/* By one worker. *making: new, also on failure (NULL: out of memory); *batches: how many are to be made, 0 where all
 * files are there. Good files are not made again, whether the scan at the start found them or they came since. */
int making_open(struct making **making, const struct cell *cell, shard_id shard, uint64_t *batches, struct error *err);
bool making_refused(const struct making *making); /* why making_open failed: another job's work is in its place */
/* What the executor is given for a batch of it; borrowed. */
struct batch making_inputs(const struct making *making, uint64_t batch);
/* By several workers, each with its own maker and another batch. Samples that fail are an error, which of decoding is
 * making_commit's where latents are to be kept; features that fail are logged, and the shard is kept without. */
int making_batch(struct making *making, struct maker *maker, uint64_t batch, struct error *err);
/* A sample of the shard as it is stored (run_npy's type and shape without the first axis), once its batch was made;
 * borrowed. NULL: its picture failed, *err says why. */
const void *making_row(const struct making *making, uint64_t row, struct error *err);
/* By one worker, after all batches: writes the files that were made. tally: zeros before. CODE_IO: the disk;
 * CODE_DATA: the folder is another run's now, or (making_undecoded) some picture failed, and just latents were written.
 */
int making_commit(struct making *making, int worker, struct tally *tally, struct error *err);
bool making_undecoded(const struct making *making);
void making_close(struct making *making); /* accepts NULL */

#endif
