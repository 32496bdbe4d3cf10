/* A batch's registers: `count` times [batch][C*H*W] numbers. Two bodies: in host memory (registers_host.c; a LINCOMB is
 * one fused pass), and on the model's device through the shim (registers_device.c). The executor sees no difference,
 * and the numbers differ only by the device's arithmetic. */
#ifndef SAMPLE_REGISTERS_H
#define SAMPLE_REGISTERS_H

#include "base/error.h"
#include "job/sampler.h"
#include "solver/plan.h"
#include "torch_shim.h"

struct registers { /* each body begins with one */
    const struct registers_body *body;
};

struct eval_registers { /* of a call of the model */
    int dst, src;
    int dst2; /* its variance channels; 0: not wanted */
    int twin; /* unless 0: the call is of 2 B rows, src twice, and this is what it says of the second B */
};

struct registers_body {
    void (*free)(struct registers *);
    int (*set)(struct registers *, int dst, const double *values, struct error *err);
    int (*get)(struct registers *, int src, double *values, struct error *err);
    int (*lincomb)(struct registers *, int dst, const struct term *terms, size_t count, const int channels[2],
                   struct error *err);
    int (*clamp)(struct registers *, int dst, double low, double high, struct error *err);
    int (*rescale)(struct registers *, int dst, int src, int like, double phi, struct error *err);
    int (*mulexp)(struct registers *, int dst, int src, double a, double b, struct error *err);
    int (*threshold)(struct registers *, int dst, double quantile, double low, double high, struct error *err);
    int (*project)(struct registers *, int dst, int src, int onto, struct error *err);
    int (*limit)(struct registers *, int dst, double norm, struct error *err);
    int (*guide)(struct registers *, int dst, int src, int guide, const double *scales, const int channels[2],
                 struct error *err);
    int (*eval)(struct registers *, struct shim_model *model, struct eval_registers numbers,
                const struct shim_condition *condition, struct error *err);
};

/* *registers new; contents undefined. */
int registers_host_new(struct registers **registers, int count, struct shim_shape shape, enum state_kind state,
                       struct error *err);
int registers_device_new(struct registers **registers, int device, int count, struct shim_shape shape,
                         enum state_kind state, struct error *err);

static inline void registers_free(struct registers *registers) { /* accepts NULL */
    if (registers) registers->body->free(registers);
}

/* values: all of the register, [batch][C*H*W]. */
static inline int registers_set(struct registers *registers, int dst, const double *values, struct error *err) {
    return registers->body->set(registers, dst, values, err);
}
static inline int registers_get(struct registers *registers, int src, double *values, struct error *err) {
    return registers->body->get(registers, src, values, err);
}

/* dst = sum of coefficient * source, from left to right, rounded after every operation; dst may be a source. Where
 * channels[1] > 0 only on channels [0] to [1] - 1; the others are those of the first source. */
static inline int registers_lincomb(struct registers *registers, int dst, const struct term *terms, size_t count,
                                    const int channels[2], struct error *err) {
    return registers->body->lincomb(registers, dst, terms, count, channels, err);
}

/* NaN stays NaN. */
static inline int registers_clamp(struct registers *registers, int dst, double low, double high, struct error *err) {
    return registers->body->clamp(registers, dst, low, high, err);
}

/* A sample at a time: dst = src (phi std(like)/std(src) + 1 - phi), std over C*H*W with N - 1; a src without spread
 * stays. dst may be either. */
static inline int registers_rescale(struct registers *registers, int dst, int src, int like, double phi,
                                    struct error *err) {
    return registers->body->rescale(registers, dst, src, like, phi, err);
}

static inline int registers_mulexp(struct registers *registers, int dst, int src, double a, double b,
                                   struct error *err) {
    return registers->body->mulexp(registers, dst, src, a, b, err); /* dst = dst exp(a + b src), element-wise */
}

/* A sample at a time, with s the quantile (linear between two values) of |dst|, but from low to high: dst = clamp(dst,
 * -s, s) low/s. */
static inline int registers_threshold(struct registers *registers, int dst, double quantile, double low, double high,
                                      struct error *err) {
    return registers->body->threshold(registers, dst, quantile, low, high, err);
}

/* A sample at a time: dst = <src, onto>/<onto, onto> onto, 0 where onto is; dst may be either. */
static inline int registers_project(struct registers *registers, int dst, int src, int onto, struct error *err) {
    return registers->body->project(registers, dst, src, onto, err);
}

/* A sample at a time: dst = dst min(1, norm/|dst|). */
static inline int registers_limit(struct registers *registers, int dst, double norm, struct error *err) {
    return registers->body->limit(registers, dst, norm, err);
}

/* A sample at a time, as its lincomb of (scale, src), (1 - scale, guide): scales[batch]. */
static inline int registers_guide(struct registers *registers, int dst, int src, int guide, const double *scales,
                                  const int channels[2], struct error *err) {
    return registers->body->guide(registers, dst, src, guide, scales, channels, err);
}

/* dst = the model on src, cast to its float32. condition: of as many rows as the call. CODE_DATA when the model fails.
 */
static inline int registers_eval(struct registers *registers, struct shim_model *model, struct eval_registers numbers,
                                 const struct shim_condition *condition, struct error *err) {
    return registers->body->eval(registers, model, numbers, condition, err);
}

#endif
