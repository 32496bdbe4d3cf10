/* What a run would do, said without doing it: what is there, what is missing, who would make it and how long that takes
 * by a measured speed. Nothing is written. */
#ifndef WORK_DRY_RUN_H
#define WORK_DRY_RUN_H

#include "cluster/comm.h"
#include "run/cells.h"
#include "cluster/place.h"

/* Collective, outside of parallel regions, after a scan of the cells (`missing`, `solves` and `status` are filled in).
 * Loads and proves what a run would, and times the model's calls. *results: new at rank 0, NULL elsewhere:
 *   {"dry_run": true, "dir", "sweep", "ranks", "workers" of all ranks, "device", "busy": another job is at work there,
 *    "missing": samples, "bytes" of them before compression, "free_bytes" of the disk, "seconds": solving alone, null
 *    where nothing is solved,
 *    "cells": [{"cell", "run", "solver", "nfe", "model_calls", "samples", "missing", "shards", "shards_missing",
 *    "shards_bad": damaged or of other seeds, "calls_per_second": model calls of a row, all ranks together, or null,
 *    "seconds", "rule": "until" | "race" where it decides how many of the "of" seeds are made: then "samples" is how
 *    many there are to be if it has stopped the cell already, else at most}]} */
int dry_run(struct comm *comm, struct cells *cells, const struct place *place, json_t **results, struct error *err);

#endif
