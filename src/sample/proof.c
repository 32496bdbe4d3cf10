/* The proof that a network is a function of its row. */
#include "sample/proof.h"

#include "base/text.h"
#include "sample/adaptive.h"
#include "sample/conditions.h"
#include "sample/noise.h"
#include "solver/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- any network ---- */

static const double NOISE_OF_KERNELS = 1e-5; /* of the largest output: sums in another order, in float32 */
enum { LABELS = 3, SHIFT = 6 };              /* a multiple of 1, 2 and 3: see label_of */
enum { MIDDLE, FIRST, LAST, TIMES };

/* Is it alone: the last row of an odd batch, which stays where it is while the others pair up with a neighbour? */
static bool alone(const struct proof *proof, size_t row) {
    return row == proof->batch - 1 && row % 2 == 0;
}

/* Where the row of the plain call stands in the moved one; SIZE_MAX: nowhere, for another takes its neighbour's place.
 * Of each pair the row of even parity moves to the other's place: all places take part, and no two rows of a fixed
 * distance stay together. */
static size_t place_of(const struct proof *proof, size_t row) {
    if (proof->mixes || alone(proof, row)) return row;
    return __builtin_parityll(row) ? SIZE_MAX : row ^ 1;
}

/* At each time others: a batch of 1 meets all its labels, too. */
static void choose_seeds(const struct proof *proof, size_t time, bool moved, uint64_t *seeds) {
    size_t batch = proof->batch, first = time * (2 * SHIFT * batch + 1);
    for (size_t row = 0; row < batch; row++) seeds[row] = first + row + (moved ? SHIFT * batch + 1 : 0);
    for (size_t row = 0; moved && row < batch; row++)
        if (place_of(proof, row) != SIZE_MAX) seeds[place_of(proof, row)] = first + row;
}

/* The largest difference in the rows of both, of the largest value. */
static double compare(const struct proof *proof, const float *plain, const float *moved) {
    double difference = 0, scale = 0;
    for (size_t row = 0; row < proof->batch; row++) {
        size_t place = place_of(proof, row);
        for (size_t i = 0; i < proof->outputs; i++) {
            double value = plain[row * proof->outputs + i];
            scale = fmax(scale, fabs(value));
            if (place != SIZE_MAX) difference = fmax(difference, fabs(value - moved[place * proof->outputs + i]));
        }
    }
    return difference > 0 ? difference / scale : 0;
}

struct calls { /* room for them */
    uint64_t *seeds;
    float *plain, *other;
};

/* Why the two differ, if that is an error: asked the same again, does it say the same? */
static int judge(const struct proof *proof, size_t time, struct calls *calls, double difference, struct error *err) {
    bool same = !proof->mixes && proof->batch > 1; /* else the two were the same question */
    choose_seeds(proof, time, false, calls->seeds);
    if (same && proof->call(proof->context, time, calls->seeds, calls->other, err) != 0) return -1;
    if (!same || memcmp(calls->plain, calls->other, proof->batch * proof->outputs * sizeof *calls->plain) != 0)
        return error_set(
            err, CODE_DATA,
            "%s gives another output when it is given the same input again: it draws random numbers (dropout?) or "
            "changes its own buffers; export it in eval mode (net.eval() before it is traced)",
            proof->name);
    if (difference >= NOISE_OF_KERNELS)
        return error_set(err, CODE_DATA,
                         "%s: its output for one sample depends on the other samples of the batch, or on its place "
                         "among them (by %.2g of the largest output): batch norm in train mode does that; export it in "
                         "eval mode (net.eval() before it is traced)%s",
                         proof->name, difference, proof->allow);
    return 0;
}

static int prove_time(const struct proof *proof, size_t time, struct calls *calls, double *difference,
                      struct error *err) {
    choose_seeds(proof, time, false, calls->seeds);
    if (proof->call(proof->context, time, calls->seeds, calls->plain, err) != 0) return -1;
    if (time > 0 && time == proof->times - 1) return 0; /* finite */
    choose_seeds(proof, time, true, calls->seeds);
    if (proof->call(proof->context, time, calls->seeds, calls->other, err) != 0) return -1;
    double found = compare(proof, calls->plain, calls->other);
    *difference = fmax(*difference, found);
    return found > 0 ? judge(proof, time, calls, found, err) : 0;
}

