/* Registers on the model's device, through the shim. */
#include "sample/registers.h"

#include <stdlib.h>

struct device {
    struct registers base;
    struct shim_registers *shim;
};

static struct shim_registers *shim_of(struct registers *registers) {
    return ((struct device *)registers)->shim;
}

static int checked(int status, const char *message, struct error *err) {
    return status == 0 ? 0 : error_set(err, CODE_INTERNAL, "device: %s", message);
}

static int device_set(struct registers *registers, int dst, const double *values, struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_set(shim_of(registers), dst, values, message), message, err);
}

static int device_get(struct registers *registers, int src, double *values, struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_get(shim_of(registers), src, values, message), message, err);
}

static int device_lincomb(struct registers *registers, int dst, const struct term *terms, size_t count,
                          const int channels[2], struct error *err) {
    double coefficients[count + 1]; /* an array of none would be undefined */
    int sources[count + 1];
    char message[SHIM_ERROR];
    for (size_t i = 0; i < count; i++) {
        coefficients[i] = terms[i].coefficient;
        sources[i] = terms[i].source;
    }
    return checked(shim_registers_lincomb(shim_of(registers), dst, (int)count, coefficients, sources, channels[0],
                                          channels[1], message),
                   message, err);
}

static int device_clamp(struct registers *registers, int dst, double low, double high, struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_clamp(shim_of(registers), dst, low, high, message), message, err);
}

static int device_rescale(struct registers *registers, int dst, int src, int like, double phi, struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_rescale(shim_of(registers), dst, src, like, phi, message), message, err);
}

static int device_mulexp(struct registers *registers, int dst, int src, double a, double b, struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_mulexp(shim_of(registers), dst, src, a, b, message), message, err);
}

static int device_threshold(struct registers *registers, int dst, double quantile, double low, double high,
                            struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_threshold(shim_of(registers), dst, quantile, low, high, message), message, err);
}

static int device_project(struct registers *registers, int dst, int src, int onto, struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_project(shim_of(registers), dst, src, onto, message), message, err);
}

static int device_limit(struct registers *registers, int dst, double norm, struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_limit(shim_of(registers), dst, norm, message), message, err);
}

static int device_guide(struct registers *registers, int dst, int src, int guide, const double *scales,
                        const int channels[2], struct error *err) {
    char message[SHIM_ERROR];
    return checked(shim_registers_guide(shim_of(registers), dst, src, guide, scales, channels[0], channels[1], message),
                   message, err);
}

static int device_eval(struct registers *registers, struct shim_model *model, struct eval_registers numbers,
                       const struct shim_condition *condition, struct error *err) {
    char message[SHIM_ERROR];
    int dst2 = numbers.dst2 ? numbers.dst2 : -1, twin = numbers.twin ? numbers.twin : -1;
    if (shim_registers_eval(shim_of(registers), model, numbers.dst, dst2, twin, numbers.src, condition, message) == 0)
        return 0;
    return error_set(err, CODE_DATA, "model: %s", message);
}

static void device_free(struct registers *registers) {
    shim_registers_free(shim_of(registers));
    free(registers);
}

int registers_device_new(struct registers **registers, int device, int count, struct shim_shape shape,
                         enum state_kind state, struct error *err) {
    static const struct registers_body body = {device_free,    device_set,     device_get,    device_lincomb,
                                               device_clamp,   device_rescale, device_mulexp, device_threshold,
                                               device_project, device_limit,   device_guide,  device_eval};
    char message[SHIM_ERROR];
    struct device *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->base.body = &body;
    if (shim_registers_new(&made->shim, device, count, shape, state == STATE_FLOAT64, message) != 0) {
        free(made);
        return checked(-1, message, err);
    }
    *registers = &made->base;
    return 0;
}
