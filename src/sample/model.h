/* Loading a network. */
#ifndef SAMPLE_MODEL_H
#define SAMPLE_MODEL_H

#include "base/error.h"
#include "torch_shim.h"

/* *model new, of the very bytes whose sha256 is `sha256`. what: "model", for messages. */
int model_load(struct shim_model **model, const char *what, const char *path, const char *sha256, int device,
               struct error *err);

#endif
