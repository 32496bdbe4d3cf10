#include "solver/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double probe_widths[PROBES] = {0.5, 0.05};

/* forms: [registers][count], coefficients of the start and of noises 1, 2, ... */
static void follow(const struct op *op, double slope, size_t count, double *forms) {
    double *dst = forms + (size_t)op->dst * count;
    const double *src = forms + (size_t)op->src * count;
    switch (op->kind) {
        case OP_EVAL:
            for (size_t i = 0; i < count; i++) dst[i] = slope * src[i];
            break;
        case OP_LINCOMB:
            for (size_t i = 0; i < count; i++) {
                double sum = 0;
                for (size_t k = 0; k < op->terms_count; k++)
                    sum += op->terms[k].coefficient * forms[(size_t)op->terms[k].source * count + i];
                dst[i] = sum;
            }
            break;
        case OP_NOISE:
            memset(dst, 0, count * sizeof *dst);
            dst[op->stream] = 1;
            break;
        case OP_PROJECT:
        case OP_RESCALE: /* both are the same here */ memmove(dst, src, count * sizeof *dst); break;
        case OP_MULEXP:
            for (size_t i = 0; i < count; i++) dst[i] *= exp(op->a);
            break;
        case OP_CLAMP:
        case OP_THRESHOLD:
        case OP_LIMIT:
        case OP_KINDS: break;
    }
}

int probe_deviation(const struct plan *plan, const double (*slopes)[PROBES], int which, double *deviation,
                    struct error *err) {
    size_t count = 1, evaluations = 0;
    for (size_t i = 0; i < plan->ops_count; i++) count += plan->ops[i].kind == OP_NOISE;
    double *forms = calloc((size_t)plan->registers * count, sizeof *forms), sum = 0;
    if (!forms) return error_memory(err);
    forms[0] = plan->initial_scale;
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        follow(op, op->kind == OP_EVAL ? slopes[evaluations++][which] : 0, count, forms);
    }
    for (size_t i = 0; i < count; i++) sum += forms[i] * forms[i];
    free(forms);
    *deviation = sqrt(sum);
    return 0;
}
