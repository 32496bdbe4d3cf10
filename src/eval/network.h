/* A feature network: a TorchScript file whose extra file `features.json`, or an AOTInductor package whose metadata of
 * that name, says what it takes and gives:
 * {"shape": [C,H,W], "range": [0, 255], "outputs": {"pool": 2048, "spatial": 2023, "logits": 1008}}, the outputs in the
 * order of the tuple it returns (or it returns a dictionary; or one tensor, where there is one). Which metric uses
 * which: features.h. "name", "resize", "mean" and "deviation" may say what it does inside (tools/export.py features).
 * Range [0, 255]: a uint8 tensor; [0, 1] or [-1, 1]: float32. (The closed-form models of the tests, plain JSON files,
 * hold it as member "features".) The Inception file of published FIDs (inception-2015-12-05.pt, known by its sha256)
 * needs no description: 3 channels of any size, [0, 255], pool 2048 and logits 1008. Or `none`: the pixels themselves,
 * C,H,W order, as C*H*W floats in [0, 1]. float32 and float16 samples reach a network of floats (or none) as they are,
 * mapped from their range, where they have one, to its own, neither rounded nor clipped; one of bytes takes none. */
#ifndef EVAL_NETWORK_H
#define EVAL_NETWORK_H

#include "base/error.h"
#include "base/hash.h"
#include "eval/features.h"
#include "job/card.h"
#include "torch_shim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NETWORK_OUTPUTS = 4 }; /* at most */

struct network_output {
    char name[32]; /* "pool"; "pixels" for none; also a folder's name */
    size_t dim;
    bool wanted; /* by some metric */
};

struct network {
    char name[NETWORK_NAME]; /* its description's, else its file's without folder and extension, other characters than a
                                name's as -; "pixels" for none */
    struct network_output outputs[NETWORK_OUTPUTS];
    int outputs_count;
    int channels, height, width; /* what it takes; grey samples are repeated to 3 channels where it takes 3 */
    int sample_channels;         /* what the samples have */
    double low, high;
    bool floats; /* the samples are float32 (half: float16) [C,H,W], else uint8 [H,W,C] */
    bool half;
    double sample_low, sample_high; /* their range; infinite: they have none, and stay as they are */
    char sha256[SHA256_HEX];        /* of the file; of the word "pixels" for none */
    char key[SHA256_HEX];     /* of feature files: sha256, but another one where it sees floats (older versions rounded
                                 them) */
    bool pixels;              /* no network: the pixels are the features */
    struct shim_model *model; /* NULL before network_load, and always with `pixels` */
};

/* Reads card and digest; loads nothing. path NULL: none. Of the diffusion model's `card` only the sizes of the
 * samples (card_sample) count: some that do not fit are an error, and so is a network without an output that one of the
 * metrics needs. */
int network_open(struct network *network, const char *path, const struct card *card, unsigned metrics,
                 struct error *err);
/* The name that network_open gives it (path NULL: none), without the sizes of samples. */
int network_name(const char *path, char name[NETWORK_NAME], struct error *err);
/* [C,H,W] of the samples where their pixels are the features; else zeros. */
void network_shape(const struct network *network, int64_t shape[3]);
/* The output that is features of this kind, or -1. The only output stands for pool whatever its name. */
int network_find(const struct network *network, enum feature_kind kind);
/* The samples are float32 or float16, in the range of card_sample. A network of bytes is left as it is: see
 * network_check. */
void network_take_floats(struct network *network, const struct card *card, bool half);
/* An error for a network of bytes and samples that are none. */
int network_check(const struct network *network, const char *path, bool floats, struct error *err);
/* The network's proof (sample/proof.h) on noise in batches of `batch`; none passes. In a thread after
 * shim_thread_start. */
int network_prove(const struct network *network, const char *path, size_t batch, double *difference, struct error *err);
/* Reads the file, if it still has its sha256 (else CODE_DATA). device: SHIM_CPU or an index. Nothing to do for none. */
int network_load(struct network *network, const char *path, int device, struct error *err);
/* The model too; also after a failure of network_open or network_load. */
void network_release(struct network *network);
/* features[k][rows][dim] of output k, where features[k] is not NULL, of samples as they are stored; always runs
 * batches of `batch` rows, padded with the last one. A network that network_load has not loaded is CODE_INTERNAL, one
 * that fails CODE_DATA. Several threads may call it at a time, each after shim_thread_start. Not collective. */
int network_run(const struct network *network, const void *stored, size_t rows, size_t batch,
                float *const features[NETWORK_OUTPUTS], struct error *err);

#endif
