/* The plan as JSON (a promise: jobs/README.md, "The plan") and as text for people. */
#include "solver/plan.h"

#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAME(symbol, name) name,
static const char *const op_names[] = {PLAN_OPS(NAME) NULL};
#undef NAME
static const char *const label_names[] = {"given", "null", "none", NULL};

/* json_pack frees what it was given and returns NULL when any of it is NULL: a lack of memory ends in NULL. */
static json_t *terms_to_json(const struct op *op) {
    json_t *terms = json_array();
    for (size_t i = 0; terms && i < op->terms_count; i++)
        if (json_array_append_new(terms, json_pack("[f, i]", op->terms[i].coefficient, op->terms[i].source)) != 0) {
            json_decref(terms);
            terms = NULL;
        }
    return terms;
}

static json_t *op_to_json(const struct op *op) {
    const char *name = op_names[op->kind];
    switch (op->kind) {
        case OP_EVAL:
            return json_pack("{s:s, s:i, s:i, s:f, s:s, s:i, s:o*}", "op", name, "dst", op->dst, "src", op->src, "time",
                             op->time, "labels", label_names[op->labels], "model", op->model, "dst2",
                             op->dst2 ? json_integer(op->dst2) : NULL);
        case OP_LINCOMB:
            return json_pack("{s:s, s:i, s:o, s:o*}", "op", name, "dst", op->dst, "terms", terms_to_json(op),
                             "channels",
                             op->channels[1] ? json_pack("[i, i]", op->channels[0], op->channels[1]) : NULL);
        case OP_NOISE:
            return json_pack("{s:s, s:i, s:I}", "op", name, "dst", op->dst, "stream", (json_int_t)op->stream);
        case OP_CLAMP:
            return json_pack("{s:s, s:i, s:f, s:f}", "op", name, "dst", op->dst, "lo", op->low, "hi", op->high);
        case OP_RESCALE:
            return json_pack("{s:s, s:i, s:i, s:i, s:f}", "op", name, "dst", op->dst, "src", op->src, "like", op->like,
                             "phi", op->phi);
        case OP_MULEXP:
            return json_pack("{s:s, s:i, s:i, s:f, s:f}", "op", name, "dst", op->dst, "src", op->src, "a", op->a, "b",
                             op->b);
        case OP_THRESHOLD:
            return json_pack("{s:s, s:i, s:f, s:f, s:o}", "op", name, "dst", op->dst, "quantile", op->quantile, "lo",
                             op->low, "hi", isfinite(op->high) ? json_real(op->high) : json_null());
        case OP_PROJECT:
            return json_pack("{s:s, s:i, s:i, s:i}", "op", name, "dst", op->dst, "src", op->src, "onto", op->like);
        case OP_LIMIT: return json_pack("{s:s, s:i, s:f}", "op", name, "dst", op->dst, "norm", op->high);
        case OP_KINDS: break;
    }
    return NULL;
}

static json_t *step_to_json(const struct plan_step *step) {
    return json_pack("{s:f, s:f, s:f, s:f, s:o}", "t", step->t, "s", step->s, "alpha", step->alpha, "sigma",
                     step->sigma, "logsnr", isfinite(step->logsnr) ? json_real(step->logsnr) : json_null());
}

json_t *plan_to_json(const struct plan *plan) {
    bool adaptive = plan->adaptive;
    json_t *steps = json_array(), *ops = json_array();
    bool whole = true;
    for (size_t i = 0; i < plan->steps_count; i++)
        whole &= json_array_append_new(steps, step_to_json(&plan->steps[i])) == 0;
    for (size_t i = 0; i < plan->ops_count; i++) whole &= json_array_append_new(ops, op_to_json(&plan->ops[i])) == 0;
    json_t *json = json_pack("{s:s, s:o, s:o, s:i, s:f, s:o, s:o}", "solver", plan->solver, "nfe",
                             adaptive ? json_null() : json_integer(plan->nfe), "model_calls",
                             adaptive ? json_null() : json_integer(plan->model_calls), "registers", plan->registers,
                             "initial_scale", plan->initial_scale, "steps", steps, "ops", ops);
    if (adaptive)
        whole &= json_object_set_new(json, "adaptive",
                                     json_pack("{s:s, s:f, s:f}", "method", plan->solver, "rtol", plan->rtol, "atol",
                                               plan->atol)) == 0;
    if (whole) return json;
    json_decref(json);
    return NULL;
}

static int bad(struct error *err, size_t i, const char *what) {
    return error_set(err, CODE_DATA, "run.json: plan: op %zu: %s", i, what);
}

