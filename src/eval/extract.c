/* Images through a feature network, in batches by several threads. */
#include "eval/extract.h"

#include "base/crash.h"
#include "base/log.h"
#include "format/images.h"
#include "eval/network.h"

#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64 };

struct extracted { /* of one network */
    struct network network;
    struct features features[NETWORK_OUTPUTS]; /* rows NULL where not wanted */
};

struct extractor {
    const struct extraction *how;
    struct extracted *list; /* [how->count] */
    const struct picture_source *source;
    size_t count, bytes; /* images; bytes of one */
    uint64_t shape;      /* a mark of theirs */
    struct marks pixels;
};

/* Which picture it is. A checksum of each half will do: nobody makes pictures that look like copies. */
static uint64_t mark_of(const struct extractor *extractor, const uint8_t *picture) {
    size_t half = extractor->bytes / 2;
    uint64_t first = libdeflate_crc32(0, picture, half);
    return extractor->shape ^ (first << 32 | libdeflate_crc32(0, picture + half, extractor->bytes - half));
}

/* A batch through every network. */
static int run_batch(const struct extractor *extractor, const uint8_t *pixels, size_t first, size_t rows,
                     struct error *err) {
    for (size_t i = 0; i < extractor->how->count; i++) {
        const struct extracted *of = &extractor->list[i];
        float *values[NETWORK_OUTPUTS] = {NULL};
        for (int k = 0; k < of->network.outputs_count; k++)
            if (of->features[k].rows) values[k] = of->features[k].rows + first * of->features[k].dim;
        if (network_run(&of->network, pixels, rows, BATCH, values, err) != 0) return -1;
    }
    return 0;
}

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
            for (size_t i = batch; i < batch + taken; i++)
                extractor->pixels.list[first + i] = mark_of(extractor, pixels + i * extractor->bytes);
            if (one.code == CODE_OK)
                run_batch(extractor, pixels + batch * extractor->bytes, first + batch, taken, &one);
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
    for (size_t i = 0; i < extractor->how->count; i++) {
        if (network_prove(&extractor->list[i].network, extractor->how->networks[i].path, BATCH, &difference, err) != 0)
            return -1;
        if (difference > 0)
            log_warn("features of one image change by up to %.1e of the largest with the other images of the batch",
                     difference);
    }
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

static int prepare_network(const struct extractor *extractor, size_t index, const struct card *sizes,
                           struct error *err) {
    const struct picture_source *source = extractor->source;
    const struct extraction *how = extractor->how;
    const struct named_path *file = &how->networks[index];
    struct extracted *of = &extractor->list[index];
    struct network *network = &of->network;
    if (network_open(network, file->path, sizes, how->metrics, err) != 0) return error_prefix(err, "%s", source->name);
    if (file->name) snprintf(network->name, NETWORK_NAME, "%s", file->name);
    if (source->floats) network_take_floats(network, sizes, false);
    if (source->floats && !network->floats)
        return error_set(err, CODE_DATA,
                         "%s takes pictures in whole numbers of [0, 255], and %s holds float32 numbers: give "
                         "pixels (of a run: export --to npz), or a network of range [0, 1] or [-1, 1]",
                         file->path, source->name);
    int spatial = network_find(network, FEATURES_SPATIAL);
    if (how->spatial && spatial >= 0) network->outputs[spatial].wanted = true;
    for (int k = 0; k < network->outputs_count; k++) {
        size_t dim = network->outputs[k].dim;
        if (!network->outputs[k].wanted) continue;
        size_t numbers = how->foresee ? 1 : extractor->count * dim;
        of->features[k] = (struct features){extractor->count, dim, malloc(numbers * sizeof(float))};
        if (!of->features[k].rows) return error_memory(err);
    }
    return 0;
}

