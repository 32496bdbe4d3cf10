/* Features in memory: read from .npy and .npz files, checked, turned into moments. */
#include "eval/features.h"

#include "base/text.h"
#include "format/floats.h"
#include "format/npz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const feature_kind_names[] = {"pool", "spatial", "logits", NULL};

enum feature_kind features_of_metric(enum metric metric) {
    return metric == METRIC_SFID ? FEATURES_SPATIAL : metric == METRIC_IS ? FEATURES_LOGITS : FEATURES_POOL;
}

int features_check(const struct features *features, struct error *err) {
    size_t dim = features->dim;
    for (size_t i = 0; i < features->count * dim; i++)
        if (!isfinite(features->rows[i]))
            return error_set(err, CODE_DATA, "row %zu, column %zu: expected a finite number, found %g", i / dim,
                             i % dim, (double)features->rows[i]);
    return 0;
}

int features_lengths(const struct features *features, double *inverse, struct error *err) {
    for (size_t i = 0; i < features->count; i++) {
        const float *row = features->rows + i * features->dim;
        double square = 0;
        for (size_t k = 0; k < features->dim; k++) square += (double)row[k] * row[k];
        if (square == 0)
            return error_set(err, CODE_DATA, "the features of sample %zu are all 0: they have no direction", i);
        if (inverse) inverse[i] = 1 / sqrt(square);
    }
    return 0;
}

/* From an array's elements, which need not be aligned. */
static int convert(struct features *features, const struct npy *npy, const char *data, const char *path,
                   struct error *err) {
    bool floats = npy->type == NPY_FLOAT16 || npy->type == NPY_FLOAT32 || npy->type == NPY_FLOAT64;
    if (!floats || npy->rank != 2 || npy->shape[0] < 1 || npy->shape[1] < 1 || npy->shape[1] > MOMENTS_DIM_MAX) {
        char found[NPY_TEXT];
        npy_text(npy, found);
        return error_set(
            err, CODE_DATA,
            "%s: expected features, float16, float32 or float64 of shape [N, D] with D of 1 to %d, found %s", path,
            MOMENTS_DIM_MAX, found);
    }
    size_t count = npy->shape[0], dim = npy->shape[1];
    *features = (struct features){count, dim, malloc(count * dim * sizeof(float))};
    if (!features->rows) return error_memory(err);
    for (size_t i = 0; i < count * dim; i++) features->rows[i] = (float)floats_at(data, npy->type, i);
    return features_check(features, err) == 0 ? 0 : error_prefix(err, "%s", path);
}

/* Is it a sha256? */
static bool is_digest(const char *text) {
    return strlen(text) == SHA256_HEX - 1 && strspn(text, "0123456789abcdef") == SHA256_HEX - 1;
}

int features_network(struct npz *npz, char network[SHA256_HEX], const char *path, struct error *err) {
    const size_t digits = SHA256_HEX - 1;
    struct npy npy;
    void *data = NULL;
    memset(network, 0, SHA256_HEX);
    if (!npz_has(npz, "network")) return 0;
    if (npz_read(npz, "network", &npy, &data, err) != 0) return -1;
    if (npy.type == NPY_BYTES && npy_bytes(&npy) == digits) memcpy(network, data, digits);
    free(data);
    if (is_digest(network)) return 0;
    return error_set(err, CODE_DATA, "%s: network: expected the 64 hex digits of a sha256 (|S64)", path);
}

static int read_npz(struct features *features, char network[SHA256_HEX], const char *path, struct error *err) {
    struct npz *npz;
    struct npy npy;
    void *data = NULL;
    if (npz_open(&npz, path, err) != 0) return -1;
    const char *name = npz_has(npz, "arr_0") && !npz_has(npz, "features") ? "arr_0" : "features";
    int rc = npz_read(npz, name, &npy, &data, err);
    if (rc == 0) rc = features_network(npz, network, path, err);
    npz_close(npz);
    if (rc == 0) rc = convert(features, &npy, data, path, err);
    free(data);
    return rc;
}

static int read_npy(struct features *features, struct features_origin *origin, const char *path, struct error *err) {
    struct npy npy;
    char *data, shape[64];
    size_t offset;
    long long sizes[3];
    if (npy_read(&npy, &data, &offset, path, err) != 0) return -1;
    npy_note(data, offset, "network", origin->network, SHA256_HEX);
    npy_note(data, offset, "recipe", origin->recipe, RECIPE_SIZE);
    npy_note(data, offset, "shape", shape, sizeof shape);
    if (!is_digest(origin->network)) origin->network[0] = '\0';
    if (!text_is_name(origin->recipe)) origin->recipe[0] = '\0';
    bool pixels = sscanf(shape, "%lld,%lld,%lld", &sizes[0], &sizes[1], &sizes[2]) == 3;
    for (int i = 0; i < 3; i++) origin->shape[i] = pixels ? sizes[i] : 0;
    int rc = convert(features, &npy, data + offset, path, err);
    free(data);
    return rc;
}

static bool is_npz(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".npz") == 0;
}

int features_read(struct features *features, struct features_origin *origin, const char *path, struct error *err) {
    *features = (struct features){0};
    *origin = (struct features_origin){0};
    int rc = is_npz(path) ? read_npz(features, origin->network, path, err) : read_npy(features, origin, path, err);
    if (rc != 0) features_release(features);
    return rc;
}

int features_write(const struct features *features, const struct features_origin *origin, const char *path,
                   struct error *err) {
    const struct npy npy = {NPY_FLOAT32, sizeof(float), 2, {features->count, features->dim}};
    const long long sizes[] = {origin->shape[0], origin->shape[1], origin->shape[2]};
    char note[SHA256_HEX + RECIPE_SIZE + 100];
    int length = snprintf(note, sizeof note, "network=%s", origin->network);
    if (origin->recipe[0])
        length += snprintf(note + length, sizeof note - (size_t)length, " recipe=%s", origin->recipe);
    if (sizes[0])
        snprintf(note + length, sizeof note - (size_t)length, " shape=%lld,%lld,%lld", sizes[0], sizes[1], sizes[2]);
    return npy_write_noted(&npy, features->rows, origin->network[0] ? note : NULL, path, err);
}

void features_release(struct features *features) {
    free(features->rows);
    *features = (struct features){0};
}

int features_moments(const struct features *features, size_t first, size_t count, struct moments *moments,
                     struct error *err) {
    if (moments_init(moments, features->dim, err) != 0) return -1;
    if (moments_add(moments, features->rows + first * features->dim, count, err) == 0) return 0;
    moments_release(moments);
    return -1;
}