int proof_rows(const struct proof *proof, double *difference, struct error *err) {
    size_t bytes = proof->batch * proof->outputs * sizeof(float);
    struct calls calls = {malloc(proof->batch * sizeof *calls.seeds), malloc(bytes), malloc(bytes)};
    int rc = calls.seeds && calls.plain && calls.other ? 0 : error_memory(err);
    *difference = 0;
    for (size_t time = 0; rc == 0 && time < proof->times; time++) rc = prove_time(proof, time, &calls, difference, err);
    free(calls.seeds);
    free(calls.plain);
    free(calls.other);
    return rc;
}

/* ---- diffusion networks ---- */

struct question { /* proof.context */
    const char *name;
    const struct proof_model *of;
    const struct card *card;
    struct shim_shape shape;
    struct op op;          /* the first EVAL */
    double times[TIMES];   /* to be asked at */
    int64_t known[LABELS]; /* to be tried */
    size_t known_count, elements;
    int64_t *labels; /* [batch] */
    struct condition_values values;
    bool nulls;      /* are asked for too */
    double *normals; /* [elements] */
    float *x, *out;  /* [batch][elements], [2][batch][elements] */
};

static int64_t label_of(const struct question *question, uint64_t seed) {
    return question->known[seed % question->known_count];
}

static int check_finite(const struct question *question, size_t time, const uint64_t *seeds, const float *out,
                        size_t outputs, struct error *err) {
    for (size_t i = 0; i < (size_t)question->shape.batch * outputs; i++) {
        char label[40] = "";
        if (isfinite(out[i])) continue;
        if (question->known_count > 0)
            snprintf(label, sizeof label, " and label %lld", (long long)label_of(question, seeds[i / outputs]));
        return error_set(err, CODE_DATA,
                         "%s: its output is not finite for unit normals at time %g%s (%g): nothing can be made of it; "
                         "does it overflow in half precision, or its card promise what it can't?",
                         question->name, question->times[time], label, out[i]);
    }
    return 0;
}

/* The inputs are functions of the seed, too: rows of the conditions, and nulls where the plan asks for them. */
static int read_row(struct question *question, uint64_t seed, size_t place, struct error *err) {
    const struct conditions *conditions = question->of->conditions;
    if (!conditions || question->card->inputs_count == 0) return 0;
    bool null = question->nulls && seed % LABELS == 2;
    return conditions_read(conditions, seed % conditions_rows(conditions), null, &question->values, place, err);
}

static int ask(void *context, size_t time, const uint64_t *seeds, float *out, struct error *err) {
    struct question *question = context;
    size_t size = question->elements, batch = (size_t)question->shape.batch, parts = question->op.dst2 ? 2 : 1;
    float *variance = parts == 2 ? question->out + batch * size : NULL;
    char message[SHIM_ERROR];
    struct shim_condition condition = condition_at(question->card, question->times[time]);
    struct shim_input inputs[INPUTS_MOST];
    if (question->known_count > 0) condition.labels = question->labels;
    condition.inputs = inputs;
    condition.inputs_count = condition_inputs(question->card, &question->values, inputs);
    for (size_t row = 0; row < batch; row++) {
        noise_normals(seeds[row], NOISE_STREAM_INITIAL, size, question->normals);
        for (size_t i = 0; i < size; i++) question->x[row * size + i] = (float)question->normals[i];
        if (question->known_count > 0) question->labels[row] = label_of(question, seeds[row]);
        if (read_row(question, seeds[row], row, err) != 0) return -1;
    }
    if (shim_model_run(question->of->model, question->x, question->shape, &condition, question->out, variance,
                       message) != 0)
        return error_set(err, CODE_DATA, "the first call of the %s failed (does its card describe it?): model: %s",
                         question->of->number ? "guiding model" : "model", message);
    for (size_t row = 0; row < batch; row++)
        for (size_t part = 0; part < parts; part++)
            memcpy(out + (row * parts + part) * size, question->out + (part * batch + row) * size, size * sizeof *out);
    return check_finite(question, time, seeds, out, parts * size, err);
}

static void add_label(struct question *question, int64_t label) {
    for (size_t i = 0; i < question->known_count; i++)
        if (question->known[i] == label) return;
    question->known[question->known_count++] = label;
}