static int prepare(struct extractor *extractor, struct error *err) {
    const struct picture_source *source = extractor->source;
    struct card sizes = {.height = source->height,
                         .width = source->width,
                         .channels = source->channels,
                         .low = source->low,
                         .high = source->high};
    const int shape[] = {source->height, source->width, source->channels, source->floats};
    char message[SHIM_ERROR];
    extractor->count = source->count;
    if (extractor->how->first > 0 && extractor->how->first < source->count) extractor->count = extractor->how->first;
    extractor->shape = sha256_mark(shape, sizeof shape);
    extractor->bytes = card_elements(&sizes) * (source->floats ? sizeof(float) : sizeof(uint8_t));
    for (size_t i = 0; i < extractor->how->count; i++)
        if (prepare_network(extractor, i, &sizes, err) != 0) return -1;
    if (extractor->how->foresee) return 0;
    if (marks_new(&extractor->pixels, extractor->count, err) != 0) return -1;
    if (shim_start(0, message) != 0) return error_set(err, CODE_INTERNAL, "%s", message);
    for (size_t i = 0; i < extractor->how->count; i++) {
        const char *path = extractor->how->networks[i].path;
        log_info("%s: %zu images [%d,%d,%d] through %s", source->name, extractor->count, sizes.height, sizes.width,
                 sizes.channels, path ? path : "no network: their pixels");
        if (network_load(&extractor->list[i].network, path, extractor->how->device, err) != 0) return -1;
    }
    return 0;
}

static int take(struct side *side, struct extracted *of, bool foreseen, struct error *err) {
    memcpy(side->network, of->network.sha256, SHA256_HEX);
    memcpy(side->name, of->network.name, NETWORK_NAME);
    network_shape(&of->network, side->shape);
    side->foreseen = foreseen;
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++) {
        int k = network_find(&of->network, kind);
        if (k < 0 || !of->features[k].rows) continue;
        if (side_take(side, kind, &of->features[k], err) != 0) return -1;
    }
    return 0;
}

/* A set with copies is smaller than it looks. */
static int warn_copies(const struct extractor *extractor, struct error *err) {
    size_t copies;
    if (marks_repeated(&extractor->pixels, &copies, err) != 0) return -1;
    if (copies > 0)
        log_warn("%s: %zu of %zu images are exact copies of others, pixel for pixel", extractor->source->name, copies,
                 extractor->count);
    return 0;
}

int extract(struct side *sides, const struct picture_source *source, const struct extraction *how, struct error *err) {
    struct extractor extractor = {.how = how, .source = source, .list = calloc(how->count, sizeof *extractor.list)};
    if (!extractor.list) return error_memory(err);
    int rc = prepare(&extractor, err);
    if (rc == 0 && !how->foresee) rc = run(&extractor, err);
    if (rc == 0) rc = warn_copies(&extractor, err);
    sides[0].pixels = extractor.pixels;
    for (size_t i = 0; i < how->count; i++) {
        struct extracted *of = &extractor.list[i];
        if (rc == 0 && (rc = take(&sides[i], of, how->foresee, err)) != 0)
            error_prefix(err, "features of %s", source->name);
        for (int k = 0; k < NETWORK_OUTPUTS; k++) features_release(&of->features[k]);
        network_release(&of->network);
    }
    free(extractor.list);
    return rc;
}

static int read_images(void *context, size_t rows, void *out, struct error *err) {
    return images_read(context, rows, out, err);
}

static int take_names(struct side *sides, size_t count, const struct images *images, struct error *err) {
    const struct image_names *names = images_names(images);
    for (size_t i = 0; names && i < count; i++)
        if (marks_new(&sides[i].names, names->count, err) != 0 ||
            image_names_mark(names, sides[i].names.list, err) != 0)
            return -1;
    return 0;
}

int extract_images(struct side *sides, const char *path, const struct extraction *how, struct error *err) {
    struct images *images;
    if (images_open(&images, path, how->order, err) != 0) return -1;
    struct picture_source source = {.name = path,
                                    .count = images_count(images),
                                    .floats = images_floats(images),
                                    .low = how->low,
                                    .high = how->high,
                                    .read = read_images,
                                    .context = images};
    images_shape(images, &source.height, &source.width, &source.channels);
    int rc = source.floats && !(how->low < how->high)
                 ? error_set(err, CODE_DATA,
                             "%s holds float32 numbers, which do not say what is black and what is white: say --range "
                             "LOW,HIGH, the range of the card of the model whose samples they are",
                             path)
                 : extract(sides, &source, how, err);
    if (rc == 0) rc = take_names(sides, how->count, images, err);
    for (size_t i = 0; rc == 0 && i < how->count * FEATURE_KINDS; i++) {
        struct statistics *statistics = &sides[i / FEATURE_KINDS].views[i % FEATURE_KINDS].statistics;
        if (statistics->dim) rc = images_recipe(images, statistics->recipe, err);
    }
    images_close(images);
    return rc;
}
