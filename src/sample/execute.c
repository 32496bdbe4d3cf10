#include "sample/execute.h"

#include "sample/noise.h"
#include "sample/registers.h"
#include "solver/rk45.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct executor {
    struct executor_setup setup;
    size_t elements;            /* of one sample */
    struct registers *registers;
    double *values;             /* [batch][elements]: noise on its way in, samples on their way out */
    double *norm_values[3];     /* the same size, for rk45's norms */
    int64_t *labels, *nulls;    /* [batch] */
    struct rk45 *rk45;          /* adaptive plans */
};

static int stopped(const struct executor *executor, struct error *err) {
    if (!executor->setup.stop || !*executor->setup.stop) return 0;
    return error_set(err, CODE_AGAIN, "interrupted");
}

/* ---- one function an op ---- */

static int do_eval(struct executor *executor, const struct op *op, const struct batch *batch, struct error *err) {
    const struct executor_setup *setup = &executor->setup;
    struct shim_condition condition = {.time = op->time, .integer_time = setup->card->time.kind == TIME_DISCRETE &&
                                                                         setup->card->time.integer};
    (void)batch;
    if (op->labels != EVAL_NONE) condition.labels = op->labels == EVAL_NULL ? executor->nulls : executor->labels;
    return registers_eval(executor->registers, setup->model, op->dst, op->src, &condition, err);
}

static int do_lincomb(struct executor *executor, const struct op *op, const struct batch *batch, struct error *err) {
    (void)batch;
    return registers_lincomb(executor->registers, op->dst, op->terms, op->terms_count, err);
}

/* Rows beyond the batch's are filled with its last one: the model always sees full batches of the same shape. */
static void fill_rows(const struct executor *executor, size_t rows) {
    size_t size = executor->elements;
    for (size_t row = rows; row < (size_t)executor->setup.batch; row++)
        memcpy(executor->values + row * size, executor->values + (rows - 1) * size, size * sizeof(double));
}

static int do_noise(struct executor *executor, const struct op *op, const struct batch *batch, struct error *err) {
    for (size_t row = 0; row < batch->rows; row++)
        noise_normals(batch->seeds[row], op->stream, executor->elements, executor->values + row * executor->elements);
    fill_rows(executor, batch->rows);
    return registers_set(executor->registers, op->dst, executor->values, err);
}

static int do_clamp(struct executor *executor, const struct op *op, const struct batch *batch, struct error *err) {
    (void)batch;
    return registers_clamp(executor->registers, op->dst, op->low, op->high, err);
}

static int (*const do_op[OP_KINDS])(struct executor *, const struct op *, const struct batch *, struct error *) = {
    [OP_EVAL] = do_eval, [OP_LINCOMB] = do_lincomb, [OP_NOISE] = do_noise, [OP_CLAMP] = do_clamp};

static int run_ops(struct executor *executor, const struct plan *plan, const struct batch *batch, struct error *err) {
    for (size_t i = 0; i < plan->ops_count; i++)
        if (stopped(executor, err) || do_op[plan->ops[i].kind](executor, &plan->ops[i], batch, err) != 0) return -1;
    return 0;
}

/* ---- rk45 ---- */

/* sqrt(mean((of/(atol + rtol max(|a|, |b|)))^2)) over the real rows. */
static int measure(struct executor *executor, const struct rk45_norm *norm, size_t rows, double *value, struct error *err) {
    const int registers[3] = {norm->of, norm->a, norm->b};
    const struct sampler *sampler = executor->setup.sampler;
    double sum = 0;
    for (int i = 0; i < 3; i++)
        if (registers_get(executor->registers, registers[i], executor->norm_values[i], err) != 0) return -1;
    for (size_t i = 0; i < rows * executor->elements; i++) {
        double scale = fmax(fabs(executor->norm_values[1][i]), fabs(executor->norm_values[2][i]));
        double quotient = executor->norm_values[0][i] / (sampler->atol + sampler->rtol * scale);
        sum += quotient * quotient;
    }
    *value = sqrt(sum / (double)(rows * executor->elements));
    return 0;
}

static int run_adaptive(struct executor *executor, const struct batch *batch, int *nfe, struct error *err) {
    struct rk45_fragment fragment;
    double values[RK45_NORMS];
    bool more;
    rk45_start(executor->rk45);
    for (const double *known = NULL;; known = values) {
        if (rk45_next(executor->rk45, known, &fragment, &more, err) != 0) return -1;
        if (!more) break;
        if (run_ops(executor, fragment.plan, batch, err) != 0) return -1;
        for (int i = 0; i < fragment.norms_count; i++) {
            if (measure(executor, &fragment.norms[i], batch->rows, &values[i], err) != 0) return -1;
            if (!isfinite(values[i]))
                return error_set(err, CODE_DATA, "rk45: the model's output is not finite in the batch that starts with seed %"
                                 PRIu64, batch->seeds[0]);
        }
    }
    *nfe = rk45_nfe(executor->rk45);
    return 0;
}

/* ---- the executor ---- */

