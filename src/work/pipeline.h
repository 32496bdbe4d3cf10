/* A list of runs from start to finish: scan what is there, make what is missing, read it back, evaluate, report. */
#ifndef WORK_PIPELINE_H
#define WORK_PIPELINE_H

#include "base/error.h"
#include "cluster/comm.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct pipeline_options {
    bool make_samples; /* false: missing samples are an error that names the gap (`evaluate`) */
    bool only_decode;  /* makes samples of kept latents alone; missing ones are an error that names the gap */
    bool evaluate;     /* features and metrics, where the job has an `evaluate:` block */
    bool dry_run;      /* nothing is made or written; *results are dry_run's (work/dry_run.h) */
    uint64_t count;    /* evaluates only the first so many samples; 0: as many as the job says */
};

/* Collective, outside of parallel regions. list: see cells.h; the same text on every rank. The signals' flag
 * (base/signals.h) stops it with CODE_AGAIN. *results (new; rank 0 only, else NULL): see cells_results; of a sweep
 * also on failure, with what was concluded. A cell with quarantined shards, or one that can't be evaluated, does not
 * stop the others; CODE_QUARANTINE then says so at the end. *lost: some rank died, so nothing collective may follow,
 * MPI_Finalize included. Opens and closes this rank's log file. */
int pipeline_run(struct comm *comm, const json_t *list, const struct pipeline_options *options, json_t **results,
                 bool *lost, struct error *err);

#endif
