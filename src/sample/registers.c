#include "sample/registers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, CHUNK = 512 };

struct registers {
    struct shim_shape shape;
    size_t values;                 /* of one register */
    int count;
    enum state_kind state;
    double **wide;                 /* [count][values], STATE_FLOAT64 */
    float **narrow;                /* [count][values], STATE_FLOAT32 */
    float *input, *output;         /* [values]: what the model sees and says */
    struct shim_registers *device; /* instead of all of these */
};

static void *new_values(size_t count, size_t size) {
    size_t bytes = (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *values = aligned_alloc(ALIGNMENT, bytes ? bytes : ALIGNMENT);
    if (values) memset(values, 0, bytes);
    return values;
}

static int shim_failed(struct error *err, const char *message) {
    return error_set(err, CODE_DATA, "model: %s", message);
}

static int new_host(struct registers *registers, struct error *err) {
    registers->wide = calloc((size_t)registers->count, sizeof *registers->wide);
    registers->narrow = calloc((size_t)registers->count, sizeof *registers->narrow);
    registers->input = new_values(registers->values, sizeof(float));
    registers->output = new_values(registers->values, sizeof(float));
    if (!registers->wide || !registers->narrow || !registers->input || !registers->output) return error_memory(err);
    for (int i = 0; i < registers->count; i++) {
        if (registers->state == STATE_FLOAT64) registers->wide[i] = new_values(registers->values, sizeof(double));
        else registers->narrow[i] = new_values(registers->values, sizeof(float));
        if (!registers->wide[i] && !registers->narrow[i]) return error_memory(err);
    }
    return 0;
}

int registers_new(struct registers **registers, int count, struct shim_shape shape, enum state_kind state, bool on_device,
                  int device, struct error *err) {
    char message[SHIM_ERROR];
    struct registers *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->shape = shape;
    made->values = (size_t)shape.batch * (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width;
    made->count = count;
    made->state = state;
    int rc = 0;
    if (!on_device) rc = new_host(made, err);
    else if (shim_registers_new(&made->device, device, count, shape, state == STATE_FLOAT64, message) != 0)
        rc = error_set(err, CODE_INTERNAL, "cannot allocate registers on the device: %s", message);
    if (rc != 0) registers_free(made);
    else *registers = made;
    return rc;
}

void registers_free(struct registers *registers) {
    if (!registers) return;
    shim_registers_free(registers->device);
    for (int i = 0; i < registers->count; i++) {
        if (registers->wide) free(registers->wide[i]);
        if (registers->narrow) free(registers->narrow[i]);
    }
    free(registers->wide);
    free(registers->narrow);
    free(registers->input);
    free(registers->output);
    free(registers);
}

int registers_set(struct registers *registers, int dst, const double *values, struct error *err) {
    char message[SHIM_ERROR];
    if (registers->device)
        return shim_registers_set(registers->device, dst, values, message) == 0 ? 0 : shim_failed(err, message);
    if (registers->state == STATE_FLOAT64) memcpy(registers->wide[dst], values, registers->values * sizeof *values);
    else for (size_t i = 0; i < registers->values; i++) registers->narrow[dst][i] = (float)values[i];
    return 0;
}

int registers_get(struct registers *registers, int src, double *values, struct error *err) {
    char message[SHIM_ERROR];
    if (registers->device)
        return shim_registers_get(registers->device, src, values, message) == 0 ? 0 : shim_failed(err, message);
    if (registers->state == STATE_FLOAT64) memcpy(values, registers->wide[src], registers->values * sizeof *values);
    else for (size_t i = 0; i < registers->values; i++) values[i] = registers->narrow[src][i];
    return 0;
}

/* One pass over memory, a chunk at a time so that each term's loop is a vector loop; terms from left to right. */
#define FUSED(type)                                                                                               \
    static void fused_##type(type **all, int dst, size_t values, const struct term *terms, size_t count) {        \
        type sum[CHUNK];                                                                                          \
        for (size_t at = 0; at < values; at += CHUNK) {                                                           \
            size_t length = values - at < CHUNK ? values - at : CHUNK;                                            \
            for (size_t i = 0; i < length; i++) sum[i] = 0;                                                       \
            for (size_t k = 0; k < count; k++) {                                                                  \
                const type *source = all[terms[k].source] + at;                                                   \
                type coefficient = (type)terms[k].coefficient;                                                    \
                if (k == 0) for (size_t i = 0; i < length; i++) sum[i] = coefficient * source[i];                 \
                else for (size_t i = 0; i < length; i++) sum[i] += coefficient * source[i];                       \
            }                                                                                                     \
            memcpy(all[dst] + at, sum, length * sizeof *sum);                                                     \
        }                                                                                                         \
    }
FUSED(double)
FUSED(float)
#undef FUSED

int registers_lincomb(struct registers *registers, int dst, const struct term *terms, size_t count, struct error *err) {
    if (registers->device) {
        double coefficients[count + 1];
        int sources[count + 1];
        char message[SHIM_ERROR];
        for (size_t i = 0; i < count; i++) {
            coefficients[i] = terms[i].coefficient;
            sources[i] = terms[i].source;
        }
        return shim_registers_lincomb(registers->device, dst, (int)count, coefficients, sources, message) == 0
                   ? 0
                   : shim_failed(err, message);
    }
    if (registers->state == STATE_FLOAT64) fused_double(registers->wide, dst, registers->values, terms, count);
    else fused_float(registers->narrow, dst, registers->values, terms, count);
    return 0;
}

int registers_clamp(struct registers *registers, int dst, double low, double high, struct error *err) {
    char message[SHIM_ERROR];
    if (registers->device)
        return shim_registers_clamp(registers->device, dst, low, high, message) == 0 ? 0 : shim_failed(err, message);
    for (size_t i = 0; i < registers->values; i++) {
        if (registers->state == STATE_FLOAT64) {
            double *x = &registers->wide[dst][i]; /* comparisons that let NaN through */
            *x = *x < low ? low : *x > high ? high : *x;
        } else {
            float *x = &registers->narrow[dst][i];
            *x = *x < (float)low ? (float)low : *x > (float)high ? (float)high : *x;
        }
    }
    return 0;
}

int registers_eval(struct registers *registers, struct shim_model *model, int dst, int src,
                   const struct shim_condition *condition, struct error *err) {
    char message[SHIM_ERROR];
    if (registers->device)
        return shim_registers_eval(registers->device, model, dst, src, condition, message) == 0 ? 0
                                                                                                : shim_failed(err, message);
    const float *input = registers->state == STATE_FLOAT32 ? registers->narrow[src] : registers->input;
    for (size_t i = 0; registers->state == STATE_FLOAT64 && i < registers->values; i++)
        registers->input[i] = (float)registers->wide[src][i];
    if (shim_model_run(model, input, registers->shape, condition, registers->output, message) != 0)
        return shim_failed(err, message);
    for (size_t i = 0; i < registers->values; i++) {
        if (registers->state == STATE_FLOAT64) registers->wide[dst][i] = registers->output[i];
        else registers->narrow[dst][i] = registers->output[i];
    }
    return 0;
}
