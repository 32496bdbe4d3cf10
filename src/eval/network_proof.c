/* The proof of a feature network, on noise in the place of samples. */
#include "base/text.h"
#include "format/floats.h"
#include "eval/network.h"
#include "sample/noise.h"
#include "sample/proof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct question { /* proof.context */
    const struct network *network;
    const char *name;
    size_t batch, elements, outputs; /* of a sample; of its features */
    char *samples;                   /* [batch], as stored */
    double *normals;                 /* [elements] */
    float *features;                 /* [batch * outputs] */
};

/* Noise over the whole range: a standard deviation is a quarter of it. Without one, unit normals. */
static void make_sample(const struct question *question, uint64_t seed, size_t row) {
    const struct network *network = question->network;
    double middle = (network->sample_low + network->sample_high) / 2,
           half = (network->sample_high - network->sample_low) / 2;
    bool ranged = isfinite(half);
    enum npy_type type = network->half ? NPY_FLOAT16 : NPY_FLOAT32;
    noise_normals(seed, NOISE_STREAM_INITIAL, question->elements, question->normals);
    for (size_t i = 0, at = row * question->elements; i < question->elements; i++, at++) {
        double value = fmin(fmax(question->normals[i] / 2, -1), 1);
        if (network->floats)
            floats_put(question->samples, type, at, ranged ? middle + half * value : question->normals[i]);
        else ((uint8_t *)question->samples)[at] = (uint8_t)(127.5 + 127.5 * value);
    }
}

static int ask(void *context, size_t time, const uint64_t *seeds, float *out, struct error *err) {
    const struct question *question = context;
    const struct network *network = question->network;
    (void)time; /* the only one */
    float *values[NETWORK_OUTPUTS] = {NULL};
    size_t before = 0;
    for (size_t row = 0; row < question->batch; row++) make_sample(question, seeds[row], row);
    for (int k = 0; k < network->outputs_count; k++) {
        if (!network->outputs[k].wanted) continue;
        values[k] = question->features + question->batch * before;
        before += network->outputs[k].dim;
    }
    if (network_run(network, question->samples, question->batch, question->batch, values, err) != 0)
        return error_prefix(err, "the first call of %s failed (does its description fit?)", question->name);
    before = 0;
    for (int k = 0; k < network->outputs_count; k++) {
        size_t dim = network->outputs[k].dim;
        if (!network->outputs[k].wanted) continue;
        for (size_t i = 0; i < question->batch * dim; i++)
            if (!isfinite(values[k][i]))
                return error_set(err, CODE_DATA, "%s: its output `%s` is not finite for noise (%g)", question->name,
                                 network->outputs[k].name, values[k][i]);
        for (size_t row = 0; row < question->batch; row++)
            memcpy(out + row * question->outputs + before, values[k] + row * dim, dim * sizeof *out);
        before += dim;
    }
    return 0;
}

int network_prove(const struct network *network, const char *path, size_t batch, double *difference,
                  struct error *err) {
    struct question question = {.network = network, .batch = batch};
    *difference = 0;
    if (network->pixels) return 0;
    question.elements = (size_t)network->height * (size_t)network->width * (size_t)network->sample_channels;
    for (int k = 0; k < network->outputs_count; k++)
        if (network->outputs[k].wanted) question.outputs += network->outputs[k].dim;
    char *name = text_new("the feature network %s", path);
    question.name = name;
    question.samples = malloc(batch * question.elements * sizeof(float));
    question.normals = malloc(question.elements * sizeof *question.normals);
    question.features = malloc(batch * question.outputs * sizeof *question.features);
    struct proof proof = {.name = name,
                          .batch = batch,
                          .outputs = question.outputs,
                          .times = 1,
                          .allow = "",
                          .call = ask,
                          .context = &question};
    int rc = name && question.samples && question.normals && question.features ? proof_rows(&proof, difference, err)
                                                                               : error_memory(err);
    free(question.samples);
    free(question.normals);
    free(question.features);
    free(name);
    return rc;
}
