/* A list of runs, and behind each one what the other decoders of its job make of the latents that it keeps. */
#ifndef WORK_DECODERS_H
#define WORK_DECODERS_H

#include "work/pipeline.h"

/* pipeline_run, and where it ended well, or with quarantined shards, the same for every decoder behind the first of a
 * job's list: a run of its own in RUN/decoded/NAME (run/redecode.h), of which no sample is solved for. *results has
 * their results as "decoded": {NAME: ..., of a sweep CELL/NAME}. The first error is returned. */
int decoders_run(struct comm *comm, const json_t *list, const struct pipeline_options *options, json_t **results,
                 bool *lost, struct error *err);

#endif
