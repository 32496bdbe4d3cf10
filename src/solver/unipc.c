/* unipc, unipc-bh1, unip: Zhao et al. 2023 (arXiv 2302.04867), algorithms 5-8 with data prediction; ODE; predictor of
 * order p = 1-4 and, but for unip, a corrector at no further NFE, which makes it p + 1; B(h) = e^h - 1 (bh2) or h
 * (bh1); options order and lower_order_final. The weights a solve sum over k of r_k^(n-1) a_k = n! psi_n(z)/B, n = 1,
 * 2, ...; as published, a single weight is 1/2. */
#include "solver/exponential.h"
#include "solver/registry.h"

enum { ORDER_MOST = 4, RING = ORDER_MOST + 1 };
enum { UNIPC_BH2, UNIPC_BH1, UNIP_BH2 };

static void weights(const double *r, int count, double z, double b, double *a) {
    double moments[ORDER_MOST], factorial = 1;
    for (int n = 0; n < count; n++) {
        factorial *= n + 1;
        moments[n] = factorial * psi(n + 1, z) / b;
    }
    if (count == 1) a[0] = 0.5;
    else solve_moments(r, moments, count, a);
}

/* x at node[1] from x at node[0], held in `x`, with x0 at `order` nodes up to node[0] and, to correct, at node[1]. */
static struct form update(const struct builder *builder, const int *ring, int x, int index, int order, bool correct) {
    const struct node *node = &builder->nodes[index];
    struct transfer to = transfer_between(HELD_X0, node, node + 1);
    double r[ORDER_MOST], a[ORDER_MOST], b = builder->solver->variant == UNIPC_BH1 ? to.z : psi(0, to.z);
    int m[ORDER_MOST], count = 0, m0 = ring[index % RING];
    for (int k = 1; k < order; k++) {
        r[count] = (node[-k].logsnr - node[0].logsnr) / to.h;
        m[count++] = ring[(index - k) % RING];
    }
    if (correct) {
        r[count] = 1;
        m[count++] = ring[(index + 1) % RING];
    }
    if (count > 0) weights(r, count, to.z, b, a);
    struct form next = {.count = 0};
    form_add(&next, to.on_x, x);
    form_add(&next, to.scale * psi(0, to.z), m0);
    for (int k = 0; k < count; k++) {
        form_add(&next, to.scale * b * a[k] / r[k], m[k]);
        form_add(&next, -to.scale * b * a[k] / r[k], m0);
    }
    return next;
}

/* registers: the ring of x0, then x before the last prediction. */
static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)from, (void)to, (void)err;
    int index = builder->index, before = registers[RING];
    bool corrects = builder->solver->variant != UNIP_BH2;
    evaluate_and_keep(builder, HELD_X0, registers[index % RING]);
    if (corrects) {
        if (builder_history(builder) > 0) {
            builder->index--;
            struct form corrected = update(builder, registers, before, index - 1, builder_order(builder), true);
            builder->index++;
            builder_lincomb(builder, 0, &corrected);
        }
        builder_copy(builder, before, 0);
    }
    struct form next = update(builder, registers, 0, index, builder_order(builder), false);
    builder_lincomb(builder, 0, &next);
    return 0;
}

#define UNIPC(NAME, VARIANT, SOURCE) \
    {.name = NAME, \
     .kind = "ODE", \
     .orders = "1-4", \
     .evaluations = 1, \
     .options = SOLVER_ORDER | SOLVER_LOWER, \
     .source = SOURCE, \
     .default_order = 3, \
     .default_clock = CLOCK_LOGSNR, \
     .drops_last = true, \
     .variant = VARIANT, \
     .lowers = TOGGLE_ON, \
     .order_least = 1, \
     .order_most = ORDER_MOST, \
     .step = step, \
     .registers = RING + 1}

const struct solver solver_unipc = UNIPC("unipc", UNIPC_BH2, "Zhao et al. 2023 (UniPC), B_2(h)");
const struct solver solver_unipc_bh1 = UNIPC("unipc-bh1", UNIPC_BH1, "Zhao et al. 2023 (UniPC), B_1(h)");
const struct solver solver_unip = UNIPC("unip", UNIP_BH2, "Zhao et al. 2023 (UniPC), predictor alone, B_2(h)");
