#include "sample/proof.h"

#include "base/text.h"
#include "sample/adaptive.h"
#include "sample/noise.h"
#include "solver/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- any network ---- */

static const double NOISE_OF_KERNELS = 1e-5; /* of the largest output: sums in another order, in float32 */
enum { LABELS = 3, SHIFT = 6 }; /* a multiple of 1, 2 and 3: see label_of */

/* Rows that stay in the second call: their neighbours change, and so do the first row and the last. */
static bool stays(const struct proof *proof, size_t row) {
    return proof->mixes || proof->batch == 1 || (row % 2 == 1 && (row + 1 < proof->batch || proof->batch == 2));
}

static void choose_seeds(const struct proof *proof, bool change, uint64_t *seeds) {
    for (size_t row = 0; row < proof->batch; row++)
        seeds[row] = change && !stays(proof, row) ? row + SHIFT * proof->batch + 1 : row;
}

/* The largest difference in the rows that stayed, of the largest value. */
static double compare(const struct proof *proof, const float *a, const float *b) {
    double difference = 0, scale = 0;
    for (size_t row = 0; row < proof->batch; row++)
        for (size_t i = row * proof->outputs; i < (row + 1) * proof->outputs; i++) {
            scale = fmax(scale, fabs(a[i]));
            if (stays(proof, row)) difference = fmax(difference, fabs((double)a[i] - b[i]));
        }
    return difference > 0 ? difference / scale : 0;
}

int proof_rows(const struct proof *proof, double *difference, struct error *err) {
    size_t values = proof->batch * proof->outputs;
    uint64_t *seeds = malloc(proof->batch * sizeof *seeds);
    float *first = malloc(values * sizeof *first), *second = malloc(values * sizeof *second);
    int rc = seeds && first && second ? 0 : error_memory(err);
    *difference = 0;
    for (int call = 0; rc == 0 && call < 2; call++) {
        choose_seeds(proof, call == 1, seeds);
        rc = proof->call(proof->context, seeds, call == 0 ? first : second, err);
    }
    if (rc == 0 && (*difference = compare(proof, first, second)) > 0) {
        choose_seeds(proof, false, seeds);
        rc = proof->call(proof->context, seeds, second, err);
        if (rc == 0 && memcmp(first, second, values * sizeof *first) != 0)
            rc = error_set(err, CODE_DATA, "%s gives another output when it is given the same input again: it draws "
                           "random numbers (dropout?) or changes its own buffers; export it in eval mode (net.eval() before it "
                           "is traced)", proof->name);
        else if (rc == 0 && *difference >= NOISE_OF_KERNELS)
            rc = error_set(err, CODE_DATA, "%s: its output for one sample depends on the other samples of the batch (by %.2g of the "
                           "largest output): batch norm in train mode does that; export it in eval mode (net.eval() before it is "
                           "traced)%s", proof->name, *difference, proof->allow);
    }
    free(seeds);
    free(first);
    free(second);
    return rc;
}

/* ---- diffusion networks ---- */

struct question { /* proof.context */
    const char *name;
    const struct proof_model *of;
    const struct card *card;
    struct shim_shape shape;
    struct op op;             /* the EVAL */
    int64_t known[LABELS];    /* to be tried */
    size_t known_count, elements;
    int64_t *labels;          /* [batch] */
    double *normals;          /* [elements] */
    float *x, *out;           /* [batch][elements], [2][batch][elements] */
};

static int64_t label_of(const struct question *question, uint64_t seed) {
    return question->known[seed % question->known_count];
}

static int check_finite(const struct question *question, const uint64_t *seeds, const float *out, size_t outputs, struct error *err) {
    for (size_t i = 0; i < (size_t)question->shape.batch * outputs; i++) {
        char label[40] = "";
        if (isfinite(out[i])) continue;
        if (question->known_count > 0)
            snprintf(label, sizeof label, " and label %lld", (long long)label_of(question, seeds[i / outputs]));
        return error_set(err, CODE_DATA, "%s: its output is not finite for unit normals at time %g%s (%g): nothing can be made "
                         "of it; does it overflow in half precision, or its card promise what it can't?", question->name,
                         question->op.time, label, out[i]);
    }
    return 0;
}

