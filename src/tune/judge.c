/* A job's own FID as the judge. */
#include "tune/judge.h"

#include "cluster/agree.h"
#include "metric/score.h"
#include "sample/quantise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct making {
    struct engine *engine;
    const struct plan *plan;
    size_t dim;
    int output;       /* of the network: the features of FID */
    double *features; /* [items][block][dim]; NAN in a sample's first where it is not finite */
};

static size_t items_of(const struct engine *engine) {
    return (engine->asked->samples + engine->block - 1) / engine->block;
}

static int extract(const struct making *making, const double *x, size_t rows, double *out, struct error *err) {
    const struct engine *engine = making->engine;
    const struct tuning *asked = engine->asked;
    const struct sample_form form = card_sample(asked->card);
    const struct network *network = asked->network;
    float *features[NETWORK_OUTPUTS] = {NULL}, *floats = NULL;
    size_t values = engine->block * engine->elements;
    uint8_t *bytes = malloc(values);
    features[making->output] = malloc(engine->block * making->dim * sizeof(float));
    if (network->floats) floats = malloc(values * sizeof *floats);
    int rc = bytes && features[making->output] && (floats || !network->floats) ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && floats && i < rows * engine->elements; i++) floats[i] = (float)x[i];
    if (rc == 0 && !floats) quantise_uint8(x, NPY_FLOAT64, rows, &form, asked->rounding, bytes);
    if (rc == 0) rc = network_run(network, floats ? (void *)floats : bytes, rows, engine->block, features, err);
    for (size_t i = 0; rc == 0 && i < rows * making->dim; i++) out[i] = (double)features[making->output][i];
    free(floats);
    free(features[making->output]);
    free(bytes);
    return rc;
}

static int make(void *context, struct executor *executor, double *scratch, size_t item, struct error *err) {
    struct making *making = context;
    const struct engine *engine = making->engine;
    const struct tuning *asked = engine->asked;
    size_t first = engine->paths + item * engine->block, end = engine->paths + asked->samples;
    size_t rows = end - first < engine->block ? end - first : engine->block;
    double *out = making->features + item * engine->block * making->dim;
    struct batch batch = {
        .rows = rows, .seeds = asked->seeds + first, .labels = asked->labels ? asked->labels + first : NULL};
    if (engine_run(executor, &batch, making->plan, scratch, err) != 0) return -1;
    for (size_t i = 0; i < rows * engine->elements; i++)
        if (!isfinite(scratch[i])) {
            out[0] = NAN;
            return 0;
        }
    return extract(making, scratch, rows, out, err);
}

/* The score of the features, as every rank has them. */
static int value(struct judged *judged, const struct making *making, struct error *err) {
    const struct tuning *asked = making->engine->asked;
    struct features features = {asked->samples, making->dim, malloc(asked->samples * making->dim * sizeof(float))};
    struct score_options options = {.metrics = 1 << METRIC_FID};
    if (!features.rows) return error_memory(err);
    for (size_t i = 0; i < asked->samples * making->dim; i++) {
        features.rows[i] = (float)making->features[i];
        if (isfinite(features.rows[i])) continue;
        features_release(&features);
        return 0;
    }
    memcpy(judged->side.network, asked->network->sha256, SHA256_HEX);
    int rc = side_take(&judged->side, FEATURES_POOL, &features, err);
    return rc == 0 ? score(&judged->values, &options, &judged->side, asked->reference, err) : -1;
}

int judge_plan(struct judged *judged, struct engine *engine, const struct plan *plan, struct error *err) {
    int output = network_find(engine->asked->network, FEATURES_POOL);
    struct making making = {.engine = engine, .plan = plan, .output = output};
    size_t items = items_of(engine);
    *judged = (struct judged){0};
    making.dim = engine->asked->network->outputs[output].dim;
    making.features = calloc(items * engine->block * making.dim, sizeof *making.features);
    int rc = ranks_agree(engine->asked->comm, making.features ? 0 : error_memory(err), err);
    if (rc == 0) rc = engine_each(engine, items, plan->model_calls, make, &making, err);
    if (rc == 0) rc = engine_share(engine, making.features, items, engine->block * making.dim, err);
    if (rc == 0) rc = ranks_agree(engine->asked->comm, value(judged, &making, err), err);
    free(making.features);
    return rc;
}

int judge_compare(json_t **values, const struct engine *engine, const struct judged *one, const struct judged *other,
                  struct error *err) {
    *values = json_object();
    const struct score_options options = {.metrics = 1 << METRIC_FID};
    int rc = *values ? score_difference(*values, &options, &one->side, one->values, &other->side,
                                        engine->asked->reference, err)
                     : error_memory(err);
    return ranks_agree(engine->asked->comm, rc, err);
}

void judge_release(struct judged *judged) {
    side_release(&judged->side);
    json_decref(judged->values);
    *judged = (struct judged){0};
}
