/* Registers in host memory. A float32 state is kept in doubles that are rounded to float after every operation: bit for
 * bit what float arithmetic gives, since 53 bits are more than twice 24 + 2 (Figueroa 1995), and one code for both. */
#include "sample/registers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

struct host {
    struct registers base;
    struct shim_shape shape;
    enum state_kind state;
    size_t values;         /* of one register */
    double *data;          /* [count][values] */
    float *input, *output; /* [2][values], [4][values]: what the model sees and says, its variance channels behind;
                              twice for a twin */
};

static double *at(struct registers *registers, int number) {
    struct host *host = (struct host *)registers;
    return host->data + (size_t)number * host->values;
}

static inline double rounded(double value, enum state_kind state) {
    return state == STATE_FLOAT32 ? (double)(float)value : value;
}

static int host_set(struct registers *registers, int dst, const double *values, struct error *err) {
    const struct host *host = (struct host *)registers;
    double *out = at(registers, dst);
    (void)err;
    for (size_t i = 0; i < host->values; i++) out[i] = rounded(values[i], host->state);
    return 0;
}

static int host_get(struct registers *registers, int src, double *values, struct error *err) {
    const struct host *host = (struct host *)registers;
    (void)err;
    memcpy(values, at(registers, src), host->values * sizeof *values);
    return 0;
}

/* Of the values from `from` to before `to`. */
static void sum_terms(struct registers *registers, int dst, const struct term *terms, size_t count,
                      const int channels[2], size_t from, size_t to) {
    const struct host *host = (struct host *)registers;
    double *out = at(registers, dst);
    size_t plane = (size_t)host->shape.height * (size_t)host->shape.width, size = plane * (size_t)host->shape.channels;
    size_t first = plane * (size_t)channels[0], beyond = plane * (size_t)channels[1];
    for (size_t i = from; i < to; i++) {
        if (beyond > 0 && (i % size < first || i % size >= beyond)) {
            out[i] = at(registers, terms[0].source)[i];
            continue;
        }
        double sum = 0;
        for (size_t k = 0; k < count; k++) {
            double factor = rounded(terms[k].coefficient, host->state);
            double product = rounded(factor * at(registers, terms[k].source)[i], host->state);
            sum = k == 0 ? product : rounded(sum + product, host->state);
        }
        out[i] = sum;
    }
}

static int host_lincomb(struct registers *registers, int dst, const struct term *terms, size_t count,
                        const int channels[2], struct error *err) {
    (void)err;
    sum_terms(registers, dst, terms, count, channels, 0, ((struct host *)registers)->values);
    return 0;
}

static int host_guide(struct registers *registers, int dst, int src, int guide, const double *scales,
                      const int channels[2], struct error *err) {
    const struct host *host = (struct host *)registers;
    size_t batch = (size_t)host->shape.batch, size = host->values / batch;
    (void)err;
    for (size_t row = 0; row < batch; row++) {
        const struct term terms[] = {{scales[row], src}, {1 - scales[row], guide}};
        sum_terms(registers, dst, terms, 2, channels, row * size, (row + 1) * size);
    }
    return 0;
}

static int host_clamp(struct registers *registers, int dst, double low, double high, struct error *err) {
    const struct host *host = (struct host *)registers;
    double *x = at(registers, dst), least = rounded(low, host->state), most = rounded(high, host->state);
    (void)err;
    for (size_t i = 0; i < host->values; i++) x[i] = x[i] < least ? least : x[i] > most ? most : x[i];
    return 0;
}

/* Standard deviation, two passes; 0 where it is but the rounding of the mean. */
static double spread(const double *x, size_t count) {
    const double rounding = 1e-12;
    double mean = 0, square = 0;
    for (size_t i = 0; i < count; i++) mean += x[i] / (double)count;
    for (size_t i = 0; i < count; i++) square += (x[i] - mean) * (x[i] - mean);
    double deviation = sqrt(square / (double)(count - 1));
    return deviation > rounding * fabs(mean) ? deviation : 0;
}

static int host_rescale(struct registers *registers, int dst, int src, int like, double phi, struct error *err) {
    const struct host *host = (struct host *)registers;
    size_t size = host->values / (size_t)host->shape.batch;
    (void)err;
    for (size_t row = 0; row < host->values; row += size) {
        const double *x = at(registers, src) + row;
        double *out = at(registers, dst) + row, own = spread(x, size);
        double factor = rounded(own > 0 ? phi * spread(at(registers, like) + row, size) / own + 1 - phi : 1,
                                host->state);
        for (size_t i = 0; i < size; i++) out[i] = rounded(x[i] * factor, host->state);
    }
    return 0;
}

