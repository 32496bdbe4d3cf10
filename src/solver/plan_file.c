/* sampler.plan: a plan that somebody else's program wrote. Before anything runs it is asked what a solver's own plan
 * fulfils by its making: that registers are written before they are read, that times are the model's, that channels and
 * labels are those of the card; and the samples it makes of Gaussian data have their mean and width. */
#include "base/text.h"
#include "format/json_file.h"
#include "solver/builder.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The first key that says something and is none of those which may stand beside a plan; NULL: none. */
static const char *said_beside(const json_t *said, const json_t *nothing) {
    static const char *const beside[] = {"plan", "solver", "state", "guidance", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)said, key, value) {
        if (text_find(key, beside) < 0 && !json_equal(value, json_object_get(nothing, key))) return key;
    }
    return NULL;
}

int plan_file_resolve(struct sampler *sampler, struct error *err) {
    struct sampler plain;
    if (sampler->solver[0] && strcmp(sampler->solver, "plan") != 0)
        return error_set(err, CODE_DATA, "sampler.solver: sampler.plan stands for the solver, found %s: leave one out",
                         sampler->solver);
    sampler_init(&plain);
    plain.guidance.model = sampler->guidance.model;
    json_t *said = sampler_to_json(sampler), *nothing = sampler_to_json(&plain);
    const char *key = said_beside(said, nothing);
    int rc = 0;
    if (!said || !nothing) rc = error_memory(err);
    else if (key) rc = error_set(err, CODE_DATA, "sampler.%s: sampler.plan says all of that: leave it out", key);
    else if (!json_equal(json_object_get(said, "guidance"), json_object_get(nothing, "guidance")))
        rc =
            error_set(err, CODE_DATA,
                      "sampler.guidance: sampler.plan says how it guides: leave it out, or say {scale: 1, model: FILE} "
                      "where the plan has a guiding model");
    json_decref(nothing);
    json_decref(said);
    strcpy(sampler->solver, "plan");
    return rc;
}

/* ---- the ops, one by one ---- */

static int read_of(const bool *written, int source, struct error *err) {
    if (written[source]) return 0;
    return error_set(err, CODE_DATA, "register %d is read before anything is written to it", source);
}

/* All registers an op reads are written; marks what it writes. */
static int check_registers(const struct op *op, bool *written, struct error *err) {
    if (op->kind == OP_GUIDE)
        return error_set(
            err, CODE_DATA,
            "a scale by row is guidance of a solver: name the solver, with sampler.guidance: {scale: FILE}, "
            "instead of its plan");
    bool reads_src = op->kind == OP_EVAL || op->kind == OP_RESCALE || op->kind == OP_MULEXP || op->kind == OP_PROJECT;
    bool reads_like = op->kind == OP_RESCALE || op->kind == OP_PROJECT;
    bool reads_dst = op->kind == OP_CLAMP || op->kind == OP_MULEXP || op->kind == OP_THRESHOLD || op->kind == OP_LIMIT;
    if (reads_src && read_of(written, op->src, err) != 0) return -1;
    if (reads_like && read_of(written, op->like, err) != 0) return -1;
    if (reads_dst && read_of(written, op->dst, err) != 0) return -1;
    for (size_t i = 0; i < op->terms_count; i++)
        if (read_of(written, op->terms[i].source, err) != 0) return -1;
    written[op->dst] = true;
    if (op->dst2) written[op->dst2] = true;
    return 0;
}

/* The schedule's t at which a model is told `time`, by halving: the one is monotone in the other. */
static int time_of(const struct schedule *schedule, const struct card *card, double time, double *t,
                   struct error *err) {
    double least, most, low, high;
    bool whole = card_takes_steps(card);
    schedule_range(schedule, &least, &most);
    low = least;
    high = most;
    double first = schedule_model_time(schedule, low), last = schedule_model_time(schedule, high);
    double rounding = 1e-9 * fmax(1, fabs(time)), sign = last > first ? 1 : -1;
    if (!(sign * (time - first) >= -rounding) || !(sign * (time - last) <= rounding) || (whole && time != trunc(time)))
        return error_set(err, CODE_DATA, "time: expected %s from %g to %g, which the model knows, found %.15g",
                         whole ? "a whole number" : "a number", fmin(first, last), fmax(first, last), time);
    for (int i = 0; i < 200 && high - low > 1e-16 * high; i++) {
        double middle = (low + high) / 2;
        if (sign * (schedule_model_time(schedule, middle) - time) < 0) low = middle;
        else high = middle;
    }
    *t = (low + high) / 2;
    return 0;
}

