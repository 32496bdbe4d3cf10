/* A model of the fake shim, out of its JSON. */
#ifndef FAKE_MODEL_H
#define FAKE_MODEL_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "torch_shim.h"

#include <string.h>

static inline void fake_release(void *owner) {
    (void)owner;
}

static inline struct shim_model *fake_model(const char *json) {
    struct shim_model *model = NULL;
    char error[SHIM_ERROR];
    const struct shim_file file = {json, strlen(json), "model.json", fake_release, NULL};
    if (shim_model_load(&model, &file, SHIM_CPU, error) != 0) fail_msg("%s", error);
    return model;
}

#endif
