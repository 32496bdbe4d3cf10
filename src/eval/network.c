/* A feature network: its description, its file, and samples through it. */
#include "eval/network.h"

#include "base/digests.h"
#include "format/floats.h"
#include "sample/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The Inception network that published FIDs are computed with (StyleGAN's TorchScript translation). It has no card, and
 * scales images of any size itself. */
static const char inception_sha256[] = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4";

static bool is_range(const struct network *network, double low, double high) {
    return network->low == low && network->high == high;
}

static int parse_outputs(struct network *network, json_t *outputs, struct error *err) {
    const char *name;
    json_t *value;
    size_t count = json_object_size(outputs);
    if (count < 1 || count > NETWORK_OUTPUTS)
        return error_set(err, CODE_DATA, "outputs: expected one to %d of {NAME: D}, found %zu", NETWORK_OUTPUTS, count);
    network->outputs_count = 0;
    json_object_foreach(outputs, name, value) {
        struct network_output *output = &network->outputs[network->outputs_count++];
        size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
        json_int_t dim = json_integer_value(value);
        if (dim < 1 || dim > MOMENTS_DIM_MAX || length == 0 || name[length] != '\0' || length >= sizeof output->name)
            return error_set(err, CODE_DATA,
                             "outputs: expected {NAME: D}, NAME of at most %zu letters, digits, _ and -, and D of 1 to "
                             "%d; found \"%.40s\": %lld",
                             sizeof output->name - 1, MOMENTS_DIM_MAX, name, (long long)dim);
        memcpy(output->name, name, length + 1);
        output->dim = (size_t)dim;
    }
    return 0;
}

/* Of text, with - for what a name can't have. */
static void take_name(char name[NETWORK_NAME], const char *text, size_t length) {
    snprintf(name, NETWORK_NAME, "%.*s", (int)length, text);
    for (char *c = name; *c; c++)
        if (!network_name_fits((char[]){*c, '\0'})) *c = '-';
}

static int parse_description(struct network *network, json_t *json, struct error *err) {
    json_error_t at;
    json_t *outputs = NULL, *mean = NULL, *deviation = NULL;
    const char *name = NULL, *resize = NULL; /* for people: the network does it inside */
    if (json_unpack_ex(json, &at, JSON_STRICT, "{s:[i,i,i], s:[F,F], s:o, s?s, s?s, s?o, s?o}", "shape",
                       &network->channels, &network->height, &network->width, "range", &network->low, &network->high,
                       "outputs", &outputs, "name", &name, "resize", &resize, "mean", &mean, "deviation",
                       &deviation) != 0)
        return error_set(err, CODE_DATA,
                         "expected {\"shape\": [C, H, W], \"range\": [low, high], \"outputs\": {NAME: D}}: %s",
                         at.text);
    if (network->channels < 1 || network->height < 1 || network->width < 1)
        return error_set(err, CODE_DATA, "shape: expected three positive numbers, found [%d, %d, %d]",
                         network->channels, network->height, network->width);
    if (!is_range(network, 0, 255) && !is_range(network, 0, 1) && !is_range(network, -1, 1))
        return error_set(err, CODE_DATA, "range: expected [0, 255], [0, 1] or [-1, 1], found [%g, %g]", network->low,
                         network->high);
    if (name && *name) take_name(network->name, name, strlen(name));
    return parse_outputs(network, outputs, err);
}

