/* ddim: Song et al. 2020 (arXiv 2010.02502), eq. 12 and 16. ODE for eta 0, else SDE; order 1; 1 NFE a step; option eta.
 * euler-ancestral: k-diffusion's, the same in sigma/alpha; eta is 1 unless said.
 * ddpm: Ho et al. 2020 (arXiv 2006.11239), eq. 7 and section 3.2: ancestral sampling, variance small (the posterior's,
 * beta~), large (beta, of the step) or learned (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 15: between them, in the
 * logarithm, by the model's v in [-1, 1]; its default where the model has one); order 1; 1 NFE a step. It is DDIM at
 * eta 1 but for the variance. */
#include "solver/registry.h"

#include <math.h>

/* x_s = alpha_s x0 + sqrt(sigma_s^2 - spread^2) epsilon + noise z; where the model says the variance, noise is
 * spread^(1-w) forward^w with w = (1 + v)/2. */
static void jump(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                 double spread, double noise, double forward) {
    struct form next = {.count = 0};
    struct point point = builder_evaluate(builder, 0, from->t, registers[0]);
    form_add_form(&next, to->alpha, &point.x0);
    form_add_form(&next, sqrt(fmax(to->sigma * to->sigma - spread * spread, 0)), &point.epsilon);
    if (noise > 0) {
        builder_noise(builder, registers[1]);
        if (builder->variance)
            builder_mulexp(builder, registers[1], builder->variance, log(spread * forward) / 2,
                           log(forward / spread) / 2);
        form_add(&next, builder->variance ? 1 : noise, registers[1]);
    }
    builder_lincomb(builder, 0, &next);
}

/* Standard deviation of p(x_s | x_t, x0), and of the forward transition. */
static double posterior_deviation(const struct node *from, const struct node *to, double *forward) {
    double ratio, variance;
    builder_transition(from, to, &ratio, &variance);
    *forward = sqrt(variance);
    return *forward * to->sigma / from->sigma;
}

static int ddim_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                     struct error *err) {
    double forward, spread = builder->sampler->eta * posterior_deviation(from, to, &forward);
    if (spread > to->sigma)
        return error_set(err, CODE_DATA,
                         "sampler.eta: %g adds more noise than there is at t = %.4g; eta is 0..1 as a rule",
                         builder->sampler->eta, to->t);
    jump(builder, registers, from, to, spread, spread, forward);
    return 0;
}

static int ddpm_step(struct builder *builder, const int *registers, const struct node *from, const struct node *to,
                     struct error *err) {
    double forward, spread = posterior_deviation(from, to, &forward);
    (void)err;
    enum variance_kind variance = builder->sampler->variance;
    builder->variance = variance == VARIANCE_LEARNED ? registers[2] : 0;
    jump(builder, registers, from, to, spread, variance == VARIANCE_LARGE ? forward : spread, forward);
    builder->variance = 0;
    return 0;
}

static double eta(const struct sampler *sampler) {
    return sampler->eta;
}

static double posterior_noise(const struct sampler *sampler) {
    return sampler->variance == VARIANCE_SMALL ? 1 : NAN; /* beta is 1 there, and a learned variance a power of 0 */
}

const struct solver solver_ddim = {
    .name = "ddim",
    .kind = "ODE or SDE",
    .orders = "1",
    .evaluations = 1,
    .options = SOLVER_ETA,
    .source = "Song et al. 2020 (DDIM), eq. 12, 16",
    .default_order = 1,
    .default_clock = CLOCK_T,
    .new_noise = eta,
    .step = ddim_step,
    .registers = 2,
};
const struct solver solver_euler_ancestral = {
    .name = "euler-ancestral",
    .kind = "SDE",
    .orders = "1",
    .evaluations = 1,
    .options = SOLVER_ETA,
    .source = "Crowson 2022 (k-diffusion); is ddim with eta 1",
    .default_eta = 1,
    .default_order = 1,
    .default_clock = CLOCK_T,
    .new_noise = eta,
    .step = ddim_step,
    .registers = 2,
};
const struct solver solver_ddpm = {
    .name = "ddpm",
    .kind = "SDE",
    .orders = "1",
    .evaluations = 1,
    .options = SOLVER_VARIANCE,
    .source = "Ho et al. 2020 (DDPM), eq. 7; learned variance: Nichol & Dhariwal 2021, eq. 15",
    .default_order = 1,
    .default_clock = CLOCK_T,
    .new_noise = posterior_noise,
    .step = ddpm_step,
    .registers = 3,
};
