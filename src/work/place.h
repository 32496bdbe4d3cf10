/* Where this process computes: its device and its workers. */
#ifndef WORK_PLACE_H
#define WORK_PLACE_H

#include "base/error.h"
#include "cluster/comm.h"
#include "job/job.h"

#include <jansson.h>

struct place {              /* of this rank */
    int device;             /* SHIM_CPU or a CUDA index */
    int workers;            /* threads */
    int ranks, all_workers; /* of the whole job */
};

/* Not collective. The device for what a job or an option asks for: SHIM_CPU, or the GPU of the rank with this number
 * on its node, round robin over those that this process sees. cuda where it sees none is CODE_DATA (*device is
 * SHIM_CPU); key: how the message begins ("device:", "--device"). */
int place_device(enum device_kind kind, int local_rank, const char *key, int *device, struct error *err);

/* Collective, outside of parallel regions. Chooses device and workers; two ranks on one GPU are CODE_DATA unless the
 * job shares it. *hosts (new; NULL on failure), for run.json, an object a rank: rank, host, device, machine,
 * workers. */
int place_rank(struct comm *comm, const struct job *job, struct place *place, json_t **hosts, struct error *err);

#endif