static int check_eval(const struct op *op, const struct card *card, struct error *err) {
    const struct card *of = op->model ? card->guide : card;
    if (!of)
        return error_set(
            err, CODE_DATA,
            "model: 1 is the guiding model, and the job has none (sampler.guidance: {scale: 1, model: FILE})");
    if (op->labels == EVAL_NONE && of->classes > 0)
        return error_set(err, CODE_DATA, "labels: none, but the %s takes labels: expected given%s",
                         op->model ? "guiding model" : "model", of->null_label >= 0 ? " or null" : "");
    if (op->labels != EVAL_NONE && of->classes == 0)
        return error_set(err, CODE_DATA, "labels: %s, but the %s takes none: expected none",
                         plan_label_names[op->labels], op->model ? "guiding model" : "model");
    if (op->labels == EVAL_NULL && of->null_label < 0)
        return error_set(err, CODE_DATA, "labels: null, but the model's card has no null label");
    if (op->dst2 && (op->model || !of->learned_variance))
        return error_set(err, CODE_DATA, "dst2: the %s predicts no variance: leave it out",
                         op->model ? "guiding model" : "model");
    if (op->dst2 && op->dst2 == op->dst)
        return error_set(err, CODE_DATA, "dst2: expected another register than dst, found %d", op->dst2);
    return 0;
}

static int check_op(const struct op *op, const struct card *card, size_t noises, bool *written, struct error *err) {
    if (op->kind == OP_EVAL && check_eval(op, card, err) != 0) return -1;
    if (op->channels[1] > card->channels)
        return error_set(err, CODE_DATA, "channels: expected at most the model's %d, found [%d, %d]", card->channels,
                         op->channels[0], op->channels[1]);
    if (op->kind == OP_THRESHOLD && op->low > op->high)
        return error_set(err, CODE_DATA, "hi: expected at least lo, %g, found %g", op->low, op->high);
    if (op->kind == OP_CLAMP && op->low >= op->high)
        return error_set(err, CODE_DATA, "hi: expected more than lo, %g, found %g", op->low, op->high);
    if (op->kind == OP_NOISE && op->stream > noises)
        return error_set(err, CODE_DATA, "stream: expected 1 to %zu, the number of NOISE ops, found %u", noises,
                         op->stream);
    return check_registers(op, written, err);
}

/* ---- the whole ---- */

struct questions { /* see probe.h */
    double (*slopes)[PROBES], (*offsets)[PROBES];
};

/* Every op; and fills the questions, an EVAL after the other. */
static int check_ops(const struct plan *plan, const struct card *card, const struct schedule *schedule,
                     struct questions *questions, struct error *err) {
    bool written[plan->registers], *drawn = NULL; /* by stream */
    size_t noises = 0, evaluations = 0;
    int rc = 0;
    memset(written, 0, sizeof written);
    written[0] = true;
    for (size_t i = 0; i < plan->ops_count; i++) noises += plan->ops[i].kind == OP_NOISE;
    if (!(drawn = calloc(noises + 1, sizeof *drawn))) return error_memory(err);
    for (size_t i = 0; rc == 0 && i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        rc = check_op(op, card, noises, written, err);
        if (rc == 0 && op->kind == OP_NOISE && drawn[op->stream])
            rc = error_set(err, CODE_DATA,
                           "stream: %u was drawn before, and would be the same noise again: take another, or keep that "
                           "register",
                           op->stream);
        if (rc == 0 && op->kind == OP_NOISE) drawn[op->stream] = true;
        if (rc == 0 && op->kind == OP_EVAL) {
            const struct card *of = op->model ? card->guide : card;
            const struct schedule *theirs = op->model ? schedule_guide(schedule) : schedule;
            double t = 0;
            if ((rc = time_of(theirs, of, op->time, &t, err)) == 0)
                builder_probe(theirs, of, t, questions->slopes[evaluations], questions->offsets[evaluations]);
            evaluations++;
        }
        if (rc != 0) error_prefix(err, "op %zu (%s)", i + 1, plan_op_names[op->kind]);
    }
    free(drawn);
    return rc;
}

/* nfe and model_calls, which a file may leave out. */
static int count_calls(struct plan *plan, const struct card *card, struct error *err) {
    int calls = 0, points = 0;
    bool writes = false, guides = false;
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        writes |= op->dst == 0;
        calls += op->kind == OP_EVAL;
        points += op->kind == OP_EVAL && op->model == 0 && op->labels != EVAL_NULL;
        guides |= op->kind == OP_EVAL && op->model == 1;
    }
    if (plan->adaptive)
        return error_set(err, CODE_DATA, "adaptive: such a plan has no ops of its own: say sampler.solver: rk45");
    if (calls == 0) return error_set(err, CODE_DATA, "ops: expected an EVAL, found none");
    if (!writes) return error_set(err, CODE_DATA, "ops: register 0, which becomes the sample, is never written");
    if (plan->model_calls && plan->model_calls != calls)
        return error_set(err, CODE_DATA, "model_calls: expected %d, the number of EVAL ops, or nothing, found %d",
                         calls, plan->model_calls);
    if (plan->nfe < 0 || plan->nfe > calls)
        return error_set(err, CODE_DATA, "nfe: expected 1 to %d, the number of EVAL ops, or nothing, found %d", calls,
                         plan->nfe);
    if (card->guide && !guides)
        return error_set(err, CODE_DATA, "no op evaluates model 1: leave sampler.guidance.model out");
    plan->model_calls = calls;
    if (plan->nfe == 0) plan->nfe = points ? points : calls;
    return 0;
}