static int ask(void *context, const uint64_t *seeds, float *out, struct error *err) {
    struct question *question = context;
    size_t size = question->elements, batch = (size_t)question->shape.batch, parts = question->op.dst2 ? 2 : 1;
    float *variance = parts == 2 ? question->out + batch * size : NULL;
    char message[SHIM_ERROR];
    struct shim_condition condition = {.time = question->op.time, .labels = question->known_count > 0 ? question->labels : NULL};
    condition.integer_time = question->card->time.kind == TIME_DISCRETE && question->card->time.integer;
    condition.channels = question->card->learned_variance ? 2 * question->card->channels : 0;
    for (size_t row = 0; row < batch; row++) {
        noise_normals(seeds[row], NOISE_STREAM_INITIAL, size, question->normals);
        for (size_t i = 0; i < size; i++) question->x[row * size + i] = (float)question->normals[i];
        if (question->known_count > 0) question->labels[row] = label_of(question, seeds[row]);
    }
    if (shim_model_run(question->of->model, question->x, question->shape, &condition, question->out, variance, message) != 0)
        return error_set(err, CODE_DATA, "the first call of the %s failed (does its card describe it?): model: %s",
                         question->of->number ? "guiding model" : "model", message);
    for (size_t row = 0; row < batch; row++)
        for (size_t part = 0; part < parts; part++)
            memcpy(out + (row * parts + part) * size, question->out + (part * batch + row) * size, size * sizeof *out);
    return check_finite(question, seeds, out, parts * size, err);
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
        if (op->labels == EVAL_NULL || (given && job->labels.rule == LABELS_NONE)) add_label(question, question->of->card->null_label);
        else if (given && job->labels.rule == LABELS_CONSTANT) add_label(question, job->labels.constant);
        else if (given) add_label(question, 0), add_label(question, question->of->card->classes - 1);
    }
}

/* The plan's first and last call of the model; an adaptive plan has its first, and ends at t_end. false: it never calls it. */
static bool find_calls(const struct proof_model *of, const struct plan *plan, struct op ends[2]) {
    bool found = false;
    for (size_t i = 0; i < plan->ops_count; i++) {
        if (plan->ops[i].kind != OP_EVAL || plan->ops[i].model != of->number) continue;
        if (!found) ends[0] = plan->ops[i];
        ends[1] = plan->ops[i];
        found = true;
    }
    return found;
}

static int last_time(const struct proof_model *of, double *time, struct error *err) {
    struct schedule *schedule;
    if (schedule_new(&schedule, of->card, err) != 0) return -1;
    *time = schedule_model_time(of->number ? schedule_guide(schedule) : schedule, of->sampler->t_end);
    schedule_free(schedule);
    return 0;
}

static int prove(struct question *question, const struct op ends[2], double *difference, struct error *err) {
    const struct job *job = question->of->job;
    size_t batch = (size_t)question->shape.batch, parts = ends[0].dst2 ? 2 : 1;
    struct proof proof = {.name = question->name, .batch = batch, .outputs = parts * question->elements, .call = ask,
                          .mixes = job->model.row_dependent, .context = question,
                          .allow = ", or say model.row_dependent: true if it is meant to"};
    uint64_t *seeds = malloc(batch * sizeof *seeds);
    float *out = malloc(batch * proof.outputs * sizeof *out);
    int rc = seeds && out ? 0 : error_memory(err);
    question->op = ends[0];
    if (rc == 0) rc = proof_rows(&proof, difference, err);
    question->op.time = ends[1].time;
    for (size_t row = 0; rc == 0 && row < batch; row++) seeds[row] = row + (SHIFT + 1) * batch; /* and the next labels */
    if (rc == 0) rc = ask(question, seeds, out, err);
    free(seeds);
    free(out);
    return rc;
}

int proof_of_model(const struct proof_model *of, double *difference, struct error *err) {
    const struct card *card = of->number ? of->card->guide : of->card;
    const char *path = of->number ? of->job->sampler.guidance.model : of->job->model.path;
    struct question question = {.of = of, .card = card, .elements = card_elements(of->card),
                                .shape = {of->job->batch, of->card->channels, of->card->height, of->card->width}};
    size_t batch = (size_t)of->job->batch;
    struct adaptive *adaptive = NULL;
    const struct plan *plan = of->plan;
    struct op ends[2];
    char *name = text_new("%s %s", of->number ? "the guiding model" : "the model", path ? path : "");
    question.name = name;
    question.labels = malloc(batch * sizeof *question.labels);
    question.normals = malloc(question.elements * sizeof *question.normals);
    question.x = malloc(batch * question.elements * sizeof *question.x);
    question.out = malloc(2 * batch * question.elements * sizeof *question.out);
    int rc = name && question.labels && question.normals && question.x && question.out ? 0 : error_memory(err);
    if (rc == 0 && plan->adaptive && (rc = adaptive_new(&adaptive, of->sampler, of->card, question.shape, err)) == 0)
        rc = adaptive_first(adaptive, &plan, err);
    *difference = 0;
    if (rc == 0 && find_calls(of, plan, ends)) {
        choose_labels(&question, plan);
        if (adaptive) rc = last_time(of, &ends[1].time, err);
        if (rc == 0) rc = prove(&question, ends, difference, err);
    }
    adaptive_free(adaptive);
    free(question.labels);
    free(question.normals);
    free(question.x);
    free(question.out);
    free(name);
    return rc;
}
