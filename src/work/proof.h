/* Proofs of the cells' networks (sample/proof.h), before anything is made: each network once on each rank. Called
 * outside of parallel regions. A network that fails its proof is CODE_DATA. */
#ifndef WORK_PROOF_H
#define WORK_PROOF_H

#include "base/error.h"
#include "cluster/comm.h"
#include "run/cells.h"

/* Collective, once models are loaded (assets.h). Where a sample's output depends on the other rows of its batch,
 * that is logged and noted in run.json, "row_difference": {"model" | "guide" | "decoder" | "features": the largest
 * difference, as a part of the largest output}, the latter if `note`. device: SHIM_CPU or a CUDA index. */
int prove_cells(struct comm *comm, const struct cells *cells, int device, bool note, struct error *err);
/* Not collective: the same for what makes the samples of one cell in this process, nothing noted; not for its feature
 * network. cell: its files loaded. */
int prove_models(const struct cell *cell, int device, struct error *err);

#endif
