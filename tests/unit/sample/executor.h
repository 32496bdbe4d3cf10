/* For tests of the executor: a card, models of the fake shim, and runs of a plan that go well or badly. */
#ifndef EXECUTOR_H
#define EXECUTOR_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample/fake_model.h"
#include "base/text.h"
#include "sample/execute.h"
#include "sample/noise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 5, ELEMENTS = 12 };

#define CARD \
    "{\"shape\": [2, 2, 3], \"prediction\": \"epsilon\", \"time\": {\"kind\": \"continuous\"}, " \
    "\"schedule\": {\"kind\": \"linear\", \"beta0\": 0.1, \"beta1\": 20}, \"labels\": {\"classes\": 2, \"null\": 2}, " \
    "\"variance\": \"learned\"}"
#define LOW_MEAN "[-0.5, -0.4, -0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]"
#define HIGH_MEAN "[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0, -0.1, -0.2]"
#define MIXTURE "{\"means\": [" LOW_MEAN ", " HIGH_MEAN "], \"std\": 0.3, \"weights\": [0.4, 0.6]}"
#define GAUSSIAN "{\"means\": [" LOW_MEAN "], \"std\": 0.3}"

static const uint64_t seeds[BATCH] = {3, 0, 1234567890123, 42, 7};
static const int64_t labels[BATCH] = {0, 1, 1, 0, 1};
static const double scales[BATCH] = {1.61, 0.5, -0.3, 1, 2.25};
static struct card card;
static struct shim_model *guide; /* GAUSSIAN, described by the same card */

static inline struct shim_model *model_of(const char *mixture, const char *more) {
    char *json = text_new("{\"card\": " CARD ", \"mixture\": %s%s}", mixture, more);
    assert_non_null(json);
    struct shim_model *model = fake_model(json);
    free(json);
    return model;
}

struct variant { /* what does not change the numbers, and the state, which does */
    enum state_kind state;
    bool device_registers;
};
static const struct variant variants[] = {
    {STATE_FLOAT64, false}, {STATE_FLOAT64, true}, {STATE_FLOAT32, false}, {STATE_FLOAT32, true}};
enum { VARIANTS = sizeof variants / sizeof *variants };

static inline struct executor_setup setup_of(const struct plan *plan, struct sampler *sampler, struct shim_model *model,
                                             struct variant variant) {
    sampler->state = variant.state;
    return (struct executor_setup){.plan = plan,
                                   .sampler = sampler,
                                   .card = &card,
                                   .model = model,
                                   .guide = guide,
                                   .device = SHIM_CPU,
                                   .device_registers = variant.device_registers,
                                   .batch = BATCH};
}

static inline int run(const struct executor_setup *setup, const struct batch *batch, double *x, int *nfe,
                      struct error *err) {
    struct executor *executor = NULL;
    if (executor_new(&executor, setup, err) != 0) return -1;
    int rc = executor_run(executor, batch, x, nfe, err);
    executor_free(executor);
    return rc;
}

static inline void run_well(const struct executor_setup *setup, const struct batch *batch, double *x) {
    struct error err;
    int nfe = -1;
    if (run(setup, batch, x, &nfe, &err) != 0) fail_msg("%s", err.message);
    if (!setup->plan->adaptive) assert_int_equal(nfe, setup->plan->nfe);
}

static inline void run_badly(const struct executor_setup *setup, const struct batch *batch, enum code code,
                             const char *message) {
    struct error err;
    double x[BATCH][ELEMENTS];
    int nfe;
    assert_int_equal(run(setup, batch, x[0], &nfe, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, message)) fail_msg("expected \"%s\" in: %s", message, err.message);
}

static const struct batch whole = {.rows = BATCH, .seeds = seeds, .labels = labels, .scales = scales};

/* Of a group of tests: the card, and the model that guides. */
static inline int setup_models(void **state) {
    static struct card same;
    struct error err;
    (void)state;
    json_t *json = json_loads(CARD, 0, NULL);
    int rc = card_parse(&card, json, "card", &err);
    json_decref(json);
    if (rc != 0) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    same = card;
    guide = model_of(GAUSSIAN, "");
    card.guide = &same;
    return 0;
}

static inline int release_models(void **state) {
    (void)state;
    shim_model_free(guide);
    card.guide = NULL;
    card_release(&card);
    return 0;
}

#endif
