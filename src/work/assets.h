/* Files that cells share: diffusion models, guiding models, decoders, feature networks and starts, each loaded once on
 * this rank. */
#ifndef WORK_ASSETS_H
#define WORK_ASSETS_H

#include "base/error.h"
#include "run/cells.h"

struct assets;

/* Not collective, before workers start. Loads what cells with something missing need and fills their model, guide,
 * decoder, conditions, the feature networks' models and initial, which borrow from *assets. device: SHIM_CPU or a CUDA
 * index. *assets is new where it is NULL, also on failure (NULL: out of memory); else what was loaded before for the
 * same cells stays. A file that is not the one the run was made with is CODE_DATA.
 */
int assets_load(struct assets **assets, struct cells *cells, int device, struct error *err);
/* Takes them out of the cells, too. assets may be NULL. */
void assets_free(struct assets *assets, struct cells *cells);

#endif
