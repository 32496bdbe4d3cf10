/* Registers: those of the host, which are the reference for the real ones. */
#include "fake_inside.h"

#include "sample/registers.h"

#include <stdlib.h>
#include <string.h>

struct shim_registers {
    struct registers *host;
};

static int answer(int rc, const struct error *err, char *error) {
    return rc == 0 ? 0 : fake_fail(error, "%s", err->message);
}

int shim_registers_new(struct shim_registers **registers, int device, int count, struct shim_shape shape,
                       int is_float64, char *error) {
    struct error err;
    (void)device;
    *registers = calloc(1, sizeof **registers);
    if (!*registers) return fake_fail(error, "out of memory");
    if (registers_host_new(&(*registers)->host, count, shape, is_float64 ? STATE_FLOAT64 : STATE_FLOAT32, &err) == 0)
        return 0;
    free(*registers);
    *registers = NULL;
    return fake_fail(error, "%s", err.message);
}

void shim_registers_free(struct shim_registers *registers) {
    if (registers) registers_free(registers->host);
    free(registers);
}

int shim_registers_set(struct shim_registers *registers, int dst, const double *host, char *error) {
    struct error err;
    return answer(registers_set(registers->host, dst, host, &err), &err, error);
}

int shim_registers_get(struct shim_registers *registers, int src, double *host, char *error) {
    struct error err;
    return answer(registers_get(registers->host, src, host, &err), &err, error);
}

int shim_registers_lincomb(struct shim_registers *registers, int dst, int count, const double *coefficients,
                           const int *sources, int first, int beyond, char *error) {
    struct term terms[count + 1]; /* count may be 0 */
    struct error err;
    for (int i = 0; i < count; i++) terms[i] = (struct term){.coefficient = coefficients[i], .source = sources[i]};
    return answer(registers_lincomb(registers->host, dst, terms, (size_t)count, (int[]){first, beyond}, &err), &err,
                  error);
}

int shim_registers_clamp(struct shim_registers *registers, int dst, double low, double high, char *error) {
    struct error err;
    return answer(registers_clamp(registers->host, dst, low, high, &err), &err, error);
}

int shim_registers_rescale(struct shim_registers *registers, int dst, int src, int like, double phi, char *error) {
    struct error err;
    return answer(registers_rescale(registers->host, dst, src, like, phi, &err), &err, error);
}

int shim_registers_mulexp(struct shim_registers *registers, int dst, int src, double a, double b, char *error) {
    struct error err;
    return answer(registers_mulexp(registers->host, dst, src, a, b, &err), &err, error);
}

int shim_registers_threshold(struct shim_registers *registers, int dst, double quantile, double low, double high,
                             char *error) {
    struct error err;
    return answer(registers_threshold(registers->host, dst, quantile, low, high, &err), &err, error);
}

int shim_registers_project(struct shim_registers *registers, int dst, int src, int onto, char *error) {
    struct error err;
    return answer(registers_project(registers->host, dst, src, onto, &err), &err, error);
}

int shim_registers_limit(struct shim_registers *registers, int dst, double norm, char *error) {
    struct error err;
    return answer(registers_limit(registers->host, dst, norm, &err), &err, error);
}

int shim_registers_guide(struct shim_registers *registers, int dst, int src, int guide, const double *scales, int first,
                         int beyond, char *error) {
    struct error err;
    return answer(registers_guide(registers->host, dst, src, guide, scales, (int[]){first, beyond}, &err), &err, error);
}

/* The host's say "model: " before the model's words, and so does who calls this. */
int shim_registers_eval(struct shim_registers *registers, struct shim_model *model, int dst, int dst2, int twin,
                        int src, const struct shim_condition *condition, char *error) {
    struct error err;
    const struct eval_registers numbers = {
        .dst = dst, .dst2 = dst2 < 0 ? 0 : dst2, .twin = twin < 0 ? 0 : twin, .src = src};
    int rc = registers_eval(registers->host, model, numbers, condition, &err);
    return rc == 0 ? 0
                   : fake_fail(error, "%s", strncmp(err.message, "model: ", 7) == 0 ? err.message + 7 : err.message);
}
