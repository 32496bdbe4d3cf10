/* er-sde: Cui et al. 2023 (arXiv 2309.06169), extended reverse-time SDE, orders 1-3 (measured: weak order 2 at
 * most), 1 NFE a step, options order and lower_order_final. With y = x/alpha, rho = sigma/alpha, phi(rho) = rho (e^(rho^0.3) + 10) (the paper's ER-SDE 5),
 * r = phi(rho_s)/phi(rho_t) and D1, D2 divided differences of x0 in rho:
 *   y_s = r y + (1 - r) x0 + (rho_s - rho_t + phi(rho_s) I_0) D1 + ((rho_s - rho_t)^2/2 + phi(rho_s) I_1) D2
 *         + sqrt(rho_s^2 - r^2 rho_t^2) z,   I_k = integral from rho_s to rho_t of (rho - rho_t)^k / phi d rho. */
#include "solver/exponential.h"
#include "solver/registry.h"

#include <math.h>

enum { RING = 3 };

static bool takes_order(double order) {
    return order == 1 || order == 2 || order == 3;
}

static double rate(double rho) { /* phi/rho */
    return exp(pow(rho, 0.3)) + 10;
}

static void integrals(double from, double to, double integral[2]) {
    double x[GAUSS_POINTS], w[GAUSS_POINTS], log_from = log(from), h = log_from - log(to);
    gauss_legendre(x, w);
    integral[0] = integral[1] = 0;
    for (int i = 0; i < GAUSS_POINTS; i++) { /* over log rho, in which the integrand hardly moves */
        double rho = exp(log_from - x[i] * h), value = w[i] * h / rate(rho);
        integral[0] += value;
        integral[1] += value * (rho - from);
    }
}

static int step(struct builder *builder, const int *registers, double t, double s, struct error *err) {
    (void)t, (void)s, (void)err;
    const struct node *node = &builder->nodes[builder->index];
    int order = builder_order(builder), index = builder->index, noise = registers[RING], m[RING];
    double rho[RING] = {0}, to = node[1].sigma / node[1].alpha, alpha = node[1].alpha, integral[2];
    for (int k = 0; k < order; k++) {
        rho[k] = node[-k].sigma / node[-k].alpha;
        m[k] = registers[(index - k) % RING];
    }
    evaluate_and_keep(builder, HELD_X0, m[0]);
    double r = to * rate(to) / (rho[0] * rate(rho[0])), h = to - rho[0], phi = to * rate(to);
    integrals(rho[0], to, integral);
    struct form next = {.count = 0}, d1 = {.count = 0}, d2 = {.count = 0};
    if (order > 1) {
        form_add(&d1, 1 / (rho[0] - rho[1]), m[0]);
        form_add(&d1, -1 / (rho[0] - rho[1]), m[1]);
    }
    if (order > 2) {
        form_add(&d2, 1, m[1]);
        form_add(&d2, -1, m[2]);
        struct form before = d2;
        d2 = (struct form){.count = 0};
        form_add_form(&d2, 2 / (rho[0] - rho[2]), &d1);
        form_add_form(&d2, -2 / ((rho[0] - rho[2]) * (rho[1] - rho[2])), &before);
    }
    form_add(&next, alpha * r / node->alpha, 0);
    form_add(&next, alpha * (1 - r), m[0]);
    form_add_form(&next, alpha * (h + phi * integral[0]), &d1);
    form_add_form(&next, alpha * (h * h / 2 + phi * integral[1]), &d2);
    builder_noise(builder, noise);
    form_add(&next, alpha * sqrt(fmax(to * to - r * r * rho[0] * rho[0], 0)), noise);
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_er_sde = {
    .name = "er-sde", .kind = "SDE", .orders = "1-3 (weak order 2 at most)", .evaluations = 1, .options = SOLVER_ORDER | SOLVER_LOWER,
    .options_text = "order, lower_order_final", .source = "Cui et al. 2023 (ER-SDE), alg. 1-3", .default_order = 3,
    .default_clock = CLOCK_LOGSNR, .drops_last = true, .takes_order = takes_order, .step = step, .registers = RING + 1,
};
