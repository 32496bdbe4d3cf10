/* When a job's samples are made: all at once, or in rounds, after each of which it is decided from what is on disk
 * which cells get more (metric/sweep_race.h). A run that is stopped before all its seeds were made says so in run.json
 * and metrics.json,
 *   "stopped": {"samples": how many there are, "of": how many seeds, "by": "until" | "race", and of until: "fid_error",
 *               "target"; of a race: "leader", "delta", "error": its paired difference to the leader of that round}
 * and is from then on a run of so many samples; but a cell that leaves a race with all its samples on disk keeps them.
 * A sweep's folder has the race as race.json: {"metric", "confidence", "seeds", "cells", "model_calls": [least, most] a
 * sample, where cells differ in them, "rounds": [{"samples", "cells", "leader", "left": [{"cell", "delta", "error",
 * "limit"}]}], "samples": that it takes, "of": without the race, "in": [names of the cells that have not left],
 * "dropped": [{"cell", "samples": of its round that failed}], of whom "samples" has none, "next": samples of the round
 * that they are in; else the race is over}; limit: multiples of the error beyond which a cell is left behind. It stays
 * where the sweep goes on without the race. */
#ifndef WORK_PACE_H
#define WORK_PACE_H

#include "base/error.h"
#include "cluster/cluster.h"
#include "cluster/comm.h"
#include "run/cells.h"
#include "cluster/place.h"
#include "work/reference.h"

#include <jansson.h>

struct attempt;

struct crew { /* who works; all borrowed */
    struct comm *comm;
    struct references *references;
    const struct place *place;
    json_t *hosts;
    struct attempt *attempt; /* at rank 0; NULL elsewhere */
    double lease;
    bool again; /* conclusions too that are up to date */
};

/* Which cells get their samples in rounds; makes: samples are made. CODE_USAGE: it must be decided, and the job does
 * not evaluate. */
int pace_plan(struct cells *cells, bool makes, struct error *err);
/* Collective. Scans what is on disk, of cells in rounds as far as the first one goes. */
int pace_begin(const struct crew *crew, struct cells *cells, struct error *err);
/* Collective, for a dry run: cells in rounds that this job's rule has stopped already are as long as they are then;
 * the others have all their seeds, at most. */
int pace_look(struct comm *comm, struct cells *cells, struct error *err);
/* Collective: units_run, in rounds where there are any. After a rank was lost the next round needs a new job
 * (CODE_AGAIN). */
int pace_run(const struct crew *crew, struct cells *cells, struct outcome *outcome, struct error *err);

#endif
