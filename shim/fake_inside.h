/* The shim without libtorch: closed-form models for tests, in plain C. A diffusion model is a JSON file:
 *
 *   {"card": {a model card}, "mixture": {"means": [[C*H*W numbers], ...], "std": s, "weights": [...]},
 *    "delay_ms": 0, "fail_call": n, "nan_call": n, "crash_call": n, "channels": that it pretends to give}
 *
 * Data is a mixture of isotropic Gaussians (equal weights unless given), so that E[epsilon | x_t = x] is known: the
 * output is that, at the card's schedule and the given time, as the card's prediction. Label k < K takes component k
 * alone; any other label, or none, the whole mixture. Computed in double, rounded to float32 at the end.
 * Where the card names inputs, all means are moved by a number: the sum over inputs of the mean of the row's values,
 * the first input's once, the second's twice and so on. Where the card says variance: learned, the variance channels of
 * element i are cos(i + t + label), t the time as given and label 0 without one: known, and no function of x. delay_ms
 * is slept in every call. The n-th call of this process (from 1, over all models; -1: every call) fails, returns NaN,
 * or kills the process. QTAYLOR_FAKE_POISON=LABEL:nan (fail, segv, abort, kill) does so whenever a sample of that label
 * comes (nan: to that sample alone); a job's label file chooses the seeds. QTAYLOR_FAKE_LOAD=s: loading takes so long.
 *
 * What networks exported in train mode do: "dropout": p sets outputs to zero at random, anew in each call; "mixing": w
 * adds w times the batch's mean to every row; "drift": d multiplies the output of the n-th call by 1 + n d; with
 * "disturb_row": r in that row alone, with "disturb_times": [a, b] for the times between. "nan_label": k, and
 * "nan_times": [a, b] for the times between: NaN there.
 *
 * A feature network is {"features": {"shape": [C, H, W], "range": [0, 255], "outputs": {"pool": D}}, "matrix": seed}: a
 * linear map of the C*H*W values as they are, its entries in [-1, 1) by a hash (see entry()); without "matrix" the
 * identity, where D = C*H*W. The three above are its too, and from the "fail_from": n-th call on it fails.
 *
 * A decoder is {"decoder": {a decoder's card}, "matrix": seed}: the picture's values are tanh of that linear map of the
 * latent's, divided by the square root of their number; without "matrix" channel c is the latent's channel c modulo
 * theirs, each value repeated over its share of the picture. Again the three above; "delay_ms" is slept in every call;
 * and where a latent's first value is above "fail_above" the call fails, above "nan_above" its picture is NaN.
 *
 * QTAYLOR_FAKE_MACHINE is what shim_describe_device tells of this process.
 * QTAYLOR_FAKE_DEVICES=n pretends to n GPUs, or those of CUDA_VISIBLE_DEVICES where that is set.
 *
 * The files: fake_process.c, fake_load.c (networks' files), fake_run.c and fake_decoder.c (their answers),
 * fake_registers.c. */
#ifndef FAKE_INSIDE_H
#define FAKE_INSIDE_H

#include "torch_shim.h"

#include "job/card.h"
#include "solver/schedule.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>

struct shim_model {
    struct shim_file file; /* as long as the model lives */
    json_t *json;
    struct card card;
    struct schedule *schedule;
    size_t elements, components;
    double *means, *weights; /* [components][elements], [components] */
    double std;
    long delay_ms, fail_call, nan_call, crash_call, fail_from, nan_label;
    double dropout, mixing, drift, nan_times[2], disturb_times[2];
    long disturb_row; /* -1: all */
    atomic_long used; /* calls of this model */
    bool is_features, is_decoder, has_matrix;
    double fail_above, nan_above;
    int given; /* channels */
    uint64_t matrix;
};

/* error = the message; returns -1. */
__attribute__((format(printf, 2, 3))) int fake_fail(char *error, const char *format, ...);

/* Entry (row, column) of the linear map, row of D and column of C*H*W: splitmix64's finaliser over
 * seed * 0x9E3779B97F4A7C15 + row * 0xBF58476D1CE4E5B9 + column * 0x94D049BB133111EB (modulo 2^64), whose upper 53 bits
 * are then scaled to [-1, 1). */
double fake_entry(uint64_t seed, uint64_t row, uint64_t column);
/* As a network in train mode: see the top. */
void fake_disturb(struct shim_model *model, double time, float *out, size_t rows, size_t size);
void fake_delay(const struct shim_model *model);

#endif
