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

static inline struct shim_model *fake_model(const char *json) {
    struct shim_model *model = NULL;
    char error[SHIM_ERROR];
    if (shim_model_load(&model, json, strlen(json), "model.json", SHIM_CPU, error) != 0) fail_msg("%s", error);
    return model;
}

#endif
