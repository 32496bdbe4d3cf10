/* Where a network runs, and loading it. */
#ifndef SAMPLE_MODEL_H
#define SAMPLE_MODEL_H

#include "base/error.h"
#include "job/job.h"
#include "torch_shim.h"

/* *model new, of the very bytes whose sha256 is `sha256`, and which must stay in the file as long as it lives:
 * mappings_check. what: "model", for messages. */
int model_load(struct shim_model **model, const char *what, const char *path, const char *sha256, int device,
               struct error *err);

/* Not collective. The device for what a job or an option asks for: SHIM_CPU, or the GPU of the rank with this number
 * on its node, round robin over those that this process sees. cuda where it sees none is CODE_DATA (*device is
 * SHIM_CPU); key: how the message begins ("device:", "--device"). */
int model_device(enum device_kind kind, int local_rank, const char *key, int *device, struct error *err);

#endif