/* Its place among `names`, or -1: an error that lists them. */
static int find_name(const char *const *names, const json_t *json, const char *key, size_t index, struct error *err) {
    const char *name = json_string_value(json_object_get(json, key));
    for (int i = 0; name && names[i]; i++)
        if (strcmp(names[i], name) == 0) return i;
    struct text expected = {0};
    text_add(&expected, "%s: expected ", key);
    text_add_names(&expected, names, ", ", " or ");
    bad(err, index, expected.data ? expected.data : key);
    text_release(&expected);
    return -1;
}

static bool is_register(const struct plan *plan, int index) {
    return index >= 0 && index < plan->registers;
}

static int terms_from_json(const struct plan *plan, struct op *op, const json_t *json, size_t index,
                           struct error *err) {
    const json_t *terms = json_object_get(json, "terms"), *channels = json_object_get(json, "channels");
    for (size_t i = 0; i < 2; i++) op->channels[i] = (int)json_integer_value(json_array_get(channels, i));
    if (channels && (json_array_size(terms) == 0 || op->channels[0] < 0 || op->channels[1] <= op->channels[0]))
        return bad(err, index, "channels: expected [first, beyond], and a term");
    op->terms = calloc(json_array_size(terms) + 1, sizeof *op->terms);
    if (!op->terms) return error_memory(err);
    for (size_t i = 0; i < json_array_size(terms); i++) {
        struct term term = {json_number_value(json_array_get(json_array_get(terms, i), 0)),
                            (int)json_integer_value(json_array_get(json_array_get(terms, i), 1))};
        if (!is_register(plan, term.source)) return bad(err, index, "a term of no register");
        op->terms[op->terms_count++] = term;
    }
    return 0;
}

static int op_from_json(const struct plan *plan, struct op *op, const json_t *json, size_t index, struct error *err) {
    int kind = find_name(op_names, json, "op", index, err);
    if (kind < 0) return -1;
    op->kind = (enum op_kind)kind;
    op->dst = (int)json_integer_value(json_object_get(json, "dst"));
    op->src = (int)json_integer_value(json_object_get(json, "src"));
    op->like = (int)json_integer_value(json_object_get(json, op->kind == OP_PROJECT ? "onto" : "like"));
    op->dst2 = (int)json_integer_value(json_object_get(json, "dst2"));
    op->phi = json_number_value(json_object_get(json, "phi"));
    op->a = json_number_value(json_object_get(json, "a"));
    op->b = json_number_value(json_object_get(json, "b"));
    if (!is_register(plan, op->dst) || !is_register(plan, op->src) || !is_register(plan, op->like) ||
        !is_register(plan, op->dst2))
        return bad(err, index, "a register that is not there");
    op->stream = (uint32_t)json_integer_value(json_object_get(json, "stream"));
    op->low = json_number_value(json_object_get(json, "lo"));
    const json_t *high = json_object_get(json, op->kind == OP_LIMIT ? "norm" : "hi");
    op->high = op->kind == OP_THRESHOLD && json_is_null(high) ? INFINITY : json_number_value(high);
    op->quantile = json_number_value(json_object_get(json, "quantile"));
    if (!(op->quantile >= 0 && op->quantile <= 1)) return bad(err, index, "quantile: expected 0 to 1");
    if (op->kind == OP_LINCOMB) return terms_from_json(plan, op, json, index, err);
    if (op->kind != OP_EVAL) return 0;
    int labels = find_name(label_names, json, "labels", index, err);
    if (labels < 0) return -1;
    op->labels = (enum eval_labels)labels;
    op->time = json_number_value(json_object_get(json, "time"));
    op->model = (int)json_integer_value(json_object_get(json, "model"));
    return op->model == 0 || op->model == 1 ? 0 : bad(err, index, "a model that is not there");
}

