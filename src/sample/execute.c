/* Runs a plan for one batch. */
#include "sample/execute.h"

#include "base/log.h"
#include "sample/adaptive.h"
#include "sample/conditions.h"
#include "sample/noise.h"
#include "sample/registers.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct executor {
    struct executor_setup setup;
    size_t elements; /* of one sample */
    struct registers *registers;
    struct adaptive *adaptive;      /* of an adaptive plan, else NULL */
    double *values;                 /* [batch][elements]: noise on its way in, samples on their way out */
    float *latent;                  /* [elements]: torch's noise */
    int64_t *labels;                /* [2][batch]: those given, the null label */
    double *scales;                 /* [batch], of guidance by row */
    struct condition_values inputs; /* [2][batch] of the card's inputs: those given, and for guidance the nulls */
    const struct batch *batch;      /* while one is run */
    uint64_t batches;               /* that were started */
};

/* Rows beyond the batch's are filled with its last one: the model always sees full batches of the same shape. */
static void fill_values(const struct executor *executor) {
    size_t size = executor->elements, rows = executor->batch->rows;
    const double *last = executor->values + (rows - 1) * size;
    for (size_t row = rows; row < (size_t)executor->setup.batch; row++)
        memcpy(executor->values + row * size, last, size * sizeof *last);
}

/* ---- one function an op ---- */

/* twin: one more, made in the same call, its rows behind the others (plan_twin); or NULL. */
static int evaluate(struct executor *executor, const struct op *op, const struct op *twin, struct error *err) {
    const struct executor_setup *setup = &executor->setup;
    if (op->labels == EVAL_GIVEN && !executor->batch->labels)
        return error_set(err, CODE_INTERNAL, "the plan evaluates the model with labels, but the batch has none");
    const int64_t *labels[] = {
        [EVAL_GIVEN] = executor->labels, [EVAL_NULL] = executor->labels + setup->batch, [EVAL_NONE] = NULL};
    const struct card *card = op->model ? setup->card->guide : setup->card;
    struct shim_model *model = op->model ? setup->guide : setup->model;
    if (!card || !model) return error_set(err, CODE_INTERNAL, "the plan evaluates a guiding model, but there is none");
    struct shim_input inputs[INPUTS_MOST];
    struct shim_condition condition = condition_at(card, op->time);
    if (card->classes > 0) condition.labels = labels[op->labels];
    struct condition_values values = condition_values_from(&executor->inputs, card,
                                                           op->labels == EVAL_NULL ? (size_t)setup->batch : 0);
    condition.inputs = inputs;
    condition.inputs_count = condition_inputs(card, &values, inputs);
    /* What a batch gives, by model, labels and twin: none of it changes before the next batch. */
    int kind = 8 * op->model + 2 * (int)op->labels + (twin != NULL);
    condition.serial = executor->batches ? 16 * executor->batches + (uint64_t)kind : 0;
    const struct eval_registers numbers = {op->dst, op->src, op->dst2, twin ? twin->dst : 0};
    return registers_eval(executor->registers, model, numbers, &condition, err);
}

static int run_OP_EVAL(struct executor *executor, const struct op *op, struct error *err) {
    return evaluate(executor, op, NULL, err);
}

static int run_OP_LINCOMB(struct executor *executor, const struct op *op, struct error *err) {
    return registers_lincomb(executor->registers, op->dst, op->terms, op->terms_count, op->channels, err);
}

static int run_OP_NOISE(struct executor *executor, const struct op *op, struct error *err) {
    size_t size = executor->elements;
    for (size_t row = 0; row < executor->batch->rows; row++)
        noise_normals(executor->batch->seeds[row], op->stream, size, executor->values + row * size);
    fill_values(executor);
    return registers_set(executor->registers, op->dst, executor->values, err);
}

static int run_OP_CLAMP(struct executor *executor, const struct op *op, struct error *err) {
    return registers_clamp(executor->registers, op->dst, op->low, op->high, err);
}