/* The labels that the job may ask for, of which the largest is the first to be beyond a table that is too short. */
static void choose_labels(struct question *question, const struct plan *plan) {
    const struct job *job = question->of->job;
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        if (op->kind != OP_EVAL || op->model != question->of->number) continue;
        bool given = op->labels == EVAL_GIVEN;
        question->nulls |= op->labels == EVAL_NULL && conditions_nullable(question->card);
        if (question->card->classes == 0) continue;
        if (op->labels == EVAL_NULL || (given && job->labels.rule == LABELS_NONE))
            add_label(question, question->of->card->null_label);
        else if (given && job->labels.rule == LABELS_CONSTANT) add_label(question, job->labels.constant);
        else if (given) add_label(question, 0), add_label(question, question->of->card->classes - 1);
    }
}

/* The plan's first call of the model, and the times of the middle one and the last, of which an adaptive plan knows
 * none. false: it never calls it. */
static bool find_calls(struct question *question, const struct plan *plan) {
    const int number = question->of->number;
    size_t count = 0, at = 0;
    for (size_t i = 0; i < plan->ops_count; i++) count += plan->ops[i].kind == OP_EVAL && plan->ops[i].model == number;
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        if (op->kind != OP_EVAL || op->model != number) continue;
        if (at == 0) question->op = *op;
        question->times[at == 0 ? FIRST : LAST] = op->time;
        if (at == count / 2) question->times[MIDDLE] = op->time;
        at++;
    }
    if (count == 1) question->times[LAST] = question->times[FIRST];
    return count > 0;
}

/* An adaptive plan's end, and halfway there. */
static int adaptive_times(const struct proof_model *of, double times[TIMES], struct error *err) {
    struct schedule *schedule;
    if (schedule_new(&schedule, of->card, err) != 0) return -1;
    const struct schedule *own = of->number ? schedule_guide(schedule) : schedule;
    double middle = (of->sampler->t_start + of->sampler->t_end) / 2, steps = schedule_steps(schedule);
    if (schedule_has_integer_times(schedule)) middle = ceil(middle * steps) / steps;
    times[MIDDLE] = schedule_model_time(own, middle);
    times[LAST] = schedule_model_time(own, of->sampler->t_end);
    schedule_free(schedule);
    return 0;
}

/* Room for its calls. plan: of which the first EVAL tells how many rows they have. */
static int make_room(struct question *question, const struct plan *plan, struct error *err) {
    size_t batch = (size_t)question->of->job->batch;
    if (!question->of->number && plan_has_twins(plan, question->of->sampler)) batch *= 2;
    question->shape.batch = (int)batch;
    question->labels = malloc(batch * sizeof *question->labels);
    question->normals = malloc(question->elements * sizeof *question->normals);
    question->x = malloc(batch * question->elements * sizeof *question->x);
    question->out = malloc(2 * batch * question->elements * sizeof *question->out);
    if (!question->labels || !question->normals || !question->x || !question->out) return error_memory(err);
    return condition_values_new(&question->values, question->card, batch, err);
}

int proof_of_model(const struct proof_model *of, double *difference, struct error *err) {
    const struct card *card = of->number ? of->card->guide : of->card;
    const char *path = of->number ? of->job->sampler.guidance.model : of->job->model.path;
    struct question question = {.of = of,
                                .card = card,
                                .elements = card_elements(of->card),
                                .shape = {of->job->batch, of->card->channels, of->card->height, of->card->width}};
    struct adaptive *adaptive = NULL;
    const struct plan *plan = of->plan;
    char *name = text_new("%s %s", of->number ? "the guiding model" : "the model", path ? path : "");
    question.name = name;
    int rc = name ? 0 : error_memory(err);
    if (rc == 0 && plan->adaptive && (rc = adaptive_new(&adaptive, of->sampler, of->card, question.shape, err)) == 0)
        rc = adaptive_first(adaptive, &plan, err);
    if (rc == 0) rc = make_room(&question, plan, err);
    *difference = 0;
    if (rc == 0 && find_calls(&question, plan)) {
        choose_labels(&question, plan);
        struct proof proof = {.name = name,
                              .batch = (size_t)question.shape.batch,
                              .call = ask,
                              .mixes = of->job->model.row_dependent,
                              .times = TIMES,
                              .outputs = (question.op.dst2 ? 2 : 1) * question.elements,
                              .context = &question,
                              .allow = ", or say model.row_dependent: true if it is meant to"};
        if (adaptive) rc = adaptive_times(of, question.times, err);
        if (rc == 0) rc = proof_rows(&proof, difference, err);
    }
    adaptive_free(adaptive);
    condition_values_release(&question.values);
    free(question.labels);
    free(question.normals);
    free(question.x);
    free(question.out);
    free(name);
    return rc;
}