/* "dir/dino.v2.pt" gives "dino-v2". */
static void name_of_file(const char *path, char name[NETWORK_NAME]) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    take_name(name, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

static int check_sizes(const struct network *network, const struct sample_form *sample, struct error *err) {
    bool repeated = sample->channels == 1 && network->channels == 3;
    if (network->height == sample->height && network->width == sample->width &&
        (network->channels == sample->channels || repeated))
        return 0;
    bool sized = network->height == sample->height && network->width == sample->width;
    return error_set(err, CODE_DATA,
                     "it takes images [%d,%d,%d], and these are [%d,%d,%d] (channels, height, width): %s",
                     network->channels, network->height, network->width, sample->channels, sample->height,
                     sample->width,
                     sized ? "the size is right, the number of channels is not: choose a feature network of as many "
                             "(one of 3 also takes grey samples), or give grey images as files of one channel"
                           : "choose a feature network made for this size");
}

int network_name(const char *path, char name[NETWORK_NAME], struct error *err) {
    struct network network = {.pixels = !path};
    char sha256[SHA256_HEX];
    json_t *json = NULL;
    snprintf(network.name, sizeof network.name, "pixels");
    if (path) name_of_file(path, network.name);
    int rc = path ? digest_file(path, sha256, err) : 0;
    if (rc == 0 && path && strcmp(sha256, inception_sha256) != 0 &&
        ((rc = card_read_extra(&json, path, "features.json", err)) != 0 ||
         (rc = parse_description(&network, json, err)) != 0))
        error_prefix(err, "feature network %s", path);
    json_decref(json);
    memcpy(name, network.name, NETWORK_NAME);
    return rc;
}

static json_t *inception_card(const struct sample_form *sample) {
    return json_pack("{s:[i,i,i], s:[i,i], s:{s:i, s:i}}", "shape", 3, sample->height, sample->width, "range", 0, 255,
                     "outputs", "pool", 2048, "logits", 1008);
}

void network_shape(const struct network *network, int64_t shape[3]) {
    const int sizes[] = {network->channels, network->height, network->width};
    for (int axis = 0; axis < 3; axis++) shape[axis] = network->pixels ? sizes[axis] : 0;
}

int network_find(const struct network *network, enum feature_kind kind) {
    for (int k = 0; k < network->outputs_count; k++)
        if (strcmp(network->outputs[k].name, feature_kind_names[kind]) == 0) return k;
    return kind == FEATURES_POOL && network->outputs_count == 1 ? 0 : -1;
}

/* Marks the outputs that the metrics need. */
static int want(struct network *network, unsigned metrics, struct error *err) {
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++) {
        enum feature_kind kind = features_of_metric(metric);
        int output = network_find(network, kind);
        if (!(metrics >> metric & 1)) continue;
        if (output < 0)
            return error_set(err, CODE_DATA, "%s needs an output `%s`, and the network's description names none",
                             metric_names[metric], feature_kind_names[kind]);
        network->outputs[output].wanted = true;
    }
    return 0;
}

int network_open(struct network *network, const char *path, const struct card *card, unsigned metrics,
                 struct error *err) {
    static const char pixels[] = "pixels";
    const struct sample_form sample = card_sample(card);
    *network = (struct network){.channels = sample.channels,
                                .height = sample.height,
                                .width = sample.width,
                                .low = 0,
                                .high = 1,
                                .sample_channels = sample.channels,
                                .pixels = !path,
                                .outputs_count = 1,
                                .outputs = {{.dim = sample_elements(&sample)}}};
    if (!path) {
        memcpy(network->outputs[0].name, pixels, sizeof pixels);
        memcpy(network->name, pixels, sizeof pixels);
        sha256_bytes(pixels, sizeof pixels - 1, network->sha256);
        memcpy(network->key, network->sha256, SHA256_HEX);
        return want(network, metrics, err) == 0 ? 0 : error_prefix(err, "features: none");
    }
    json_t *json = NULL;
    name_of_file(path, network->name);
    if (digest_file(path, network->sha256, err) != 0) return -1;
    memcpy(network->key, network->sha256, SHA256_HEX);
    int rc;
    if (strcmp(network->sha256, inception_sha256) == 0) rc = (json = inception_card(&sample)) ? 0 : error_memory(err);
    else rc = card_read_extra(&json, path, "features.json", err);
    if (rc == 0 && (rc = parse_description(network, json, err)) == 0) rc = check_sizes(network, &sample, err);
    if (rc == 0) rc = want(network, metrics, err);
    json_decref(json);
    return rc == 0 ? 0 : error_prefix(err, "feature network %s", path);
}

static bool takes_bytes(const struct network *network) {
    return network->high == 255;
}

void network_take_floats(struct network *network, const struct card *card, bool half) {
    char text[SHA256_HEX + 8];
    if (takes_bytes(network)) return;
    network->floats = true;
    network->half = half;
    network->sample_low = card_sample(card).low;
    network->sample_high = card_sample(card).high;
    int length = snprintf(text, sizeof text, "%s floats", network->sha256);
    sha256_bytes(text, (size_t)length, network->key);
}

int network_check(const struct network *network, const char *path, bool floats, struct error *err) {
    if (!floats || !takes_bytes(network)) return 0;
    return error_set(err, CODE_DATA,
                     "evaluate.features: %s takes pictures in whole numbers of [0, 255], and the samples are floats: "
                     "say output.dtype: uint8, or choose a network of range [0, 1] or [-1, 1]",
                     path);
}

int network_load(struct network *network, const char *path, int device, struct error *err) {
    return path ? model_load(&network->model, "the feature network", path, network->sha256, device, err) : 0;
}