static int run_OP_RESCALE(struct executor *executor, const struct op *op, struct error *err) {
    return registers_rescale(executor->registers, op->dst, op->src, op->like, op->phi, err);
}

static int run_OP_MULEXP(struct executor *executor, const struct op *op, struct error *err) {
    return registers_mulexp(executor->registers, op->dst, op->src, op->a, op->b, err);
}

static int run_OP_THRESHOLD(struct executor *executor, const struct op *op, struct error *err) {
    return registers_threshold(executor->registers, op->dst, op->quantile, op->low, op->high, err);
}

static int run_OP_PROJECT(struct executor *executor, const struct op *op, struct error *err) {
    return registers_project(executor->registers, op->dst, op->src, op->like, err);
}

static int run_OP_LIMIT(struct executor *executor, const struct op *op, struct error *err) {
    return registers_limit(executor->registers, op->dst, op->high, err);
}

static int run_OP_GUIDE(struct executor *executor, const struct op *op, struct error *err) {
    if (!executor->batch->scales)
        return error_set(err, CODE_INTERNAL, "the plan guides each sample by its own scale, but the batch has none");
    return registers_guide(executor->registers, op->dst, op->src, op->like, executor->scales, op->channels, err);
}

/* A new op in the table does not compile before it has its function here. */
#define RUN(symbol, name) [symbol] = run_##symbol,
static int (*const run_op[OP_KINDS])(struct executor *, const struct op *, struct error *) = {PLAN_OPS(RUN)};
#undef RUN

int executor_ops(struct executor *executor, const struct plan *plan, struct error *err) {
    const volatile sig_atomic_t *stop = executor->setup.stop;
    for (size_t i = 0; i < plan->ops_count; i++) {
        if (stop && *stop) return error_set(err, CODE_AGAIN, "interrupted");
        const struct op *op = &plan->ops[i], *twin = plan_twin(plan, executor->setup.sampler, i);
        if ((twin ? evaluate(executor, op, twin, err) : run_op[op->kind](executor, op, err)) != 0) return -1;
        if (twin) i++;
    }
    return 0;
}

static int run_ops(void *context, const struct plan *fragment, struct error *err) {
    return executor_ops(context, fragment, err);
}

/* ---- a batch: start, ops, samples ---- */

/* x = torch's unit normals of a seed, which EDM's generate.py takes modulo 2^32. */
static int torch_normals(struct executor *executor, uint64_t seed, double *x, struct error *err) {
    int device = executor->setup.noise == NOISE_TORCH_CUDA ? executor->setup.device : SHIM_CPU;
    int count = (int)executor->elements;
    char message[SHIM_ERROR];
    if (shim_torch_latent(device, seed & 0xffffffff, count, executor->latent, 0, NULL, message) != 0)
        return error_set(err, CODE_DATA, "noise: %s", message);
    for (int i = 0; i < count; i++) x[i] = executor->latent[i];
    return 0;
}

/* x = where sample `row` starts: the caller's values, or unit normals times initial_scale. */
static int start_row(struct executor *executor, size_t row, double *x, struct error *err) {
    const struct batch *batch = executor->batch;
    size_t size = executor->elements;
    if (batch->initial) {
        for (size_t i = 0; i < size; i++) x[i] = batch->initial[row * size + i];
        return 0;
    }
    if (executor->setup.noise == NOISE_PHILOX) noise_normals(batch->seeds[row], NOISE_STREAM_INITIAL, size, x);
    else if (torch_normals(executor, batch->seeds[row], x, err) != 0) return -1;
    for (size_t i = 0; i < size; i++) x[i] *= executor->setup.plan->initial_scale;
    return 0;
}