int plan_from_json(struct plan *plan, const json_t *json, struct error *err) {
    const char *solver = json_string_value(json_object_get(json, "solver"));
    const json_t *ops = json_object_get(json, "ops"), *steps = json_object_get(json, "steps");
    const json_t *adaptive = json_object_get(json, "adaptive");
    *plan = (struct plan){.nfe = (int)json_integer_value(json_object_get(json, "nfe")),
                          .model_calls = (int)json_integer_value(json_object_get(json, "model_calls")),
                          .registers = (int)json_integer_value(json_object_get(json, "registers")),
                          .initial_scale = json_number_value(json_object_get(json, "initial_scale")),
                          .adaptive = adaptive != NULL,
                          .rtol = json_number_value(json_object_get(adaptive, "rtol")),
                          .atol = json_number_value(json_object_get(adaptive, "atol"))};
    if (!solver || strlen(solver) >= sizeof plan->solver || plan->registers < 1 || plan->registers > 64)
        return error_set(err, CODE_DATA, "run.json: its plan is not readable");
    strcpy(plan->solver, solver);
    plan->ops = calloc(json_array_size(ops) + 1, sizeof *plan->ops);
    plan->steps = calloc(json_array_size(steps) + 1, sizeof *plan->steps);
    int rc = plan->ops && plan->steps ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < json_array_size(ops); i++)
        rc = op_from_json(plan, &plan->ops[plan->ops_count++], json_array_get(ops, i), i, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        const json_t *logsnr = json_object_get(step, "logsnr");
        plan->steps[plan->steps_count++] = (struct plan_step){
            json_number_value(json_object_get(step, "t")), json_number_value(json_object_get(step, "s")),
            json_number_value(json_object_get(step, "alpha")), json_number_value(json_object_get(step, "sigma")),
            json_is_number(logsnr) ? json_number_value(logsnr) : INFINITY};
    }
    if (rc != 0) plan_release(plan);
    return rc;
}

static void print_op(const struct op *op, FILE *out) {
    switch (op->kind) {
        case OP_EVAL:
            fprintf(out, "EVAL     r%d", op->dst);
            if (op->dst2) fprintf(out, ", r%d", op->dst2);
            fprintf(out, " = %s(r%d, t = %.6g, labels %s)", op->model ? "guide" : "model", op->src, op->time,
                    label_names[op->labels]);
            break;
        case OP_LINCOMB:
            fprintf(out, "LINCOMB  r%d =", op->dst);
            for (size_t i = 0; i < op->terms_count; i++) {
                double c = op->terms[i].coefficient;
                fprintf(out, " %s%.8g r%d",
                        i == 0  ? c < 0 ? "-" : ""
                        : c < 0 ? "- "
                                : "+ ",
                        fabs(c), op->terms[i].source);
            }
            if (op->channels[1]) fprintf(out, ", channels %d to %d", op->channels[0], op->channels[1] - 1);
            break;
        case OP_NOISE: fprintf(out, "NOISE    r%d = unit normals, stream %u", op->dst, op->stream); break;
        case OP_CLAMP: fprintf(out, "CLAMP    r%d to [%g, %g]", op->dst, op->low, op->high); break;
        case OP_RESCALE:
            fprintf(out, "RESCALE  r%d = r%d with %g of the spread of r%d", op->dst, op->src, op->phi, op->like);
            break;
        case OP_MULEXP: fprintf(out, "MULEXP   r%d *= exp(%.8g %+.8g r%d)", op->dst, op->a, op->b, op->src); break;
        case OP_THRESHOLD:
            fprintf(out, "THRESHOLD r%d by the %g quantile of its |x|, within [%g, %g]", op->dst, op->quantile, op->low,
                    op->high);
            break;
        case OP_PROJECT: fprintf(out, "PROJECT  r%d = r%d onto r%d", op->dst, op->src, op->like); break;
        case OP_LIMIT: fprintf(out, "LIMIT    r%d to norm %g", op->dst, op->high); break;
        case OP_KINDS: break;
    }
    fputc('\n', out);
}

void plan_print(const struct plan *plan, FILE *out) {
    fprintf(out, "solver %s", plan->solver);
    if (plan->adaptive) {
        fprintf(out, ": adaptive, rtol %g, atol %g; its steps, and so its NFE, are found batch by batch\n", plan->rtol,
                plan->atol);
        return;
    }
    fprintf(out, ": NFE %d, %d model calls, %d registers\nr0 starts as unit normal noise x %g\n\n", plan->nfe,
            plan->model_calls, plan->registers, plan->initial_scale);
    fprintf(out, "step          t ->         s       alpha       sigma    log(alpha/sigma)%s\n",
            plan->trained ? "  timestep" : "");
    for (size_t i = 0; i < plan->steps_count; i++) {
        fprintf(out, "%4zu %10.6g -> %9.6g  %10.6g  %10.6g  %10.6g", i + 1, plan->steps[i].t, plan->steps[i].s,
                plan->steps[i].alpha, plan->steps[i].sigma, plan->steps[i].logsnr);
        if (plan->trained) fprintf(out, "%18.0f", round(plan->steps[i].t * plan->trained) - 1);
        fputc('\n', out);
    }
    fputc('\n', out);
    for (size_t i = 0; i < plan->ops_count; i++) print_op(&plan->ops[i], out);
}
