/* The networks of all cells are proved before anything is made (sample/proof.h), each once on each rank. */
#ifndef WORK_PROOF_H
#define WORK_PROOF_H

#include "base/error.h"
#include "cluster/comm.h"
#include "run/cells.h"

/* Collective, once models are loaded. What kernels make of a row in another batch, where they do, is noted in run.json:
 * "row_difference": {"model" | "guide" | "features": of the largest output}. */
int prove_cells(struct comm *comm, const struct cells *cells, int device, struct error *err);
/* The same for the diffusion models of one run in this process alone; guide may be NULL. */
int prove_models(const struct run *run, struct shim_model *model, struct shim_model *guide, int device, struct error *err);

#endif
