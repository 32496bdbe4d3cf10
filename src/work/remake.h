/* One sample again, from the model. */
#ifndef WORK_REMAKE_H
#define WORK_REMAKE_H

#include "base/error.h"
#include "run/run.h"

/* Not collective. The sample at a position in the seed list, as it is stored (*sample: new, one row of a shard; NULL
 * on failure). Its whole batch is run, on which kernels and rk45 may depend, so on the same hardware the bytes are
 * the run's. The model is loaded for this alone. CODE_DATA: the model is not the run's, or fails its proof. */
int run_remake(const struct run *run, uint64_t position, void **sample, struct error *err);
int run_remake_device(const struct run *run); /* where that is: SHIM_CPU or a CUDA index */

#endif
