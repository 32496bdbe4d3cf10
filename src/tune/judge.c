/* A job's own FID as the judge. */
#include "tune/judge.h"

#include "cluster/agree.h"
#include "format/floats.h"
#include "metric/score.h"
#include "sample/decode.h"
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

struct stock { /* samples as the feature network takes them */
    const struct making *making;
    struct sample_form form;
    char *samples;
    size_t width; /* bytes of one */
};

/* Floats of this type become rows first .. first + count - 1. */
static void put(const struct stock *stock, const void *values, enum npy_type type, size_t first, size_t count) {
    const struct network *network = stock->making->engine->asked->network;
    char *at = stock->samples + first * stock->width;
    if (!network->floats)
        quantise_uint8(values, type, count, &stock->form, stock->making->engine->asked->rounding, (uint8_t *)at);
    for (size_t i = 0; network->floats && i < count * sample_elements(&stock->form); i++)
        floats_put(at, network->half ? NPY_FLOAT16 : NPY_FLOAT32, i, floats_at(values, type, i));
}

static int put_pictures(void *context, size_t first, size_t count, const float *images, struct error *err) {
    (void)err;
    put(context, images, NPY_FLOAT32, first, count);
    return 0;
}

/* What the solver ended with, decoded where it is latents. */
static int stock_up(struct stock *stock, const struct batch *batch, const double *x, struct error *err) {
    const struct tuning *asked = stock->making->engine->asked;
    struct decoding *decoding = NULL;
    if (!asked->decoder) {
        put(stock, x, NPY_FLOAT64, 0, batch->rows);
        return 0;
    }
    int rc = decoding_new(&decoding, asked->card->decoder, asked->decoder, asked->decoder_batch, err);
    if (rc == 0) rc = decoding_run(decoding, x, batch->rows, batch->seeds, put_pictures, stock, err);
    decoding_free(decoding);
    return rc;
}

static int extract(const struct making *making, const struct batch *batch, const double *x, double *out,
                   struct error *err) {
    size_t block = making->engine->block;
    const struct network *network = making->engine->asked->network;
    struct stock stock = {.making = making, .form = card_sample(making->engine->asked->card)};
    float *features[NETWORK_OUTPUTS] = {NULL};
    stock.width = sample_elements(&stock.form) * (!network->floats ? 1
                                                  : network->half  ? sizeof(uint16_t)
                                                                   : sizeof(float));
    stock.samples = malloc(block * stock.width);
    features[making->output] = malloc(block * making->dim * sizeof(float));
    int rc = stock.samples && features[making->output] ? stock_up(&stock, batch, x, err) : error_memory(err);
    if (rc == 0) rc = network_run(network, stock.samples, batch->rows, block, features, err);
    for (size_t i = 0; rc == 0 && i < batch->rows * making->dim; i++) out[i] = (double)features[making->output][i];
    free(features[making->output]);
    free(stock.samples);
    return rc;
}

static int make(void *context, struct executor *executor, double *scratch, size_t item, struct error *err) {
    struct making *making = context;
    const struct engine *engine = making->engine;
    size_t first = item * engine->block, left = engine->asked->samples - first;
    double *out = making->features + first * making->dim;
    struct batch batch = engine_seeds(engine, engine->paths + first, left < engine->block ? left : engine->block);
    if (engine_run(executor, &batch, making->plan, scratch, err) != 0) return -1;
    for (size_t i = 0; i < batch.rows * engine->elements; i++)
        if (!isfinite((float)scratch[i])) {
            out[0] = NAN;
            return 0;
        }
    return extract(making, &batch, scratch, out, err);
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

/* What the features are kept as. */
static int name(const struct making *making, char key[SHA256_HEX], struct error *err) {
    const struct engine *engine = making->engine;
    char digests[3][SHA256_HEX];
    if (plan_digest(making->plan, digests[0], err) != 0) return -1;
    engine_digest(engine, engine->paths, engine->asked->samples, digests[1]);
    memcpy(digests[2], engine->asked->network->key, SHA256_HEX);
    engine_key(engine, key, "features", digests, sizeof digests);
    return 0;
}

int judge_plan(struct judged *judged, struct engine *engine, const struct plan *plan, struct error *err) {
    int output = network_find(engine->asked->network, FEATURES_POOL);
    struct making making = {.engine = engine, .plan = plan, .output = output};
    size_t items = items_of(engine);
    *judged = (struct judged){0};
    making.dim = engine->asked->network->outputs[output].dim;
    making.features = calloc(items * engine->block * making.dim, sizeof *making.features);
    size_t width = engine->block * making.dim;
    uint64_t before = engine->rows;
    char key[SHA256_HEX];
    bool kept = false;
    int rc = name(&making, key, err);
    if (rc == 0 && !making.features) rc = error_memory(err);
    rc = ranks_agree(engine->asked->comm, rc, err);
    if (rc == 0) rc = engine_recall(engine, key, making.features, items * width, &kept, err);
    if (rc == 0 && !kept) rc = engine_each(engine, items, plan->model_calls, make, &making, err);
    if (rc == 0 && !kept) rc = engine_share(engine, making.features, items, width, err);
    if (rc == 0 && !kept) rc = engine_keep(engine, key, making.features, items * width, engine->rows - before, err);
    if (rc == 0) rc = ranks_agree(engine->asked->comm, value(judged, &making, err), err);
    free(making.features);
    return rc;
}

int judge_compare(json_t **values, const struct engine *engine, const struct judged *one, const struct judged *other,
                  struct error *err) {
    *values = json_object();
    int rc = *values ? score_difference(*values, &one->side, &other->side, engine->asked->reference, err)
                     : error_memory(err);
    return ranks_agree(engine->asked->comm, rc, err);
}

void judge_release(struct judged *judged) {
    side_release(&judged->side);
    json_decref(judged->values);
    *judged = (struct judged){0};
}
