/* Making what is missing: the task that cluster_run spreads over ranks and workers. A unit is a shard. */
#ifndef RUN_PRODUCE_H
#define RUN_PRODUCE_H

#include "base/error.h"
#include "cluster/cluster.h"
#include "cluster/comm.h"
#include "run/document.h"
#include "run/scan.h"

#include <signal.h>
#include <stdint.h>

struct place { /* where this rank computes */
    int device;  /* SHIM_CPU or a CUDA index */
    int workers;
};

/* Collective. Chooses device and workers, refuses two ranks on one GPU unless the job allows it, and adds the hosts
 * (name, device, workers of each rank) to the document. */
int place_rank(struct comm *comm, struct run *run, struct place *place, struct error *err);

struct production { /* what happened; sums are over all ranks, and 0 when some were lost */
    uint64_t missing;      /* samples that were not on disk before */
    uint64_t samples;      /* computed now: those of a unit given out twice are counted twice */
    uint64_t evaluations;  /* model evaluation points times batches, for the NFE of adaptive solvers */
    uint64_t batches;
    double seconds;        /* from the first batch to the last commit, without loading */
    struct outcome outcome; /* quarantine freed by the caller */
};

/* Collective. Makes samples and features of every shard that status says is not good. lease: seconds of silence after
 * which a rank counts as dead. */
int produce(struct comm *comm, struct run *run, const struct shard_status *status, const struct place *place,
            double lease, volatile sig_atomic_t *stop, struct production *production, struct error *err);

#endif