/* Nulls only where each input has one: else no plan asks for them. */
static int read_conditions(struct executor *executor, struct error *err) {
    const struct batch *batch = executor->batch;
    const struct conditions *conditions = executor->setup.conditions;
    bool nullable = conditions_nullable(executor->setup.card);
    for (size_t place = 0; conditions && batch->condition_rows && place < (size_t)executor->setup.batch; place++) {
        uint64_t row = batch->condition_rows[place < batch->rows ? place : batch->rows - 1];
        size_t null_place = (size_t)executor->setup.batch + place;
        if (conditions_read(conditions, row, false, &executor->inputs, place, err) != 0 ||
            (nullable && conditions_read(conditions, row, true, &executor->inputs, null_place, err) != 0))
            return -1;
    }
    return 0;
}

/* A label that could not be drawn (labels_at): a network that counts from the end would take it for its last class. */
static int check_labels(const struct executor *executor, const struct batch *batch, struct error *err) {
    bool labelled = batch->labels && executor->setup.card->classes > 0;
    for (size_t row = 0; labelled && row < batch->rows; row++)
        if (batch->labels[row] < 0)
            return error_set(err, CODE_DATA,
                             "the label of seed %" PRIu64 " could not be drawn (labels: edm): is there a GPU with free "
                             "memory, where noise is torch-cuda? Take a smaller batch or fewer workers",
                             batch->seeds[row]);
    return 0;
}

int executor_start(struct executor *executor, const struct batch *batch, struct error *err) {
    if (batch->rows < 1 || batch->rows > (size_t)executor->setup.batch)
        return error_set(err, CODE_INTERNAL, "a batch has %zu rows, expected 1 to %d", batch->rows,
                         executor->setup.batch);
    if (check_labels(executor, batch, err) != 0) return -1;
    executor->batch = batch;
    executor->batches++;
    for (size_t row = 0; row < batch->rows; row++)
        if (start_row(executor, row, executor->values + row * executor->elements, err) != 0) return -1;
    fill_values(executor);
    for (size_t row = 0; batch->labels && row < (size_t)executor->setup.batch; row++)
        executor->labels[row] = batch->labels[row < batch->rows ? row : batch->rows - 1];
    for (size_t row = 0; batch->scales && row < (size_t)executor->setup.batch; row++)
        executor->scales[row] = batch->scales[row < batch->rows ? row : batch->rows - 1];
    if (read_conditions(executor, err) != 0) return -1;
    return registers_set(executor->registers, 0, executor->values, err);
}

int executor_set(struct executor *executor, int dst, const double *x, struct error *err) {
    memcpy(executor->values, x, executor->batch->rows * executor->elements * sizeof *x);
    fill_values(executor);
    return registers_set(executor->registers, dst, executor->values, err);
}

int executor_get(struct executor *executor, int src, double *x, struct error *err) {
    if (registers_get(executor->registers, src, executor->values, err) != 0) return -1;
    memcpy(x, executor->values, executor->batch->rows * executor->elements * sizeof *x);
    return 0;
}

static int check_finite(const struct executor *executor, const double *x, struct error *err) {
    size_t size = executor->elements;
    for (size_t i = 0; i < executor->batch->rows * size; i++)
        if (!isfinite(x[i]))
            return error_set(err, CODE_DATA,
                             "the sample of seed %" PRIu64 " (row %zu of its batch) is not finite: element %zu is %g",
                             executor->batch->seeds[i / size], i / size, i % size, x[i]);
    return 0;
}

int executor_run(struct executor *executor, const struct batch *batch, double *x, int *nfe, struct error *err) {
    const struct plan *plan = executor->setup.plan;
    if (executor_start(executor, batch, err) != 0) return -1;
    *nfe = plan->nfe;
    int rc = executor->adaptive
                 ? adaptive_run(executor->adaptive, executor->registers, batch->rows, run_ops, executor, nfe, err)
                 : executor_ops(executor, plan, err);
    if (rc != 0 || executor_get(executor, 0, x, err) != 0) return -1;
    return check_finite(executor, x, err);
}

/* ---- the executor ---- */

