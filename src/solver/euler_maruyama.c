/* euler-maruyama: the reverse SDE (Song et al. 2020, arXiv 2011.13456, eq. 6), order 1, 1 NFE a step; with option
 * diffusion any of those with the same marginals (Ma et al. 2024, SiT, arXiv 2401.08740, eq. 6 and appendix A), in time
 * t, x_s = x - h (v - D score) + sqrt(2 D h) z,  h = t - s,  v = dx/dt of the ODE,  score = -epsilon/sigma, D = norm
 * times 1, the score's coefficient in v (sbdm: the reverse SDE itself), sigma, t, sin^2(pi t), or SiT's decreasing one;
 * final: mean leaves out the noise of the step from last_step to 0, tweedie steps to x0. */
#include "solver/registry.h"

#include <math.h>

static int coefficient(const struct builder *builder, const struct node *from, double *d, struct error *err) {
    const struct diffusion *diffusion = &builder->sampler->diffusion;
    double f, g2, norm = diffusion->norm;
    switch (diffusion->form) {
        case DIFFUSION_CONSTANT: *d = norm; break;
        case DIFFUSION_SIGMA: *d = norm * from->sigma; break;
        case DIFFUSION_LINEAR: *d = norm * from->t; break;
        case DIFFUSION_DECREASING: *d = pow(norm * cos(M_PI * (1 - from->t)) + 1, 2) / 4; break;
        case DIFFUSION_INCREASING_DECREASING: *d = norm * pow(sin(M_PI * (1 - from->t)), 2); break;
        case DIFFUSION_SBDM:
        case DIFFUSION_UNSET:
            if (builder_drift(builder, from->t, &f, &g2, err) != 0) return -1;
            *d = norm * g2 / 2;
    }
    return 0;
}

/* In the sampler's clock; the drift is f x + g^2/sigma epsilon. */
static int reverse_sde(struct builder *builder, const int *registers, const struct node *from, double h, bool noisy,
                       struct error *err) {
    double f, g2;
    struct form next = {.count = 0};
    if (builder_drift(builder, from->t, &f, &g2, err) != 0) return -1;
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    if (noisy) builder_noise(builder, registers[1]);
    form_add(&next, 1 - h * f, 0);
    form_add_form(&next, -h * g2 / point.at.sigma, &point.epsilon);
    if (noisy) form_add(&next, sqrt(g2 * h), registers[1]);
    builder_lincomb(builder, 0, &next);
    return 0;
}

static int step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                struct error *err) {
    double d = 0, h = builder_step(builder, from, to);
    struct form slope, next = {.terms = {{1, 0}}, .count = 1};
    if (builder->sampler->diffusion.form == DIFFUSION_UNSET)
        return reverse_sde(builder, registers, from, h, to->sigma > 0, err);
    if (coefficient(builder, from, &d, err) != 0) return -1;
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    if (builder_slope(builder, &point, 0, &slope, err) != 0) return -1;
    form_add_form(&next, -h, &slope);
    form_add_form(&next, -h * d / point.at.sigma, &point.epsilon);
    if (to->sigma > 0) {
        builder_noise(builder, registers[1]);
        form_add(&next, sqrt(2 * d * h), registers[1]);
    }
    builder_lincomb(builder, 0, &next);
    return 0;
}

const struct solver solver_euler_maruyama = {
    .name = "euler-maruyama",
    .kind = "SDE",
    .orders = "1",
    .evaluations = 1,
    .options = SOLVER_CLOCK | SOLVER_DIFFUSION,
    .source = "Song et al. 2020 (score SDE), eq. 6; Ma et al. 2024 (SiT), eq. 6",
    .default_order = 1,
    .default_clock = CLOCK_T,
    .leaves_noise = true,
    .new_noise = new_noise_none,
    .step = step,
    .registers = 2,
};
