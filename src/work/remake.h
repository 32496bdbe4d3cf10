/* One sample again, from the model. */
#ifndef WORK_REMAKE_H
#define WORK_REMAKE_H

#include "base/error.h"
#include "run/document.h"

/* The sample at a position in the seed list, as it is stored: runs its whole batch, for kernels and rk45 may depend on it, so
 * the bytes are the run's on the same hardware. sample: new. The model is loaded for this alone. */
int run_remake(const struct run *run, uint64_t position, void **sample, struct error *err);
int run_remake_device(const struct run *run); /* where that is: SHIM_CPU or an index */

#endif