static int allocate(struct executor *executor, struct error *err) {
    const struct executor_setup *setup = &executor->setup;
    const struct card *card = setup->card;
    size_t batch = (size_t)setup->batch;
    struct shim_shape shape = {setup->batch, card->channels, card->height, card->width};
    executor->values = calloc(batch * executor->elements, sizeof *executor->values);
    executor->latent = malloc(executor->elements * sizeof *executor->latent);
    executor->labels = calloc(2 * batch, sizeof *executor->labels);
    executor->scales = calloc(batch, sizeof *executor->scales);
    if (!executor->values || !executor->latent || !executor->labels || !executor->scales) return error_memory(err);
    if (condition_values_new(&executor->inputs, card, 2 * batch, err) != 0) return -1;
    for (size_t row = batch; row < 2 * batch; row++) executor->labels[row] = card->null_label;
    if (setup->plan->adaptive && adaptive_new(&executor->adaptive, setup->sampler, card, shape, err) != 0) return -1;
    int count = setup->plan->registers;
    enum state_kind state = setup->sampler->state;
    return setup->device_registers || setup->device != SHIM_CPU
               ? registers_device_new(&executor->registers, setup->device, count, shape, state, err)
               : registers_host_new(&executor->registers, count, shape, state, err);
}

/* Once: of a model that gives more channels than its card knows of, the first ones are taken. */
static void warn_of_channels(const struct shim_model *model, const struct card *card, int guide) {
    static atomic_flag warned[2] = {ATOMIC_FLAG_INIT, ATOMIC_FLAG_INIT};
    int given = model && card && log_leads() ? shim_model_channels(model) : 0;
    if (given == 0 || card->learned_variance || given <= card->channels || atomic_flag_test_and_set(&warned[guide]))
        return;
    log_warn("the %s gives %d channels, of which the first %d are taken: if the others are its variance, say variance: "
             "learned in its card",
             guide ? "guiding model" : "model", given, card->channels);
}

/* The first EVAL of each model on zeros: kernels are chosen and compiled now, and an output that does not fit the card
 * shows. */
static int warm_up(struct executor *executor, struct error *err) {
    const struct executor_setup *setup = &executor->setup;
    const struct plan *plan = setup->plan;
    if (executor->adaptive && adaptive_first(executor->adaptive, &plan, err) != 0) return -1;
    const struct batch one = {.rows = 1, .labels = executor->labels};
    int rc = 0;
    executor->batch = &one;
    for (int model = 0; model < 2 && rc == 0; model++) {
        size_t first = 0;
        while (first < plan->ops_count && !(plan->ops[first].kind == OP_EVAL && plan->ops[first].model == model))
            first++;
        if (first == plan->ops_count) continue;
        struct op eval = plan->ops[first];
        eval.src = 0;
        rc = registers_set(executor->registers, 0, executor->values, err);
        if (rc == 0 && evaluate(executor, &eval, plan_twin(plan, setup->sampler, first), err) != 0)
            rc = error_prefix(err, "the first call of the %s failed (does its card describe it?)",
                              model ? "guiding model" : "model");
    }
    executor->batch = NULL;
    for (int model = 0; model < 2 && rc == 0; model++)
        warn_of_channels(model ? setup->guide : setup->model, model ? setup->card->guide : setup->card, model);
    return rc;
}

int executor_new(struct executor **executor, const struct executor_setup *setup, struct error *err) {
    if (setup->noise == NOISE_TORCH_CUDA && setup->device == SHIM_CPU)
        return error_set(err, CODE_DATA,
                         "noise: torch-cuda is made on a GPU, but this run is on the CPU; say noise: torch-cpu or "
                         "philox, or device: cuda");
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
    adaptive_free(executor->adaptive);
    free(executor->values);
    free(executor->latent);
    free(executor->labels);
    free(executor->scales);
    condition_values_release(&executor->inputs);
    free(executor);
}
