/* The plan as JSON (a promise: jobs/README.md, "The plan") and as text for people. */
#include "solver/plan.h"

#include "base/text.h"
#include "format/json_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAME(symbol, name) name,
const char *const plan_op_names[] = {PLAN_OPS(NAME) NULL};
#undef NAME
const char *const plan_label_names[] = {"given", "null", "none", NULL};

/* json_pack frees what it was given and returns NULL when any of it is NULL: a lack of memory ends in NULL. */
static json_t *terms_to_json(const struct op *op) {
    json_t *terms = json_array();
    for (size_t i = 0; i < op->terms_count; i++)
        json_list_add(&terms, json_pack("[f, i]", op->terms[i].coefficient, op->terms[i].source));
    return terms;
}

static json_t *channels_to_json(const struct op *op) {
    return op->channels[1] ? json_pack("[i, i]", op->channels[0], op->channels[1]) : NULL;
}

static json_t *op_to_json(const struct op *op) {
    const char *name = plan_op_names[op->kind];
    switch (op->kind) {
        case OP_EVAL:
            return json_pack("{s:s, s:i, s:i, s:f, s:s, s:i, s:o*}", "op", name, "dst", op->dst, "src", op->src, "time",
                             op->time, "labels", plan_label_names[op->labels], "model", op->model, "dst2",
                             op->dst2 ? json_integer(op->dst2) : NULL);
        case OP_LINCOMB:
            return json_pack("{s:s, s:i, s:o, s:o*}", "op", name, "dst", op->dst, "terms", terms_to_json(op),
                             "channels", channels_to_json(op));
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
                             op->low, "hi", json_finite(op->high));
        case OP_PROJECT:
            return json_pack("{s:s, s:i, s:i, s:i}", "op", name, "dst", op->dst, "src", op->src, "onto", op->like);
        case OP_LIMIT: return json_pack("{s:s, s:i, s:f}", "op", name, "dst", op->dst, "norm", op->high);
        case OP_GUIDE:
            return json_pack("{s:s, s:i, s:i, s:i, s:o*}", "op", name, "dst", op->dst, "src", op->src, "guide",
                             op->like, "channels", channels_to_json(op));
        case OP_KINDS: break;
    }
    return NULL;
}

static json_t *step_to_json(const struct plan_step *step) {
    return json_pack("{s:f, s:f, s:f, s:f, s:o}", "t", step->t, "s", step->s, "alpha", step->alpha, "sigma",
                     step->sigma, "logsnr", json_finite(step->logsnr));
}

json_t *plan_to_json(const struct plan *plan) {
    bool adaptive = plan->adaptive;
    json_t *steps = json_array(), *ops = json_array();
    for (size_t i = 0; i < plan->steps_count; i++) json_list_add(&steps, step_to_json(&plan->steps[i]));
    for (size_t i = 0; i < plan->ops_count; i++) json_list_add(&ops, op_to_json(&plan->ops[i]));
    json_t *json = json_pack("{s:s, s:o, s:o, s:i, s:f, s:o, s:o}", "solver", plan->solver, "nfe",
                             adaptive ? json_null() : json_integer(plan->nfe), "model_calls",
                             adaptive ? json_null() : json_integer(plan->model_calls), "registers", plan->registers,
                             "initial_scale", plan->initial_scale, "steps", steps, "ops", ops);
    if (adaptive)
        json_map_add(&json, "adaptive",
                     json_pack("{s:s, s:f, s:f}", "method", plan->solver, "rtol", plan->rtol, "atol", plan->atol));
    return json;
}

int plan_digest(const struct plan *plan, char hex[SHA256_HEX], struct error *err) {
    json_t *json = plan_to_json(plan);
    char *text = NULL;
    if (json) {
        static const char *const informative[] = {"solver", "nfe", "model_calls", "steps"};
        for (size_t i = 0; i < sizeof informative / sizeof *informative; i++) json_object_del(json, informative[i]);
        text = json_text(json, JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(17));
    }
    if (text) sha256_bytes(text, strlen(text), hex);
    free(text);
    json_decref(json);
    return text ? 0 : error_memory(err);
}

static void print_op(const struct op *op, FILE *out) {
    switch (op->kind) {
        case OP_EVAL:
            fprintf(out, "EVAL     r%d", op->dst);
            if (op->dst2) fprintf(out, ", r%d", op->dst2);
            fprintf(out, " = %s(r%d, t = %.6g, labels %s)", op->model ? "guide" : "model", op->src, op->time,
                    plan_label_names[op->labels]);
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
        case OP_GUIDE: fprintf(out, "GUIDE    r%d = w r%d + (1 - w) r%d, w by row", op->dst, op->src, op->like); break;
        case OP_KINDS: break;
    }
    if (op->channels[1]) fprintf(out, ", channels %d to %d", op->channels[0], op->channels[1] - 1);
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
