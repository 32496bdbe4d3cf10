/* Plain: classifier-free guidance (Ho & Salimans 2022) and autoguidance, rescaled as Lin et al. 2023.
 * cfg-zero*: Fan et al. 2025 (arXiv 2503.18886): guide + scale (out - guide) with s* guide for guide, s* = <out,
 * guide>/|guide|^2 of each sample, and a velocity of 0 in the first steps. apg: Sadat et al. 2024 (arXiv 2410.02416),
 * of x0 whatever the network predicts: D = x0 - guide's x0, with momentum D + momentum times the D before, shortened to
 * norm_threshold; x0 + (scale - 1) (its part orthogonal to x0 + eta times the parallel one). */
#include "solver/guidance.h"

#include <math.h>

static const double ROUNDING = 1e-9; /* a grid's 0.7 may be 0.7000000000000001 */

double guidance_scale(const struct guidance *guidance, double t, double ratio) {
    double where = guidance->interval_in_t ? t : ratio;
    if (!(where >= guidance->interval[0] * (1 - ROUNDING) && where <= guidance->interval[1] * (1 + ROUNDING))) return 1;
    if (!guidance->scales) return guidance->scale; /* of a file: NAN */
    const double *at = guidance->scales, *last = at + 2 * (guidance->scales_count - 1);
    if (t >= at[0]) return at[1];
    while (at < last && t < at[2]) at += 2;
    return at == last ? at[1] : at[1] + (at[3] - at[1]) * (at[0] - t) / (at[0] - at[2]);
}

bool guidance_everywhere(const struct guidance *guidance) {
    return guidance->interval[0] == 0 && isinf(guidance->interval[1]) && !guidance->scales && guidance->scale != 1 &&
           guidance->zero_init_steps == 0;
}

static void plain(struct builder *builder, int out, int guide, double scale) {
    const struct guidance *guidance = &builder->sampler->guidance;
    int dst = guidance->rescale > 0 ? guide : out;
    int channels = guidance->channels == builder->card->channels ? 0 : guidance->channels; /* 0: all */
    struct form guided = channels ? form_two(scale, out, 1 - scale, guide) : form_two(1 - scale, guide, scale, out);
    if (isnan(scale)) builder_append(builder, (struct op){.kind = OP_GUIDE, .dst = dst, .src = out, .like = guide});
    else builder_lincomb(builder, dst, &guided);
    if (channels && !builder->failed) builder->plan->ops[builder->plan->ops_count - 1].channels[1] = channels;
    if (guidance->rescale > 0)
        builder_append(builder,
                       (struct op){
                           .kind = OP_RESCALE, .dst = out, .src = guide, .like = out, .phi = guidance->rescale});
}

static double number(double value) {
    return isnan(value) ? 0 : value;
}

static void apg(struct builder *builder, int out, int guide, double scale, const struct form *x0) {
    const struct guidance *guidance = &builder->sampler->guidance;
    double x0_out = 0, momentum = number(guidance->momentum), eta = number(guidance->eta);
    for (int i = 0; i < x0->count; i++)
        if (x0->terms[i].source == out) x0_out = x0->terms[i].coefficient;
    struct form difference = form_two(x0_out, out, -x0_out, guide);
    if (builder->difference) form_add(&difference, momentum, builder->difference);
    builder_lincomb(builder, guide, &difference);
    if (momentum != 0) {
        if (!builder->difference) builder->difference = builder_register(builder);
        builder_copy(builder, builder->difference, guide);
    }
    if (guidance->norm_threshold > 0)
        builder_append(builder, (struct op){.kind = OP_LIMIT, .dst = guide, .high = guidance->norm_threshold});
    if (!builder->parallel) builder->parallel = builder_register(builder);
    builder_lincomb(builder, builder->parallel, x0);
    builder_append(builder,
                   (struct op){.kind = OP_PROJECT, .dst = builder->parallel, .src = guide, .like = builder->parallel});
    struct form guided = form_two(1, out, (scale - 1) / x0_out, guide);
    form_add(&guided, (scale - 1) * (eta - 1) / x0_out, builder->parallel);
    builder_lincomb(builder, out, &guided);
}

void guidance_output(struct builder *builder, int out, int guide, double scale, const struct form *x0) {
    switch (builder->sampler->guidance.form) {
        case GUIDANCE_PLAIN: plain(builder, out, guide, scale); break;
        case GUIDANCE_CFG_ZERO:
            builder_append(builder, (struct op){.kind = OP_PROJECT, .dst = guide, .src = out, .like = guide});
            plain(builder, out, guide, scale);
            break;
        case GUIDANCE_APG: apg(builder, out, guide, scale, x0); break;
    }
}

int guidance_check(const struct guidance *guidance, const struct card *card, bool adaptive, struct error *err) {
    bool zero = guidance->form == GUIDANCE_CFG_ZERO, orthogonal = guidance->form == GUIDANCE_APG;
    const struct {
        bool bad;
        const char *key, *why;
    } rules[] = {
        {guidance->batched != BATCHED_OFF && card->guide, "batched",
         "the guiding model is another network, which cannot be asked in the same call"},
        {guidance->zero_init_steps > 0 && !zero, "zero_init_steps", "it is of form: cfg-zero*"},
        {!isnan(guidance->eta) && !orthogonal, "eta", "it is of form: apg"},
        {!isnan(guidance->norm_threshold) && !orthogonal, "norm_threshold", "it is of form: apg"},
        {!isnan(guidance->momentum) && !orthogonal, "momentum", "it is of form: apg"},
        {guidance->zero_init_steps > 0 && card->prediction != PREDICTION_VELOCITY, "zero_init_steps",
         "it sets a velocity to 0, and the model predicts none"},
        {guidance->scale_rows && orthogonal, "form", "apg takes one scale for all samples"},
        {guidance->rescale > 0 && (zero || orthogonal), "rescale", "it is of plain guidance"},
        {guidance->channels > 0 && (zero || orthogonal), "channels", "it is of plain guidance"},
        {adaptive && orthogonal, "form", "apg is for solvers with steps of their own"},
        {adaptive && guidance->zero_init_steps > 0, "zero_init_steps", "the solver chooses its own steps"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].bad)
            return error_set(err, CODE_DATA, "sampler.guidance.%s: %s: leave it out", rules[i].key, rules[i].why);
    return 0;
}
