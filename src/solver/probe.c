/* A plan tried on Gaussian data, which it can be followed on exactly. */
#include "solver/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double probe_widths[PROBES] = {0.5, 0.05};

/* forms: [registers][count], coefficients of the start, of noises 1, 2, ... and perhaps of the data's mean */
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
        case OP_GUIDE:
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
    double ignored;
    return probe_samples(plan, slopes, NULL, which, deviation, &ignored, err);
}

int probe_samples(const struct plan *plan, const double (*slopes)[PROBES], const double (*offsets)[PROBES], int which,
                  double *deviation, double *mean, struct error *err) {
    size_t noises = 1, evaluations = 0;
    for (size_t i = 0; i < plan->ops_count; i++) noises += plan->ops[i].kind == OP_NOISE;
    size_t count = noises + (offsets != NULL);
    double *forms = calloc((size_t)plan->registers * count, sizeof *forms), sum = 0;
    if (!forms) return error_memory(err);
    forms[0] = plan->initial_scale;
    for (size_t i = 0; i < plan->ops_count; i++) {
        const struct op *op = &plan->ops[i];
        bool eval = op->kind == OP_EVAL;
        follow(op, eval ? slopes[evaluations][which] : 0, count, forms);
        if (eval && offsets) forms[(size_t)op->dst * count + noises] += offsets[evaluations][which];
        evaluations += eval;
    }
    for (size_t i = 0; i < noises; i++) sum += forms[i] * forms[i];
    *deviation = sqrt(sum);
    *mean = offsets ? forms[noises] : 0;
    free(forms);
    return 0;
}