static int host_mulexp(struct registers *registers, int dst, int src, double a, double b, struct error *err) {
    const struct host *host = (struct host *)registers;
    double *out = at(registers, dst), constant = rounded(a, host->state), factor = rounded(b, host->state);
    const double *x = at(registers, src);
    (void)err;
    for (size_t i = 0; i < host->values; i++) {
        double exponent = rounded(constant + rounded(factor * x[i], host->state), host->state);
        out[i] = rounded(out[i] * rounded(exp(exponent), host->state), host->state);
    }
    return 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The quantile of |x|, linear between two values; a NaN counts as infinite. sorted: [count], scratch. */
static double quantile_of(const double *x, size_t count, double quantile, double *sorted) {
    for (size_t i = 0; i < count; i++) sorted[i] = isnan(x[i]) ? INFINITY : fabs(x[i]);
    qsort(sorted, count, sizeof *sorted, ascending);
    double place = quantile * (double)(count - 1);
    size_t before = (size_t)place;
    double part = place - (double)before;
    return part > 0 ? sorted[before] + part * (sorted[before + 1] - sorted[before]) : sorted[before];
}

static int host_threshold(struct registers *registers, int dst, double quantile, double low, double high,
                          struct error *err) {
    const struct host *host = (struct host *)registers;
    size_t size = host->values / (size_t)host->shape.batch;
    double *sorted = malloc(size * sizeof *sorted);
    if (!sorted) return error_memory(err);
    for (size_t row = 0; row < host->values; row += size) {
        double *x = at(registers, dst) + row;
        double s = rounded(fmin(fmax(quantile_of(x, size, quantile, sorted), low), high), host->state);
        double factor = rounded(low / s, host->state);
        for (size_t i = 0; i < size; i++) x[i] = rounded((x[i] < -s ? -s : x[i] > s ? s : x[i]) * factor, host->state);
    }
    free(sorted);
    return 0;
}

static double dot(const double *a, const double *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

static int host_project(struct registers *registers, int dst, int src, int onto, struct error *err) {
    const struct host *host = (struct host *)registers;
    size_t size = host->values / (size_t)host->shape.batch;
    (void)err;
    for (size_t row = 0; row < host->values; row += size) {
        const double *x = at(registers, src) + row, *y = at(registers, onto) + row;
        double *out = at(registers, dst) + row, square = dot(y, y, size);
        double factor = rounded(square > 0 ? dot(x, y, size) / square : 0, host->state);
        for (size_t i = 0; i < size; i++) out[i] = rounded(factor * y[i], host->state);
    }
    return 0;
}

static int host_limit(struct registers *registers, int dst, double norm, struct error *err) {
    const struct host *host = (struct host *)registers;
    size_t size = host->values / (size_t)host->shape.batch;
    (void)err;
    for (size_t row = 0; row < host->values; row += size) {
        double *x = at(registers, dst) + row, own = sqrt(dot(x, x, size)), factor = rounded(norm / own, host->state);
        for (size_t i = 0; own > norm && i < size; i++) x[i] = rounded(x[i] * factor, host->state);
    }
    return 0;
}

static int host_eval(struct registers *registers, struct shim_model *model, struct eval_registers numbers,
                     const struct shim_condition *condition, struct error *err) {
    const struct host *host = (struct host *)registers;
    const double *x = at(registers, numbers.src);
    double *out = at(registers, numbers.dst), *out2 = at(registers, numbers.dst2), *twin = at(registers, numbers.twin);
    struct shim_shape shape = host->shape;
    shape.batch *= numbers.twin ? 2 : 1;
    const float *second = host->output + host->values;
    float *variance = numbers.dst2 ? host->output + 2 * host->values : NULL;
    char message[SHIM_ERROR];
    for (size_t i = 0; i < host->values; i++) host->input[i] = (float)x[i];
    if (numbers.twin) memcpy(host->input + host->values, host->input, host->values * sizeof *host->input);
    if (shim_model_run(model, host->input, shape, condition, host->output, variance, message) != 0)
        return error_set(err, CODE_DATA, "model: %s", message);
    for (size_t i = 0; i < host->values; i++) out[i] = host->output[i];
    for (size_t i = 0; numbers.twin && i < host->values; i++) twin[i] = second[i];
    for (size_t i = 0; variance && i < host->values; i++) out2[i] = variance[i];
    return 0;
}

static void host_free(struct registers *registers) {
    struct host *host = (struct host *)registers;
    free(host->data);
    free(host->input);
    free(host->output);
    free(host);
}

/* aligned_alloc wants whole multiples of the alignment. */
static void *new_values(size_t count, size_t size) {
    return aligned_alloc(ALIGNMENT, (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

int registers_host_new(struct registers **registers, int count, struct shim_shape shape, enum state_kind state,
                       struct error *err) {
    static const struct registers_body body = {host_free,    host_set,     host_get,    host_lincomb,
                                               host_clamp,   host_rescale, host_mulexp, host_threshold,
                                               host_project, host_limit,   host_guide,  host_eval};
    struct host *host = calloc(1, sizeof *host);
    if (!host) return error_memory(err);
    *host = (struct host){.base = {&body}, .shape = shape, .state = state};
    host->values = (size_t)shape.batch * (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width;
    host->data = new_values((size_t)count * host->values, sizeof *host->data);
    host->input = new_values(2 * host->values, sizeof *host->input);
    host->output = new_values(4 * host->values, sizeof *host->output);
    if (!host->data || !host->input || !host->output) {
        host_free(&host->base);
        return error_memory(err);
    }
    *registers = &host->base;
    return 0;
}
