/* A batch's registers: [batch][C*H*W] numbers each, in host memory (float64 or float32; a LINCOMB is one fused pass) or on
 * the device through the shim. The executor sees no difference. */
#ifndef SAMPLE_REGISTERS_H
#define SAMPLE_REGISTERS_H

#include "base/error.h"
#include "job/sampler.h"
#include "solver/plan.h"
#include "torch_shim.h"

#include <stdbool.h>

struct registers;

/* on_device: through the shim. *registers new; contents undefined. */
int registers_new(struct registers **registers, int count, struct shim_shape shape, enum state_kind state, bool on_device,
                  int device, struct error *err);
void registers_free(struct registers *registers); /* accepts NULL */
int registers_set(struct registers *registers, int dst, const double *values, struct error *err);
int registers_get(struct registers *registers, int src, double *values, struct error *err);
int registers_lincomb(struct registers *registers, int dst, const struct term *terms, size_t count, struct error *err);
int registers_clamp(struct registers *registers, int dst, double low, double high, struct error *err);
/* dst = the model on src, cast to its float32. */
int registers_eval(struct registers *registers, struct shim_model *model, int dst, int src,
                   const struct shim_condition *condition, struct error *err);

#endif
