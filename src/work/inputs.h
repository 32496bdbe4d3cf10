/* The files that every rank reads by itself, each at its own node. */
#ifndef WORK_INPUTS_H
#define WORK_INPUTS_H

#include "base/error.h"
#include "cluster/comm.h"
#include "run/cells.h"
#include "work/reference.h"

/* Collective, before anything is made: the feature networks and references that this rank finds are those of rank 0, or it
 * is an error here. Fills the runs' `reference`. Models, starts and labels are known from the document, and checked as they
 * are read. */
int inputs_agree(struct comm *comm, struct cells *cells, struct references *references, struct error *err);

#endif