static int allocate(struct executor *executor, struct error *err) {
    const struct executor_setup *setup = &executor->setup;
    size_t batch = (size_t)setup->batch, values = batch * executor->elements;
    struct shim_shape shape = {setup->batch, setup->card->channels, setup->card->height, setup->card->width};
    bool on_device = setup->device_registers || setup->device != SHIM_CPU;
    executor->values = calloc(values, sizeof(double));
    executor->labels = calloc(batch, sizeof(int64_t));
    executor->nulls = calloc(batch, sizeof(int64_t));
    if (!executor->values || !executor->labels || !executor->nulls) return error_memory(err);
    for (size_t row = 0; row < batch; row++) executor->nulls[row] = setup->card->null_label;
    if (setup->plan->adaptive) {
        for (int i = 0; i < 3; i++)
            if (!(executor->norm_values[i] = malloc(values * sizeof(double)))) return error_memory(err);
        if (rk45_new(&executor->rk45, setup->sampler, setup->card, err) != 0) return -1;
    }
    return registers_new(&executor->registers, setup->plan->registers, shape, setup->sampler->state, on_device,
                         setup->device, err);
}

/* One model call on zeros: kernels are chosen and compiled now, and an output that does not fit the card shows. */
static int warm_up(struct executor *executor, struct error *err) {
    const struct plan *plan = executor->setup.plan;
    struct op op = {.kind = OP_EVAL, .dst = plan->registers > 1 ? 1 : 0, .time = executor->setup.sampler->t_start,
                    .labels = executor->setup.card->classes > 0 ? EVAL_GIVEN : EVAL_NONE};
    for (size_t i = plan->ops_count; i-- > 0;)
        if (plan->ops[i].kind == OP_EVAL) op.time = plan->ops[i].time;
    if (registers_set(executor->registers, 0, executor->values, err) != 0 || do_eval(executor, &op, NULL, err) != 0)
        return error_prefix(err, "the first call of the model failed (does its card describe it?)");
    return 0;
}

int executor_new(struct executor **executor, const struct executor_setup *setup, struct error *err) {
    struct executor *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->setup = *setup;
    made->elements = card_elements(setup->card);
    if (allocate(made, err) != 0 || warm_up(made, err) != 0) {
        executor_free(made);
        return -1;
    }
    *executor = made;
    return 0;
}

void executor_free(struct executor *executor) {
    if (!executor) return;
    registers_free(executor->registers);
    rk45_free(executor->rk45);
    for (int i = 0; i < 3; i++) free(executor->norm_values[i]);
    free(executor->values);
    free(executor->labels);
    free(executor->nulls);
    free(executor);
}

/* Register 0: given starts, torch's or our own unit normals, times initial_scale. */
static int start(struct executor *executor, const struct batch *batch, struct error *err) {
    const struct executor_setup *setup = &executor->setup;
    size_t size = executor->elements;
    float *latent = malloc(size * sizeof *latent);
    char message[SHIM_ERROR];
    if (!latent) return error_memory(err);
    int device = setup->noise == NOISE_TORCH_CUDA ? setup->device : SHIM_CPU, rc = 0;
    for (size_t row = 0; row < batch->rows && rc == 0; row++) {
        double *x = executor->values + row * size, scale = setup->plan->initial_scale;
        const float *given = batch->initial ? batch->initial + row * size : latent;
        if (!batch->initial && setup->noise == NOISE_PHILOX) {
            noise_normals(batch->seeds[row], NOISE_STREAM_INITIAL, size, x);
            for (size_t i = 0; i < size; i++) x[i] *= scale;
            continue;
        }
        if (!batch->initial && shim_torch_latent(device, batch->seeds[row] & 0xffffffff, (int)size, latent, 0, NULL, message) != 0)
            rc = error_set(err, CODE_DATA, "noise: %s", message);
        for (size_t i = 0; i < size && rc == 0; i++) x[i] = batch->initial ? given[i] : scale * given[i];
    }
    free(latent);
    if (rc != 0) return rc;
    fill_rows(executor, batch->rows);
    return registers_set(executor->registers, 0, executor->values, err);
}

int executor_run(struct executor *executor, const struct batch *batch, double *x, int *nfe, struct error *err) {
    const struct plan *plan = executor->setup.plan;
    size_t size = executor->elements;
    for (size_t row = 0; batch->labels && row < (size_t)executor->setup.batch; row++)
        executor->labels[row] = batch->labels[row < batch->rows ? row : batch->rows - 1];
    if (start(executor, batch, err) != 0) return -1;
    *nfe = plan->nfe;
    int rc = plan->adaptive ? run_adaptive(executor, batch, nfe, err) : run_ops(executor, plan, batch, err);
    if (rc != 0 || registers_get(executor->registers, 0, executor->values, err) != 0) return -1;
    memcpy(x, executor->values, batch->rows * size * sizeof *x);
    for (size_t i = 0; i < batch->rows * size; i++)
        if (!isfinite(x[i]))
            return error_set(err, CODE_DATA, "the sample of seed %" PRIu64 " is not finite (element %zu is %g)",
                             batch->seeds[i / size], i % size, x[i]);
    return 0;
}
