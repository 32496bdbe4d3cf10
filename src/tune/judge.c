/* A job's own FID as the judge. */
#include "tune/judge.h"

#include "cluster/agree.h"
#include "format/floats.h"
#include "metric/score.h"
#include "metric/values.h"
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
    size_t from, to;  /* the samples */
    double *features; /* [items][block][dim]; NAN in a sample's first where it is not finite */
};

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
    size_t first = making->from + item * engine->block, left = making->to - first;
    double *out = making->features + item * engine->block * making->dim;
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
    struct features features = {judged->count, making->dim, malloc(judged->count * making->dim * sizeof(float))};
    struct score_options options = {.metrics = 1 << METRIC_FID};
    if (!features.rows) return error_memory(err);
    side_release(&judged->side);
    judged->side = (struct side){0};
    json_decref(judged->values);
    judged->values = NULL;
    for (size_t i = 0; i < judged->count * making->dim; i++) {
        features.rows[i] = (float)judged->features[i];
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
    engine_digest(engine, engine->paths + making->from, making->to - making->from, digests[1]);
    memcpy(digests[2], engine->asked->network->key, SHA256_HEX);
    engine_key(engine, key, "features", digests, sizeof digests);
    return 0;
}

/* Makes them, or finds them on disk. */
static int fill(struct making *making, size_t items, struct error *err) {
    struct engine *engine = making->engine;
    size_t width = engine->block * making->dim;
    uint64_t before = engine->rows;
    char key[SHA256_HEX];
    bool kept = false;
    int rc = ranks_agree(engine->asked->comm, name(making, key, err), err);
    if (rc == 0) rc = engine_recall(engine, key, making->features, items * width, &kept, err);
    if (rc != 0 || kept) return rc;
    rc = engine_each(engine, items, making->plan->model_calls, make, making, err);
    if (rc == 0) rc = engine_share(engine, making->features, items, width, err);
    return rc == 0 ? engine_keep(engine, key, making->features, items * width, engine->rows - before, err) : -1;
}

int judge_plan(struct judged *judged, struct engine *engine, const struct plan *plan, size_t samples,
               struct error *err) {
    int output = network_find(engine->asked->network, FEATURES_POOL);
    struct making making = {.engine = engine, .plan = plan, .output = output, .from = judged->count, .to = samples};
    if (samples <= judged->count) return 0;
    size_t items = (samples - judged->count + engine->block - 1) / engine->block;
    making.dim = engine->asked->network->outputs[output].dim;
    double *all = realloc(judged->features, (judged->count + items * engine->block) * making.dim * sizeof *all);
    int rc = ranks_agree(engine->asked->comm, all ? 0 : error_memory(err), err);
    if (all) judged->features = all;
    if (rc != 0) return rc;
    making.features = all + judged->count * making.dim;
    memset(making.features, 0, items * engine->block * making.dim * sizeof *all);
    rc = fill(&making, items, err);
    judged->count = samples;
    return rc == 0 ? ranks_agree(engine->asked->comm, value(judged, &making, err), err) : rc;
}

int judge_compare(json_t **values, const struct engine *engine, const struct judged *one, const struct judged *other,
                  struct error *err) {
    *values = json_object();
    const struct score_options options = {.metrics = 1 << METRIC_FID};
    json_t *theirs = NULL;
    int rc = *values ? score_paired(&theirs, &options, &one->side, &other->side, engine->asked->reference, err)
                     : error_memory(err);
    if (rc == 0) rc = values_difference(*values, one->values, theirs, err);
    json_decref(theirs);
    return ranks_agree(engine->asked->comm, rc, err);
}

void judge_release(struct judged *judged) {
    side_release(&judged->side);
    json_decref(judged->values);
    free(judged->features);
    *judged = (struct judged){0};
}
