/* The label of each sample, by the rule that its job names. */
#include "sample/labels.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "format/npy.h"
#include "sample/noise.h"
#include "torch_shim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int wrong_count(const char *path, uint64_t found, uint64_t count, struct error *err) {
    return error_set(err, CODE_DATA, "%s: expected one number a seed, %" PRIu64 " in all, found %" PRIu64, path, count,
                     found);
}

static int read_npy(int64_t *labels, const char *path, const char *data, size_t size, uint64_t count,
                    struct error *err) {
    struct npy npy;
    size_t offset;
    if (npy_parse(&npy, &offset, data, size, path, err) != 0) return -1;
    if (npy.type != NPY_INT64 || npy.rank != 1)
        return error_set(err, CODE_DATA,
                         "%s: expected an int64 array [N], a number a seed, found another type or shape", path);
    if (npy.shape[0] != count) return wrong_count(path, npy.shape[0], count, err);
    if (offset > size || size - offset < npy_bytes(&npy))
        return error_set(err, CODE_DATA, "%s: expected %zu bytes of numbers, found %zu: the file is cut short", path,
                         npy_bytes(&npy), offset > size ? (size_t)0 : size - offset);
    memcpy(labels, data + offset, npy_bytes(&npy));
    return 0;
}

/* One number a line; data is cut up. */
static int read_lines(int64_t *labels, const char *path, char *data, uint64_t count, struct error *err) {
    uint64_t found = 0;
    for (char *rest = data, *line; (line = strsep(&rest, "\n"));) {
        if (!rest && !*line) break; /* behind the last newline */
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r') line[length - 1] = '\0';
        int64_t label;
        if (!text_to_i64(line, &label))
            return error_set(err, CODE_DATA, "%s:%" PRIu64 ": expected one whole number a line, found \"%.60s\"", path,
                             found + 1, line);
        if (found < count) labels[found] = label;
        found++;
    }
    return found == count ? 0 : wrong_count(path, found, count, err);
}

int labels_read(int64_t **labels, const char *path, const char *sha256, uint64_t count, int64_t classes,
                struct error *err) {
    char found[SHA256_HEX], *data;
    size_t size;
    *labels = NULL;
    if (classes < 1)
        return error_set(err, CODE_DATA, "%s: expected a model with classes for these labels, found one without", path);
    if (file_read(path, &data, &size, err) != 0) return -1;
    sha256_bytes(data, size, found);
    bool npy = size >= 6 && memcmp(data, "\x93NUMPY", 6) == 0;
    int rc = sha256 ? sha256_expect(path, found, sha256, err) : 0;
    if (rc == 0 && !(*labels = calloc(count ? count : 1, sizeof **labels))) rc = error_memory(err);
    if (rc == 0 && !npy && memchr(data, '\0', size))
        rc = error_set(err, CODE_DATA, "%s: expected one whole number a line, found a zero byte", path);
    if (rc == 0)
        rc = npy ? read_npy(*labels, path, data, size, count, err) : read_lines(*labels, path, data, count, err);
    for (uint64_t i = 0; rc == 0 && i < count; i++)
        if ((*labels)[i] < 0 || (*labels)[i] >= classes)
            rc = error_set(err, CODE_DATA,
                           "%s: expected numbers from 0 to %" PRId64 ", found %" PRId64 " for sample %" PRIu64
                           " (counted from 0)",
                           path, classes - 1, (*labels)[i], i);
    free(data);
    if (rc == 0) return 0;
    free(*labels);
    *labels = NULL;
    return -1;
}

/* EDM draws the label after the latents, from the same generator. -1: it cannot be drawn here. */
static int64_t draw_edm(const struct job *job, const struct card *card, uint64_t seed) {
    size_t elements = card_elements(card);
    float *latent = malloc(elements * sizeof *latent);
    int64_t label;
    char message[SHIM_ERROR];
    int device = job->noise == NOISE_TORCH_CUDA ? 0 : SHIM_CPU;
    if (!latent ||
        shim_torch_latent(device, seed & 0xffffffff, (int)elements, latent, card->classes, &label, message) != 0)
        label = -1;
    free(latent);
    return label;
}

int64_t labels_at(const struct job *job, const struct card *card, const int64_t *file, uint64_t position) {
    if (card->classes == 0) return -1;
    uint64_t seed = seeds_at(&job->seeds, position);
    switch (job->labels.rule) {
        case LABELS_NONE: break;
        case LABELS_BALANCED: return (int64_t)(seed % (uint64_t)card->classes);
        case LABELS_RANDOM: return noise_label(seed, card->classes);
        case LABELS_CONSTANT: return job->labels.constant;
        case LABELS_FILE: return file[position];
        case LABELS_EDM: return draw_edm(job, card, seed);
    }
    return card->null_label;
}
