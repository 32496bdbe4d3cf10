/* er-sde: Cui et al. 2023 (arXiv 2309.06169), extended reverse-time SDE, orders 1-3 (measured: weak order 2 at
 * most), 1 NFE a step, options order and lower_order_final. With y = x/alpha, rho = sigma/alpha, phi(rho) = rho
 * (e^(rho^0.3) + 10) (the paper's ER-SDE 5), r = phi(rho_s)/phi(rho_t) and D1, D2 divided differences of x0 in rho: y_s
 * = r y + (1 - r) x0 + (rho_s - rho_t + phi(rho_s) I_0) D1 + ((rho_s - rho_t)^2/2 + phi(rho_s) I_1) D2
 *         + sqrt(rho_s^2 - r^2 rho_t^2) z,   I_k = integral from rho_s to rho_t of (rho - rho_t)^k / phi d rho. */
#include "solver/exponential.h"
#include "solver/registry.h"

#include <math.h>

enum { RING = 3 };

static double rate(double rho) { /* phi/rho */
    return exp(pow(rho, 0.3)) + 10;
}

static void integrals(double from, double to, double integral[2]) {
    const struct quadrature *rule = gauss_legendre();
    double log_from = log(from), h = log_from - log(to);
    integral[0] = integral[1] = 0;
    for (int i = 0; i < GAUSS_POINTS; i++) { /* over log rho, in which the integrand hardly moves */
        double rho = exp(log_from - rule->x[i] * h), value = rule->w[i] * h / rate(rho);
        integral[0] += value;
        integral[1] += value * (rho - from);
    }
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    (void)err;
    int order = builder_order(builder), index = builder->index, noise = registers[RING], m[RING];
    double rho[RING] = {0}, end = to->sigma / to->alpha, alpha = to->alpha, integral[2];
    for (int k = 0; k < order; k++) {
        rho[k] = from[-k].sigma / from[-k].alpha;
        m[k] = registers[(index - k) % RING];
    }
    evaluate_and_keep(builder, HELD_X0, m[0]);
    double r = end * rate(end) / (rho[0] * rate(rho[0])), h = end - rho[0], phi = end * rate(end);
    integrals(rho[0], end, integral);
    struct form next = {.count = 0}, d1 = {.count = 0}, d2 = {.count = 0};
    if (order > 1) d1 = form_two(1 / (rho[0] - rho[1]), m[0], -1 / (rho[0] - rho[1]), m[1]);
    if (order > 2) {
        const struct form before = form_two(1, m[1], -1, m[2]);
        form_add_form(&d2, 2 / (rho[0] - rho[2]), &d1);
        form_add_form(&d2, -2 / ((rho[0] - rho[2]) * (rho[1] - rho[2])), &before);
    }
    form_add(&next, alpha * r / from->alpha, 0);
    form_add(&next, alpha * (1 - r), m[0]);
    form_add_form(&next, alpha * (h + phi * integral[0]), &d1);
    form_add_form(&next, alpha * (h * h / 2 + phi * integral[1]), &d2);
    builder_noise(builder, noise);
    form_add(&next, alpha * sqrt(fmax(end * end - r * r * rho[0] * rho[0], 0)), noise);
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_er_sde = {
    .name = "er-sde",
    .kind = "SDE",
    .orders = "1-3 (weak order 2 at most)",
    .evaluations = 1,
    .options = SOLVER_ORDER | SOLVER_LOWER,
    .source = "Cui et al. 2023 (ER-SDE), alg. 1-3",
    .default_order = 3,
    .default_clock = CLOCK_LOGSNR,
    .drops_last = true,
    .order_least = 1,
    .order_most = RING,
    .new_noise = new_noise_all,
    .step = step,
    .registers = RING + 1,
};