void network_release(struct network *network) {
    shim_model_free(network->model);
    *network = (struct network){0};
}

/* One sample to one image [channels,H,W]: bytes where the network takes [0, 255], else floats in its range. A grey
 * sample goes to every channel. */
static void convert(const struct network *network, const void *sample, void *image) {
    size_t pixels = (size_t)network->height * (size_t)network->width, from = (size_t)network->sample_channels;
    double low = network->floats ? network->sample_low : 0, high = network->floats ? network->sample_high : 255;
    bool ranged = isfinite(low);
    double scale = ranged ? (network->high - network->low) / (high - low) : 1;
    double shift = ranged ? network->low - low * scale : 0;
    enum npy_type type = network->half ? NPY_FLOAT16 : NPY_FLOAT32;
    for (size_t c = 0; c < (size_t)network->channels; c++) {
        size_t channel = from == 1 ? 0 : c;
        const uint8_t *bytes = (const uint8_t *)sample + channel; /* every from-th, where there are any */
        if (takes_bytes(network))
            for (size_t p = 0; p < pixels; p++) ((uint8_t *)image)[c * pixels + p] = bytes[p * from];
        else if (network->floats)
            for (size_t p = 0; p < pixels; p++)
                ((float *)image)[c * pixels + p] = (float)(floats_at(sample, type, channel * pixels + p) * scale +
                                                           shift);
        else
            for (size_t p = 0; p < pixels; p++)
                ((float *)image)[c * pixels + p] = (float)(bytes[p * from] * scale + shift);
    }
}

/* One batch; values[k]: where its rows of output k go, or NULL. The network's own go to `out`, [batch][all dims]. */
static int run_batch(const struct network *network, const void *images, size_t batch, size_t rows,
                     float *const values[NETWORK_OUTPUTS], float *out, struct error *err) {
    struct shim_output outputs[NETWORK_OUTPUTS];
    struct shim_shape shape = {(int)batch, network->channels, network->height, network->width};
    char message[SHIM_ERROR];
    for (int k = 0; k < network->outputs_count; k++) {
        const struct network_output *output = &network->outputs[k];
        outputs[k] = (struct shim_output){output->name, (int)output->dim, values[k] ? out : NULL};
        if (values[k]) out += batch * output->dim;
    }
    if (shim_features_run(network->model, images, takes_bytes(network), shape, outputs, network->outputs_count,
                          message) != 0)
        return error_set(err, CODE_DATA, "feature network: %s", message);
    for (int k = 0; k < network->outputs_count; k++)
        if (values[k]) memcpy(values[k], outputs[k].values, rows * network->outputs[k].dim * sizeof(float));
    return 0;
}

int network_run(const struct network *network, const void *stored, size_t rows, size_t batch,
                float *const features[NETWORK_OUTPUTS], struct error *err) {
    const char *samples = stored;
    size_t dims = 0, pixels = (size_t)network->height * (size_t)network->width;
    size_t sample_bytes = pixels * (size_t)network->sample_channels *
                          (network->floats ? (network->half ? sizeof(uint16_t) : sizeof(float)) : 1);
    size_t image_bytes = pixels * (size_t)network->channels * (takes_bytes(network) ? sizeof(uint8_t) : sizeof(float));
    if (network->pixels) { /* the image in [0, 1] is the feature */
        for (size_t row = 0; row < rows; row++)
            convert(network, samples + row * sample_bytes, features[0] + row * network->outputs[0].dim);
        return 0;
    }
    if (!network->model)
        return error_set(err, CODE_INTERNAL, "the feature network was not loaded before its first use");
    for (int k = 0; k < network->outputs_count; k++) dims += network->outputs[k].dim;
    char *images = malloc(batch * image_bytes);
    float *out = malloc(batch * dims * sizeof *out), *values[NETWORK_OUTPUTS];
    int rc = images && out ? 0 : error_memory(err);
    for (size_t first = 0; rc == 0 && first < rows; first += batch) {
        size_t real = rows - first < batch ? rows - first : batch;
        for (size_t i = 0; i < batch; i++) {
            size_t row = first + (i < real ? i : real - 1);
            convert(network, samples + row * sample_bytes, images + i * image_bytes);
        }
        for (int k = 0; k < network->outputs_count; k++)
            values[k] = features[k] ? features[k] + first * network->outputs[k].dim : NULL;
        rc = run_batch(network, images, batch, real, values, out, err);
    }
    free(images);
    free(out);
    return rc;
}
