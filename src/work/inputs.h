/* Feature networks and references: every rank reads them by itself, on its own node, so they are compared first. */
#ifndef WORK_INPUTS_H
#define WORK_INPUTS_H

#include "base/error.h"
#include "cluster/comm.h"
#include "run/cells.h"
#include "work/reference.h"

/* Collective, before anything is made. Rank 0 reads feature networks and references, and checks that the metrics can
 * be had of them; every rank then checks that its files have the same sha256 (CODE_DATA: not), and fills them in in the
 * runs' evaluated files. Models, starts and labels are not looked at: the document has their sha256, and they are
 * checked as they are loaded. references: this rank's; rank 0 puts what it read there. */
int inputs_agree(struct comm *comm, struct cells *cells, struct references *references, struct error *err);

/* Collective, once the cells' `solves` is known and before their conditions are opened: finds out the digests of their
 * files of conditions, which may be large, so that each is read by one rank of those that see the same file: rank 0,
 * or where a node has a copy of its own, the first rank there. Errors as in ranks_agree. */
int inputs_share_digests(struct comm *comm, const struct cells *cells, struct error *err);

#endif
