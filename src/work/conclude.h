/* A cell's conclusion, once all its shards are there: every file is read back, and manifest.jsonl, metrics.json and
 * grid.png are written. It is a unit of work like a shard, and its batches are the shards to read. Nothing here is
 * collective. */
#ifndef WORK_CONCLUDE_H
#define WORK_CONCLUDE_H

#include "base/error.h"
#include "cluster/cluster.h"
#include "run/cells.h"
#include "cluster/place.h"
#include "work/reference.h"

#include <signal.h>

struct conclusion;
/* By one worker. made: what making the cell's shards took. again: also where metrics.json is up to date.
 * *conclusion: new, also on failure (NULL: out of memory). *batches: shards to read; 0: none need be. Mistakes in
 * the data are kept for the commit. */
int conclusion_open(struct conclusion **conclusion, const struct cell *cell, const struct tally *made, bool again,
                    uint64_t *batches, struct error *err);
/* By several workers at once, each another batch: reads a shard. It may have been made on another node, and a
 * network file system may show new files late, so a missing one is looked for again, up to `patience` seconds after
 * conclusion_open. */
int conclusion_batch(struct conclusion *conclusion, uint64_t batch, double patience, const volatile sig_atomic_t *stop,
                     struct error *err);
/* By one worker. threads: for the metrics. tally: zeros before. A cell that can't be concluded (gaps, bad data) is
 * logged and named in tally->code; it is no failure of the unit. -1: CODE_IO, or CODE_AGAIN when *stop was set. */
int conclusion_commit(struct conclusion *conclusion, struct references *references, const struct place *place,
                      int threads, const volatile sig_atomic_t *stop, struct tally *tally, struct error *err);
/* For a cell some of whose shards are quarantined, outside of parallel regions: manifest.jsonl of what is there, and
 * a metrics.json that names the rest and has no metrics. Reads every file; shards that are missing and not
 * quarantined are looked for again for `patience` seconds. */
int conclude_quarantined(const struct cell *cell, double patience, const volatile sig_atomic_t *stop,
                         struct error *err);
void conclusion_close(struct conclusion *conclusion); /* accepts NULL */

#endif
