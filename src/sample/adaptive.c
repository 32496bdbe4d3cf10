/* Drives rk45 over one batch. */
#include "sample/adaptive.h"

#include "solver/rk45.h"

#include <math.h>
#include <stdlib.h>

struct adaptive {
    const struct sampler *sampler;
    struct rk45 *rk45;
    size_t elements;    /* of one sample */
    double *of, *a, *b; /* [batch][elements]: the registers of a norm */
};

int adaptive_new(struct adaptive **adaptive, const struct sampler *resolved, const struct card *card,
                 struct shim_shape shape, struct error *err) {
    struct adaptive *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->sampler = resolved;
    made->elements = card_elements(card);
    size_t bytes = (size_t)shape.batch * made->elements * sizeof(double);
    made->of = malloc(bytes);
    made->a = malloc(bytes);
    made->b = malloc(bytes);
    int rc = made->of && made->a && made->b ? rk45_new(&made->rk45, resolved, card, err) : error_memory(err);
    if (rc != 0) adaptive_free(made);
    else *adaptive = made;
    return rc;
}

void adaptive_free(struct adaptive *adaptive) {
    if (!adaptive) return;
    rk45_free(adaptive->rk45);
    free(adaptive->of);
    free(adaptive->a);
    free(adaptive->b);
    free(adaptive);
}

int adaptive_first(struct adaptive *adaptive, const struct plan **fragment, struct error *err) {
    struct rk45_fragment first;
    bool more;
    rk45_start(adaptive->rk45);
    if (rk45_next(adaptive->rk45, NULL, &first, &more, err) != 0) return -1;
    *fragment = first.plan;
    return 0;
}

/* sqrt(mean((of / (atol + rtol max(|a|, |b|)))^2)) */
static int measure(struct adaptive *adaptive, struct registers *registers, const struct rk45_norm *norm, size_t rows,
                   double *value, struct error *err) {
    const struct sampler *sampler = adaptive->sampler;
    size_t count = rows * adaptive->elements;
    double sum = 0;
    if (registers_get(registers, norm->of, adaptive->of, err) != 0 ||
        registers_get(registers, norm->a, adaptive->a, err) != 0 ||
        registers_get(registers, norm->b, adaptive->b, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        double tolerated = sampler->atol + sampler->rtol * fmax(fabs(adaptive->a[i]), fabs(adaptive->b[i]));
        double quotient = adaptive->of[i] / tolerated;
        sum += quotient * quotient;
    }
    *value = sqrt(sum / (double)count);
    if (isfinite(*value)) return 0;
    return error_set(err, CODE_DATA,
                     "rk45: the batch is not finite after %d of its evaluations: the model's output is NaN or infinite",
                     rk45_nfe(adaptive->rk45));
}

int adaptive_run(struct adaptive *adaptive, struct registers *registers, size_t rows,
                 int (*execute)(void *context, const struct plan *fragment, struct error *err), void *context, int *nfe,
                 struct error *err) {
    struct rk45_fragment fragment;
    double norms[RK45_NORMS];
    bool more;
    rk45_start(adaptive->rk45);
    if (rk45_next(adaptive->rk45, NULL, &fragment, &more, err) != 0) return -1;
    while (more) {
        if (execute(context, fragment.plan, err) != 0) return -1;
        for (int i = 0; i < fragment.norms_count; i++)
            if (measure(adaptive, registers, &fragment.norms[i], rows, &norms[i], err) != 0) return -1;
        if (rk45_next(adaptive->rk45, norms, &fragment, &more, err) != 0) return -1;
    }
    *nfe = rk45_nfe(adaptive->rk45);
    return 0;
}
