/* How far a run or a sweep is, from what lies in its folder: nothing is written, no MPI, safe at any time. */
#ifndef RUN_STATUS_H
#define RUN_STATUS_H

#include "base/error.h"

#include <jansson.h>

/* *status (new): {"run": DIR, "state", "samples", "done", "shards", "shards_done", "quarantined": samples,
 * "quarantine": [entries of quarantine.json], "rate": samples/s now, "eta_seconds" (null: unknown), "ranks": alive,
 * "attempts": [{"attempt", "host", "pid", "slurm", "ranks", "rate", "started", "silent": s}] (the live ones),
 * "silent_seconds": since the last sign of life (null: none is left), "ended": whether all attempts said so}, and for a
 * sweep's folder "cells": [{"cell", "state", "samples", "done", "quarantined", "stopped", "decoders"}]. "decoders"
 * (where there are others): as cells, what they made of the latents; a cell is complete when they are. "stopped" (where
 * it was) is run.json's, with "latents": true where it was decided for the run of its latents: then "samples" are those
 * that there are to be. "race" (of a sweep that is or was one) is race.json, with "job" of sweep.json. Sample files are
 * counted by their names; `verify` reads them. state: "complete"; "running"; "quarantined", all that is missing is;
 * "stopped". */
int status_read(json_t **status, const char *dir, struct error *err);

#endif
