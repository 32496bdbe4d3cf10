/* A stored plan: read, executed on one sample, and written again. */
#include "fuzz.h"

#include "sample/execute.h"
#include "solver/plan.h"

#include <stdlib.h>

static void execute(const struct plan *plan) {
    struct executor *executor;
    struct card card = {.channels = 1, .height = 2, .width = 2};
    struct sampler sampler = {.guidance = {.scale = 1}};
    struct executor_setup setup = {.plan = plan, .sampler = &sampler, .card = &card, .device = SHIM_CPU, .batch = 2};
    struct error err;
    uint64_t seeds[2] = {1, 2};
    double x[8];
    int nfe;
    if (executor_new(&executor, &setup, &err) != 0) return;
    executor_run(executor, &(struct batch){.rows = 2, .seeds = seeds}, x, &nfe, &err);
    executor_free(executor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct plan plan;
    struct error err;
    json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json && plan_from_json(&plan, json, "run.json: plan", &err) == 0) {
        bool evaluates = plan.adaptive;
        for (size_t i = 0; i < plan.ops_count; i++) evaluates |= plan.ops[i].kind == OP_EVAL;
        if (!evaluates) execute(&plan); /* there is no model here */
        json_decref(plan_to_json(&plan));
        plan_release(&plan);
    }
    json_decref(json);
    return 0;
}