/* One line where Gaussian data does not come out as it is; clipping would hide or heal that. */
static int warn_samples(const struct plan *plan, const struct schedule *schedule, const struct questions *questions,
                        const char *path, struct text *warnings, struct error *err) {
    enum { NOISES_MOST = 10000 }; /* the probe has a number for each, in every register */
    double end = plan->steps_count > 0 ? plan->steps[plan->steps_count - 1].s : 0, least, most, deviation, mean;
    schedule_range(schedule, &least, &most);
    double alpha = end > least ? schedule_alpha(schedule, end) : 1,
           sigma = end > least ? schedule_sigma(schedule, end) : 0;
    size_t noises = 0;
    for (size_t i = 0; i < plan->ops_count; i++) {
        if (plan->ops[i].kind == OP_CLAMP || plan->ops[i].kind == OP_THRESHOLD) return 0;
        noises += plan->ops[i].kind == OP_NOISE;
    }
    if (noises > NOISES_MOST) return 0;
    for (int i = 0; i < PROBES; i++) {
        if (probe_samples(plan, (const double(*)[PROBES])questions->slopes, (const double(*)[PROBES])questions->offsets,
                          i, &deviation, &mean, err) != 0)
            return -1;
        double expected = hypot(alpha * probe_widths[i], sigma), ratio = deviation / expected;
        if (!(deviation <= FLT_MAX) || !(fabs(mean) <= FLT_MAX))
            return error_set(err, CODE_DATA,
                             "of Gaussian data with mean 1 and standard deviation %g it makes samples that are not "
                             "finite as float32: see its initial_scale and the size of its coefficients",
                             probe_widths[i]);
        if (!(ratio > PROBE_WIDE || ratio < PROBE_NARROW || fabs(mean - alpha) > 0.25)) continue;
        text_add(
            warnings,
            "sampler.plan: %s makes of Gaussian data with mean 1 and standard deviation %g samples with mean %.3g and "
            "standard deviation %.3g%s\n",
            path, probe_widths[i], mean, deviation, ratio > PROBE_WIDE ? ": it is unstable at so few steps" : "");
        return 0;
    }
    return 0;
}

static int check(struct plan *plan, const char *path, const struct card *card, struct text *warnings,
                 struct error *err) {
    struct schedule *schedule;
    if (count_calls(plan, card, err) != 0) return -1;
    struct questions questions = {calloc((size_t)plan->model_calls, sizeof *questions.slopes),
                                  calloc((size_t)plan->model_calls, sizeof *questions.offsets)};
    int rc = questions.slopes && questions.offsets ? schedule_new(&schedule, card, err) : error_memory(err);
    if (rc == 0) {
        rc = check_ops(plan, card, schedule, &questions, err);
        if (rc == 0 && warnings) rc = warn_samples(plan, schedule, &questions, path, warnings, err);
        plan->trained = schedule_has_integer_times(schedule) ? schedule_steps(schedule) : 0;
        schedule_free(schedule);
    }
    free(questions.offsets);
    free(questions.slopes);
    return rc;
}

/* Members of a plan's file: what plan --json prints, and what a table has for people. */
static int check_members(const json_t *json, struct error *err) {
    static const char *const known[] = {"solver", "nfe",  "model_calls", "registers", "initial_scale",
                                        "steps",  "ops",  "name",        "adaptive",  "model_card",
                                        "source", "made", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value) {
        if (text_find(key, known) >= 0) continue;
        if (strcmp(key, "times") == 0)
            return error_set(err, CODE_DATA,
                             "times: a plan has none: a table of times and steps is sampler: {solver: table, table: "
                             "FILE}");
        const char *nearest = text_nearest(key, known);
        return error_set(err, CODE_DATA,
                         nearest ? "%.40s: unknown key; did you mean \"%s\"?"
                                 : "%.40s: unknown key; expected registers, initial_scale, ops, steps, nfe, "
                                   "model_calls, solver, name, source or made",
                         key, nearest);
    }
    return 0;
}

int plan_file_read(struct plan *plan, const struct sampler *resolved, const struct card *card, struct text *warnings,
                   struct error *err) {
    json_t *json;
    *plan = (struct plan){0};
    if (json_file_read(&json, resolved->plan, err) != 0) return -1;
    int rc = check_members(json, err);
    if (rc != 0) error_prefix(err, "%s", resolved->plan);
    if (rc == 0) rc = plan_from_json(plan, json, resolved->plan, err);
    const char *model = json_string_value(json_object_get(json_object_get(json, "made"), "model_sha256"));
    if (rc == 0 && model) snprintf(plan->made_for, sizeof plan->made_for, "%s", model);
    json_decref(json);
    if (rc == 0 && check(plan, resolved->plan, card, warnings, err) != 0)
        rc = err->code == CODE_DATA ? error_prefix(err, "%s", resolved->plan) : -1;
    if (rc != 0) plan_release(plan);
    return rc;
}
