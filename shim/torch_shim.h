/* libtorch behind a pure C interface: opaque handles, integers, floats and pointers. Two bodies, chosen at link time:
 * torch_*.cpp (libtorch) and fake_*.c (closed-form models for tests; fake_inside.h describes their files).
 *
 * Every function that can fail returns 0 or -1 and then fills error[SHIM_ERROR]. Nothing throws, exits or prints.
 * Host buffers belong to the caller. Images and registers are C-contiguous [B,C,H,W]. */
#ifndef TORCH_SHIM_H
#define TORCH_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHIM_ERROR = 1000, SHIM_CPU = -1 };

/* Once a process, before any thread: deterministic algorithms, no TF32 unless asked, one inter-op thread. Refuses a
 * process with two OpenMP runtimes mapped, or with another libtorch than it was compiled against. */
int shim_start(int allow_tf32, char *error);
/* One line for --version and run.json, of the libtorch that was loaded: "libtorch 2.13.0 (cpu, MKL 2024.2)", "fake".
 * Borrowed, static. */
const char *shim_describe(void);
/* The forms of networks it loads: "TorchScript, AOTInductor packages". Borrowed, static. */
const char *shim_forms(void);
/* What the samples' last bits depend on, besides model and job: "libtorch 2.13.0, cpu AVX2", or the GPU's name and
 * CUDA's version. capacity >= 64. */
void shim_describe_device(int device, char *text, int capacity);
int shim_device_count(void); /* CUDA devices this process sees; 0 on a CPU build */
/* A text that identifies the physical device, the same in every process of the node. capacity >= 64. */
int shim_device_identity(int device, char *identity, int capacity, char *error);
/* Once in every worker thread: its thread-local modes, device and (CUDA) its own stream. device: SHIM_CPU or an index.
 */
int shim_thread_start(int device, char *error);

/* ---- models: diffusion networks, decoders, feature networks ---- */
struct shim_model; /* may be run by several threads at a time */

struct shim_file {
    const void *data; /* [size]: the bytes, which stay as they are until release(owner) is called: by any of the
                         functions below, once nothing needs them */
    size_t size;
    const char *name; /* for messages */
    void (*release)(void *owner);
    void *owner;
};

/* *model is new, made of a file in one of the forms, which its bytes tell. Weights in TorchScript on the CPU are used
 * where they are, and not copied. What an AOTInductor package was compiled for (processor, device) must be here, else
 * it is an error; it is called with the shapes it was compiled for, else the call is one. Its loader unpacks it in the
 * folder for temporaries (TMPDIR).
 */
int shim_model_load(struct shim_model **model, const struct shim_file *file, int device, char *error);
/* Of a model on a GPU, for calls of shim_model_run and shim_registers_eval: each thread records the first of a shape as
 * a CUDA graph, checks that it gives the same when replayed, and replays it from then on. A call that cannot be
 * recorded, or gives others, is an error then; a program without CUDA's headers says so here. */
int shim_model_record(struct shim_model **model, char *error);
void shim_model_free(struct shim_model *model); /* accepts NULL */
/* The channels that a diffusion network gave at its last call; 0 before the first. */
int shim_model_channels(const struct shim_model *model);

struct shim_shape {
    int batch, channels, height, width;
};
enum { SHIM_FLOAT32, SHIM_INT64, SHIM_BOOL };
struct shim_input { /* one more argument of forward, by its name: [B, shape] */
    const char *name;
    const void *values; /* float, int64_t or one byte (0, 1) each */
    int type, rank;
    int64_t shape[3];
};
struct shim_condition { /* what a diffusion network gets besides x */
    double time;
    int integer_time;                /* 1: t is int64 [B], else float32 [B] */
    const int64_t *labels;           /* [B], or NULL: forward(x, t) without a third argument */
    const struct shim_input *inputs; /* [inputs_count] */
    int inputs_count;
    int channels;    /* that the output must have; 0: C or more */
    uint64_t serial; /* of labels and inputs: registers that had this number keep them on the device; 0: not so */
};

/* out[B,C,H,W] = the first C channels of forward(x, t, labels, inputs by name), variance[B,C,H,W] the next C, unless
 * NULL. An output that is not [B, >= C, H, W], or [B, channels, H, W], is an error. */
