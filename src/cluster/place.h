/* Where this process computes: its device and its workers. */
#ifndef CLUSTER_PLACE_H
#define CLUSTER_PLACE_H

#include "base/error.h"
#include "cluster/comm.h"
#include "job/job.h"

#include <jansson.h>

struct place {              /* of this rank */
    int device;             /* SHIM_CPU or a CUDA index */
    int workers;            /* threads */
    int ranks, all_workers; /* of the whole job */
};

/* Not collective. Cores of this rank: the launcher's binding, or an even share of the node where it bound none. */
int place_cores(const struct comm *comm);

/* Collective, outside of parallel regions. Chooses device and workers; two ranks on one GPU are CODE_DATA unless the
 * job shares it. *hosts (new; NULL on failure), for run.json, an object a rank: rank, host, device, machine,
 * workers. */
int place_rank(struct comm *comm, const struct job *job, struct place *place, json_t **hosts, struct error *err);

#endif
