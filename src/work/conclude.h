/* What becomes of a cell once all its shards are there: every file read back, manifest.jsonl, metrics.json, grid.png. A
 * unit of work like a shard; its batches are the shards to read. */
#ifndef WORK_CONCLUDE_H
#define WORK_CONCLUDE_H

#include "base/error.h"
#include "cluster/cluster.h"
#include "run/cells.h"
#include "work/place.h"
#include "work/reference.h"

#include <signal.h>

struct conclusion;
/* made: what making the cell's shards took. again: also where metrics.json is up to date. Mistakes in the data are told
 * by the commit. */
int conclusion_open(struct conclusion **conclusion, const struct cell *cell, const struct tally *made, bool again,
                    uint64_t *batches, struct error *err);
/* Reads a shard. It was made, perhaps on another node, whose new files a network file system may show late: a missing one is
 * looked for again, up to `patience` seconds after conclusion_open. */
int conclusion_batch(struct conclusion *conclusion, uint64_t batch, double patience, const volatile sig_atomic_t *stop,
                     struct error *err);
/* threads: for the metrics. A cell that can't be concluded (gaps, bad data) is logged and named in tally->code; it
 * is no failure of the unit. -1: CODE_IO, or CODE_AGAIN when *stop was set. */
int conclusion_commit(struct conclusion *conclusion, struct references *references, const struct place *place, int threads,
                      const volatile sig_atomic_t *stop, struct tally *tally, struct error *err);
/* A cell some of whose shards are quarantined: manifest.jsonl of what is there, and a metrics.json that names the rest and
 * has no metrics. Reads every file; of the others' shards, missing ones are looked for again for `patience` seconds. */
int conclude_quarantined(const struct cell *cell, double patience, const volatile sig_atomic_t *stop, struct error *err);
void conclusion_close(struct conclusion *conclusion); /* accepts NULL */

#endif
