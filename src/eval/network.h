/* A feature network: a TorchScript file whose extra file `features.json` says what it takes and gives:
 * {"shape": [C,H,W], "range": [0, 255], "outputs": {"pool": 64}}, with one output. Range [0, 255]: a uint8 tensor;
 * [0, 1] or [-1, 1]: float32. (The closed-form models of the tests, plain JSON files, hold it as member "features".)
 * The Inception file of published FIDs (inception-2015-12-05.pt, known by its sha256) needs no description: 3 channels of
 * any size, [0, 255], pool 2048. A module whose forward has an argument `return_features` gets True for it.
 * Or `none`: the pixels themselves, C,H,W order, as C*H*W floats in [0, 1]. */
#ifndef EVAL_NETWORK_H
#define EVAL_NETWORK_H

#include "base/error.h"
#include "base/hash.h"
#include "job/card.h"
#include "torch_shim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct network {
    char output[32];          /* "pool"; "pixels" for none */
    size_t dim;
    int channels, height, width; /* what it takes; grey samples are repeated to 3 channels where it takes 3 */
    int sample_channels;      /* what the samples have */
    double low, high;
    char sha256[SHA256_HEX];  /* of the file; of the word "pixels" for none */
    struct shim_model *model; /* NULL before network_load, and always for none */
};

/* Reads card and digest; loads nothing. path NULL: none. `card` is the diffusion model's: sizes that do not fit are an
 * error. */
int network_open(struct network *network, const char *path, const struct card *card, struct error *err);
int network_load(struct network *network, const char *path, int device, struct error *err);
void network_free(struct network *network);
/* features[rows][dim] of samples uint8 [rows,H,W,C] as stored; always runs batches of `batch` rows, padded with the
 * last one. May be called by several threads at a time. */
int network_run(const struct network *network, const uint8_t *samples, size_t rows, size_t batch, float *features,
                struct error *err);

#endif
