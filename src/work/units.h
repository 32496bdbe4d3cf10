/* The work of a list of cells, spread over ranks and workers as one queue: the shards to make of one cell after
 * another, and behind each cell's last one its conclusion. */
#ifndef WORK_UNITS_H
#define WORK_UNITS_H

#include "base/error.h"
#include "cluster/cluster.h"
#include "work/conclude.h"
#include "cluster/place.h"
#include "work/reference.h"

#include <signal.h>

struct assets;
struct attempt;

/* Collective, outside of parallel regions. Makes what the cells' status says is not good, and concludes every cell
 * that could be made; at rank 0 each then says so (concluded, code, quarantine), and while it goes on the results
 * files of a sweep are written. again: also concludes what is up to date. lease: in s, of silence after which a rank
 * counts as dead. attempt: at rank 0; NULL elsewhere. What failed in earlier jobs counts (failures.h), and
 * quarantine.json of each cell is written. Of cells that are `idle` nothing. assets: see assets_load; the caller frees
 * them. */
int units_run(struct comm *comm, struct cells *cells, struct references *references, const struct place *place,
              struct assets **assets, bool again, double lease, struct attempt *attempt, struct outcome *outcome,
              struct error *err);

#endif
