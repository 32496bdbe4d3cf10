/* A sweep from start to finish: its cells are made one after the other by all ranks, the dearest first, and evaluated side by
 * side, a cell a rank. */
#ifndef RUN_CELLS_H
#define RUN_CELLS_H

#include "job/sweep.h"
#include "run/pipeline.h"

/* Collective. sweep: at rank 0 (the others' is not looked at). job_path: of the job file. *results (new, rank 0 only) is
 * what DIR/results.json holds: {"dir", "keys": [...], "cells": [{"cell", the sweep's keys, "nfe", ...}]}. Every cell's plan is
 * made before any sample; cells that mean the same samples are computed once ("same_as"). A cell with quarantined
 * shards is left out and is CODE_QUARANTINE at the end. *lost: as in pipeline_run. */
int cells_run(struct comm *comm, const char *job_path, const struct sweep *sweep, const struct pipeline_options *options,
              json_t **results, bool *lost, struct error *err);

#endif
