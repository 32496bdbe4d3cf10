/* The plan as JSON (a promise: jobs/README.md, "The plan") and as text for people. */
#include "solver/plan.h"

#include "format/json_file.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NAME(symbol, name) name,
const char *const plan_op_names[] = {PLAN_OPS(NAME) NULL};
#undef NAME
const char *const plan_label_names[] = {"given", "null", "none", NULL};

/* Writes the format: %s as it is, %u a whole number, %f one as JSON has it, %g the same or null where it is infinite;
 * ' stands for ". False: a number that JSON cannot say. Printing is most of what a large sweep's start costs. */
static bool put(FILE *out, const char *format, ...) {
    bool whole = true;
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        char number[JSON_NUMBER], *digit = number + sizeof number;
        if (*format != '%') putc_unlocked(*format == '\'' ? '"' : *format, out);
        else if (*++format == 's') fputs_unlocked(va_arg(arguments, const char *), out);
        else if (*format == 'u') {
            unsigned rest = va_arg(arguments, unsigned);
            do *--digit = (char)('0' + rest % 10);
            while (rest /= 10);
            fwrite_unlocked(digit, 1, (size_t)(number + sizeof number - digit), out);
        } else {
            size_t length = json_number(number, va_arg(arguments, double));
            fwrite_unlocked(number, 1, length, out);
            if (length == 0 && *format == 'g') fputs_unlocked("null", out);
            else whole &= length > 0;
        }
    }
    va_end(arguments);
    return whole;
}

/* What follows an op's dst. */
static bool put_members(FILE *out, const struct op *op) {
    bool whole = true;
    switch (op->kind) {
        case OP_EVAL:
            whole = put(out, ",'src':%u,'time':%f,'labels':'%s','model':%u", op->src, op->time,
                        plan_label_names[op->labels], op->model);
            return (!op->dst2 || put(out, ",'dst2':%u", op->dst2)) && whole;
        case OP_LINCOMB:
            put(out, ",'terms':[");
            for (size_t i = 0; i < op->terms_count; i++)
                whole &= put(out, i ? ",[%f,%u]" : "[%f,%u]", op->terms[i].coefficient, op->terms[i].source);
            return put(out, "]") && whole;
        case OP_NOISE: return put(out, ",'stream':%u", op->stream);
        case OP_CLAMP: return put(out, ",'lo':%f,'hi':%f", op->low, op->high);
        case OP_RESCALE: return put(out, ",'src':%u,'like':%u,'phi':%f", op->src, op->like, op->phi);
        case OP_MULEXP: return put(out, ",'src':%u,'a':%f,'b':%f", op->src, op->a, op->b);
        case OP_THRESHOLD: return put(out, ",'quantile':%f,'lo':%f,'hi':%g", op->quantile, op->low, op->high);
        case OP_PROJECT: return put(out, ",'src':%u,'onto':%u", op->src, op->like);
        case OP_LIMIT: return put(out, ",'norm':%f", op->high);
        case OP_GUIDE: return put(out, ",'src':%u,'guide':%u", op->src, op->like);
        case OP_KINDS: break;
    }
    return false;
}

static bool put_plan(FILE *out, const struct plan *plan, const char *solver) {
    bool whole = put(out,
                     plan->adaptive ? "{'solver':%s,'nfe':null,'model_calls':null"
                                    : "{'solver':%s,'nfe':%u,'model_calls':%u",
                     solver, plan->nfe, plan->model_calls) &&
                 put(out, ",'registers':%u,'initial_scale':%f,'steps':[", plan->registers, plan->initial_scale);
    for (size_t i = 0; whole && i < plan->steps_count; i++) {
        const struct plan_step *step = &plan->steps[i];
        whole = put(out, "%s{'t':%f,'s':%f,'alpha':%f,'sigma':%f,'logsnr':%g}", i ? "," : "", step->t, step->s,
                    step->alpha, step->sigma, step->logsnr);
    }
    put(out, "],'ops':[");
    for (size_t i = 0; whole && i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        put(out, i ? ",{'op':'%s','dst':%u" : "{'op':'%s','dst':%u", plan_op_names[op->kind], op->dst);
        whole = put_members(out, op);
        put(out, op->channels[1] ? ",'channels':[%u,%u]}" : "}", op->channels[0], op->channels[1]);
    }
    put(out, "]");
    if (plan->adaptive)
        whole &= put(out, ",'adaptive':{'method':%s,'rtol':%f,'atol':%f}", solver, plan->rtol, plan->atol);
    return put(out, "}") && whole && !ferror(out);
}

char *plan_text(const struct plan *plan) {
    json_t *name = json_string(plan->solver);
    char *solver = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL, *text = NULL;
    size_t size;
    FILE *out = solver ? open_memstream(&text, &size) : NULL;
    bool whole = out && put_plan(out, plan, solver);
    if (out && fclose(out) != 0) whole = false;
    free(solver);
    json_decref(name);
    if (whole) return text;
    free(text);
    return NULL;
}

json_t *plan_to_json(const struct plan *plan) {
    char *text = plan_text(plan);
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
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
