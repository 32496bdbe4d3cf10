/* Images through a feature network, in batches by several threads. */
#include "eval/extract.h"

#include "base/crash.h"
#include "base/log.h"
#include "format/images.h"
#include "eval/network.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 64 };

struct extractor {
    const struct extraction *how;
    struct network network;
    const struct picture_source *source;
    size_t count, bytes;                       /* images; bytes of one */
    struct features features[NETWORK_OUTPUTS]; /* rows NULL where not wanted */
};

/* Threads take batches of a chunk that is read as a stream. */
static int run_chunk(const struct extractor *extractor, const uint8_t *pixels, size_t first, size_t rows,
                     struct error *err) {
    struct error failure = {.code = CODE_OK};
#pragma omp parallel num_threads(extractor->how->workers)
    {
        char message[SHIM_ERROR];
        struct error one = {.code = CODE_OK};
        if (crash_thread_start(&one) == 0 && shim_thread_start(extractor->how->device, message) != 0)
            error_set(&one, CODE_INTERNAL, "%s", message);
#pragma omp for schedule(dynamic)
        for (size_t batch = 0; batch < rows; batch += BATCH) {
            size_t taken = rows - batch < BATCH ? rows - batch : BATCH;
            float *values[NETWORK_OUTPUTS] = {NULL};
            for (int k = 0; k < extractor->network.outputs_count; k++) {
                const struct features *features = &extractor->features[k];
                if (features->rows) values[k] = features->rows + (first + batch) * features->dim;
            }
            if (one.code == CODE_OK)
                network_run(&extractor->network, pixels + batch * extractor->bytes, taken, BATCH, values, &one);
        }
#pragma omp critical(extract_failure)
        if (one.code != CODE_OK) failure = one;
    }
    if (failure.code == CODE_OK) return 0;
    *err = failure;
    return -1;
}

static int prove(const struct extractor *extractor, struct error *err) {
    char message[SHIM_ERROR];
    double difference;
    if (shim_thread_start(extractor->how->device, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    if (network_prove(&extractor->network, extractor->how->network, BATCH, &difference, err) != 0) return -1;
    if (difference > 0)
        log_warn("features of one image change by up to %.1e of the largest with the other images of the batch",
                 difference);
    return 0;
}

static int run(struct extractor *extractor, struct error *err) {
    size_t chunk = (size_t)extractor->how->workers * 4 * BATCH;
    uint8_t *pixels = malloc(chunk * extractor->bytes);
    int rc = pixels ? 0 : error_memory(err);
#pragma omp parallel num_threads(1) /* what torch sets for workers stays inside */
    if (rc == 0) rc = prove(extractor, err);
    for (size_t first = 0; rc == 0 && first < extractor->count; first += chunk) {
        size_t rows = extractor->count - first < chunk ? extractor->count - first : chunk;
        rc = extractor->source->read(extractor->source->context, rows, pixels, err);
        if (rc == 0) rc = run_chunk(extractor, pixels, first, rows, err);
    }
    free(pixels);
    return rc;
}

static int prepare(struct extractor *extractor, struct error *err) {
    const struct picture_source *source = extractor->source;
    const struct extraction *how = extractor->how;
    struct network *network = &extractor->network;
    struct card sizes = {.height = source->height,
                         .width = source->width,
                         .channels = source->channels,
                         .low = source->low,
                         .high = source->high};
    char message[SHIM_ERROR];
    extractor->count = source->count;
    extractor->bytes = card_elements(&sizes) * (source->floats ? sizeof(float) : sizeof(uint8_t));
    if (shim_start(0, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    if (network_open(network, how->network, &sizes, how->metrics, err) != 0)
        return error_prefix(err, "%s", source->name);
    if (source->floats) network_take_floats(network, &sizes, false);
    if (source->floats && !network->floats)
        return error_set(err, CODE_DATA,
                         "%s takes pictures in whole numbers of [0, 255], and %s holds float32 numbers: give its "
                         "pixels (export --to npz), or a network of range [0, 1] or [-1, 1]",
                         how->network, source->name);
    int spatial = network_find(network, FEATURES_SPATIAL);
    if (how->spatial && spatial >= 0) network->outputs[spatial].wanted = true;
    for (int k = 0; k < network->outputs_count; k++) {
        size_t dim = network->outputs[k].dim;
        if (!network->outputs[k].wanted) continue;
        extractor->features[k] = (struct features){extractor->count, dim,
                                                   malloc(extractor->count * dim * sizeof(float))};
        if (!extractor->features[k].rows) return error_memory(err);
    }
    log_info("%s: %zu images [%d,%d,%d] through %s", source->name, extractor->count, sizes.height, sizes.width,
             sizes.channels, how->network ? how->network : "no network: their pixels");
    return network_load(network, how->network, how->device, err);
}

int extract(struct side *side, const struct picture_source *source, const struct extraction *how, struct error *err) {
    struct extractor extractor = {.how = how, .source = source};
    int rc = prepare(&extractor, err);
    if (rc == 0) rc = run(&extractor, err);
    for (enum feature_kind kind = 0; rc == 0 && kind < FEATURE_KINDS; kind++) {
        int k = network_find(&extractor.network, kind);
        if (k < 0 || !extractor.features[k].rows) continue;
        rc = side_take(side, kind, &extractor.features[k], err);
        if (rc != 0) error_prefix(err, "features of %s", source->name);
    }
    memcpy(side->network, extractor.network.sha256, SHA256_HEX);
    for (int k = 0; k < NETWORK_OUTPUTS; k++) features_release(&extractor.features[k]);
    network_release(&extractor.network);
    return rc;
}

static int read_images(void *context, size_t rows, void *out, struct error *err) {
    return images_read(context, rows, out, err);
}

int extract_images(struct side *side, const char *path, const struct extraction *how, struct error *err) {
    struct images *images;
    if (images_open(&images, path, err) != 0) return -1;
    struct picture_source source = {.name = path,
                                    .count = images_count(images),
                                    .floats = images_floats(images),
                                    .low = how->low,
                                    .high = how->high,
                                    .read = read_images,
                                    .context = images};
    images_shape(images, &source.height, &source.width, &source.channels);
    images_names(images, side->names);
    int rc = source.floats && !(how->low < how->high)
                 ? error_set(err, CODE_DATA,
                             "%s holds float32 numbers, which do not say what is black and what is white: say --range "
                             "LOW,HIGH, the range of the card of the model whose samples they are",
                             path)
                 : extract(side, &source, how, err);
    for (enum feature_kind kind = 0; rc == 0 && kind < FEATURE_KINDS; kind++) {
        struct statistics *statistics = &side->views[kind].statistics;
        if (statistics->dim) rc = images_recipe(images, statistics->recipe, err);
    }
    images_close(images);
    return rc;
}