int shim_model_run(struct shim_model *model, const float *x, struct shim_shape shape,
                   const struct shim_condition *condition, float *out, float *variance, char *error);

/* images[B,C,H,W] = forward(latents) as float32, of the sizes of `image`; an output of others is an error. */
int shim_decoder_run(struct shim_model *model, const float *latents, struct shim_shape latent, struct shim_shape image,
                     float *images, char *error);

struct shim_output { /* of a feature network */
    const char *name;
    int dim;
    float *values; /* [B,dim]; NULL: not wanted */
};
/* outputs = forward(images) as float32. images: uint8 [B,C,H,W] where is_uint8, else float. forward returns a tensor, a
 * tuple in the order of outputs[count], or a dictionary by their names; one that is not [B, dim] once its axes beyond
 * the first are taken together is an error. The Inception file of published FIDs (forward with return_features and
 * no_output_bias) gives `pool`, and `logits` as the logarithm of its softmax without bias. */
int shim_features_run(struct shim_model *model, const void *images, int is_uint8, struct shim_shape shape,
                      const struct shim_output *outputs, int count, char *error);

/* ---- registers on the model's device: the executor's GPU path ---- */
struct shim_registers;

/* count registers of [B,C,H,W] on `device`, float64 or float32; uninitialised. One thread at a time. *registers new. */
int shim_registers_new(struct shim_registers **registers, int device, int count, struct shim_shape shape,
                       int is_float64, char *error);
void shim_registers_free(struct shim_registers *registers); /* accepts NULL */
int shim_registers_set(struct shim_registers *registers, int dst, const double *host, char *error);
int shim_registers_get(struct shim_registers *registers, int src, double *host, char *error); /* waits for the device */
/* dst = sum of coefficients[i] * sources[i], left to right; dst may be a source. Where beyond > 0 only on channels
 * first to beyond - 1; the others are those of sources[0]. */
int shim_registers_lincomb(struct shim_registers *registers, int dst, int count, const double *coefficients,
                           const int *sources, int first, int beyond, char *error);
int shim_registers_clamp(struct shim_registers *registers, int dst, double low, double high, char *error);
/* A sample at a time: dst = src (phi std(like)/std(src) + 1 - phi), std over C,H,W with N - 1; a src without spread
 * stays. */
int shim_registers_rescale(struct shim_registers *registers, int dst, int src, int like, double phi, char *error);
/* dst = dst exp(a + b src), element-wise. */
int shim_registers_mulexp(struct shim_registers *registers, int dst, int src, double a, double b, char *error);
/* A sample at a time, with s the quantile (linear between two values) of |dst|, but from low to high: dst = clamp(dst,
 * -s, s) low/s. */
int shim_registers_threshold(struct shim_registers *registers, int dst, double quantile, double low, double high,
                             char *error);
/* A sample at a time: dst = <src, onto>/<onto, onto> onto, 0 where onto is. */
int shim_registers_project(struct shim_registers *registers, int dst, int src, int onto, char *error);
/* A sample at a time: dst = dst min(1, norm/|dst|). */
int shim_registers_limit(struct shim_registers *registers, int dst, double norm, char *error);
/* A sample at a time: dst = scale src + (1 - scale) guide, scales[B]; first, beyond: as of lincomb, the others are
 * src's.
 */
int shim_registers_guide(struct shim_registers *registers, int dst, int src, int guide, const double *scales, int first,
                         int beyond, char *error);
/* dst = first C channels of the model on src cast to float32, dst2 the next C; dst2 < 0: not wanted. twin >= 0: the
 * call is of 2 B rows, src twice, with as many labels and inputs, and twin = what it says of the second B. */
int shim_registers_eval(struct shim_registers *registers, struct shim_model *model, int dst, int dst2, int twin,
                        int src, const struct shim_condition *condition, char *error);

/* ---- torch's own random numbers, for EDM's published latents ---- */
/* generator.manual_seed(seed); randn[count] float32; then, if classes > 0, one randint(classes). device: SHIM_CPU or
 * an index. label may be NULL. */
int shim_torch_latent(int device, uint64_t seed, int count, float *out, int64_t classes, int64_t *label, char *error);

#ifdef __cplusplus
}
#endif
#endif
