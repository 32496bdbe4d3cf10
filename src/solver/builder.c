/* What solvers build plans with: forms, clips, evaluations. */
#include "solver/builder.h"

#include "solver/guidance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void form_add(struct form *form, double coefficient, int source) {
    for (int i = 0; i < form->count && i < FORM_TERMS; i++)
        if (form->terms[i].source == source) {
            form->terms[i].coefficient += coefficient;
            return;
        }
    if (form->count < FORM_TERMS) form->terms[form->count] = (struct term){coefficient, source};
    form->count += form->count <= FORM_TERMS;
}

void form_add_form(struct form *form, double coefficient, const struct form *other) {
    for (int i = 0; i < other->count && i < FORM_TERMS; i++)
        form_add(form, coefficient * other->terms[i].coefficient, other->terms[i].source);
    if (other->count > FORM_TERMS) form->count = FORM_TERMS + 1;
}

struct form form_two(double a, int x, double b, int y) {
    struct form form = {.count = 0};
    form_add(&form, a, x);
    form_add(&form, b, y);
    return form;
}

struct node node_at(const struct schedule *schedule, double t) {
    return (struct node){t, schedule_alpha(schedule, t), schedule_sigma(schedule, t), schedule_logsnr(schedule, t)};
}

int builder_register(struct builder *builder) {
    return builder->plan->registers++;
}

static const char NO_MEMORY[] = "out of memory";

void builder_append(struct builder *builder, struct op op) {
    struct plan *plan = builder->plan;
    if (!builder->failed && (plan->ops_count & (plan->ops_count - 1)) == 0) { /* grow at powers of two */
        size_t capacity = plan->ops_count ? 2 * plan->ops_count : 1;
        struct op *ops = realloc(plan->ops, capacity * sizeof *ops);
        if (ops) plan->ops = ops;
        else builder->failed = NO_MEMORY;
    }
    if (builder->failed) free(op.terms);
    else plan->ops[plan->ops_count++] = op;
}

void builder_lincomb(struct builder *builder, int dst, const struct form *form) {
    struct op op = {.kind = OP_LINCOMB, .dst = dst, .terms = calloc((size_t)form->count + 1, sizeof *op.terms)};
    if (!op.terms) builder->failed = NO_MEMORY;
    if (form->count > FORM_TERMS) builder->failed = "a form has more terms than FORM_TERMS: raise it in builder.h";
    if (builder->failed) {
        free(op.terms);
        return;
    }
    for (int i = 0; i < form->count; i++)
        if (form->terms[i].coefficient != 0) op.terms[op.terms_count++] = form->terms[i];
    builder_append(builder, op);
}

void builder_keep(struct builder *builder, int dst, const struct form *form) {
    bool same = true;
    for (int i = 0; i < form->count && i < FORM_TERMS; i++)
        same &= form->terms[i].coefficient == (form->terms[i].source == dst);
    if (!same) builder_lincomb(builder, dst, form);
}

void builder_copy(struct builder *builder, int dst, int src) {
    builder_lincomb(builder, dst, &(struct form){.terms = {{1, src}}, .count = 1});
}

void builder_ddim(struct builder *builder, int dst, const struct node *from, const struct node *to,
                  const struct form *epsilon) {
    double ratio = to->alpha / from->alpha;
    struct form next = {.terms = {{ratio, 0}}, .count = 1};
    form_add_form(&next, to->sigma - ratio * from->sigma, epsilon);
    builder_lincomb(builder, dst, &next);
}

int builder_history(const struct builder *builder) {
    return builder->index - (builder->nodes[0].alpha == 0);
}

int builder_order(const struct builder *builder) {
    const struct sampler *sampler = builder->sampler;
    int order = (int)sampler->order, left = sampler->steps - builder->index, history = builder_history(builder) + 1;
    if (order > history) order = history;
    return sampler->lower_order_final == TOGGLE_ON && order > left ? left : order;
}

void builder_noise(struct builder *builder, int dst) {
    builder_append(builder, (struct op){.kind = OP_NOISE, .dst = dst, .stream = ++builder->streams});
}

void builder_mulexp(struct builder *builder, int dst, int src, double a, double b) {
    builder_append(builder, (struct op){.kind = OP_MULEXP, .dst = dst, .src = src, .a = a, .b = b});
}

/* From x = alpha x0 + sigma epsilon, each coefficient by itself so that none loses digits. v is alpha epsilon - sigma
 * x0 of the unit-variance process, which x is after division by n. The EDM ones (Karras et al. 2022, table 1) are of
 * x/alpha, whose noise level is s: x0 = c_skip x/alpha + c_out F(c_in x/alpha). */
struct meaning meaning_at(const struct schedule *schedule, const struct card *card, double t) {
    double alpha = schedule_alpha(schedule, t), sigma = schedule_sigma(schedule, t);
    double s = sigma / alpha, n = hypot(alpha, sigma), data = card->sigma_data, e = hypot(s, data);
    if (fabs(n - 1) < 1e-15) n = 1; /* variance-preserving, up to rounding */
    switch (card->prediction) {
        case PREDICTION_EPSILON: break;
        case PREDICTION_SCORE: return (struct meaning){1, 1 / alpha, sigma * s, 0, -sigma};
        case PREDICTION_X0: return (struct meaning){1, 0, 1, 1 / sigma, -1 / s};
        case PREDICTION_V: return (struct meaning){1, alpha / (n * n), -sigma / n, sigma / (n * n), alpha / n};
        case PREDICTION_VELOCITY: { /* x = alpha x0 + sigma z and dx/dt = alpha' x0 + sigma' z, solved for x0 and z */
            double d_alpha, d_sigma, sign = card->time.reversed ? -1 : 1;
            struct error ignored; /* a slope is there wherever alpha and sigma are */
            schedule_slope(schedule, t, &d_alpha, &d_sigma, &ignored);
            double determinant = alpha * d_sigma - d_alpha * sigma;
            return (struct meaning){1, d_sigma / determinant, -sign * sigma / determinant, -d_alpha / determinant,
                                    sign * alpha / determinant};
        }
        case PREDICTION_EDM:
            return (struct meaning){1 / (e * alpha), data * data / (e * e * alpha), s * data / e, s / (e * e * alpha),
                                    -data / e};
        case PREDICTION_EDM_VP:
        case PREDICTION_EDM_IDDPM: return (struct meaning){1 / n, 1 / alpha, -s, 0, 1};
        case PREDICTION_EDM_VE: return (struct meaning){1 / alpha, 1 / alpha, s, 0, -1};
    }
    return (struct meaning){1, 1 / alpha, -s, 0, 1};
}

/* F by its input on data of the probe's width, out of both equations, weighted as in evaluate_guide. */
static double slope_of(const struct meaning *meaning, double alpha, double sigma, double width) {
    double a = meaning->epsilon_out, b = meaning->x0_out, variance = alpha * alpha * width * width + sigma * sigma;
    double sum = a * (sigma / variance - meaning->epsilon_x) + b * (alpha * width * width / variance - meaning->x0_x);
    return sum / ((a * a + b * b) * meaning->input);
}

/* What the data's mean adds to F. */
static double offset_of(const struct meaning *meaning, double alpha, double sigma, double width) {
    double a = meaning->epsilon_out, b = meaning->x0_out, variance = alpha * alpha * width * width + sigma * sigma;
    return (b * sigma * sigma / variance - a * sigma * alpha / variance) / (a * a + b * b);
}

void builder_probe(const struct schedule *schedule, const struct card *card, double t, double slopes[PROBES],
                   double offsets[PROBES]) {
    struct meaning meaning = meaning_at(schedule, card, t);
    double alpha = schedule_alpha(schedule, t), sigma = schedule_sigma(schedule, t);
    for (int i = 0; i < PROBES; i++) {
        slopes[i] = slope_of(&meaning, alpha, sigma, probe_widths[i]);
        offsets[i] = offset_of(&meaning, alpha, sigma, probe_widths[i]);
    }
}

/* EVAL at t. meaning: of this model there. */
static void evaluate(struct builder *builder, struct op op, const struct schedule *schedule, double t,
                     const struct meaning *meaning) {
    size_t calls = (size_t)builder->plan->model_calls++;
    op.kind = OP_EVAL;
    op.time = schedule_model_time(schedule, t);
    builder_append(builder, op);
    if (!builder->nodes) return;
    double(*slopes)[PROBES] = realloc(builder->slopes, (calls + 1) * sizeof *slopes);
    if (!slopes) {
        builder->failed = NO_MEMORY;
        return;
    }
    builder->slopes = slopes;
    for (int i = 0; i < PROBES; i++)
        slopes[calls][i] = slope_of(meaning, schedule_alpha(schedule, t), schedule_sigma(schedule, t), probe_widths[i]);
}

/* A network under preconditioning sees c_in x. */
static int model_input(struct builder *builder, int x, double factor) {
    if (factor == 1) return x;
    if (builder->scratch < 0) builder->scratch = builder_register(builder);
    struct form scaled = {.terms = {{factor, x}}, .count = 1};
    builder_lincomb(builder, builder->scratch, &scaled);
    return builder->scratch;
}

static enum eval_labels labels_of(const struct card *card) {
    return card->classes > 0 ? EVAL_GIVEN : EVAL_NONE;
}

/* What the guiding model says of x into register `guide`, as an output of the model itself: its F by which x0 and
 * epsilon are the guide's. Both equations say it; weighted by their coefficients nothing is divided by a small one. */
static void evaluate_guide(struct builder *builder, int x, double t, int guide, const struct meaning *model) {
    const struct card *card = builder->card->guide;
    struct meaning theirs = meaning_at(schedule_guide(builder->schedule), card, t);
    evaluate(builder,
             (struct op){
                 .dst = guide, .src = model_input(builder, x, theirs.input), .labels = labels_of(card), .model = 1},
             schedule_guide(builder->schedule), t, &theirs);
    if (card->prediction == builder->card->prediction && card->sigma_data == builder->card->sigma_data &&
        card->time.reversed == builder->card->time.reversed)
        return;
    double a = model->epsilon_out, b = model->x0_out, total = a * a + b * b;
    struct form output = form_two((a * (theirs.epsilon_x - model->epsilon_x) + b * (theirs.x0_x - model->x0_x)) / total,
                                  x, (a * theirs.epsilon_out + b * theirs.x0_out) / total, guide);
    builder_lincomb(builder, guide, &output);
}

/* x0 within its bounds, in a register that outlives `out` where epsilon stays the network's. */
static void clip(struct builder *builder, int x, int out, struct point *point) {
    const struct clip *clip = &builder->sampler->clip;
    const struct card *card = builder->card;
    int dst = out;
    if (clip->epsilon == CLIP_KEPT) {
        if (out >= CLIPPED_MOST) builder->failed = "more registers than clip: {epsilon: kept} has room for";
        if (builder->failed) return;
        if (!builder->clipped[out]) builder->clipped[out] = builder_register(builder);
        dst = builder->clipped[out];
    }
    double range = isnan(clip->range) ? card->high : clip->range;
    builder_lincomb(builder, dst, &point->x0);
    if (isnan(clip->threshold))
        builder_append(builder, (struct op){.kind = OP_CLAMP,
                                            .dst = dst,
                                            .low = isnan(clip->range) ? card->low : -range,
                                            .high = range});
    else
        builder_append(builder, (struct op){.kind = OP_THRESHOLD,
                                            .dst = dst,
                                            .quantile = clip->threshold,
                                            .low = range,
                                            .high = isnan(clip->threshold_max) ? INFINITY : clip->threshold_max});
    point->x0 = form_two(0, x, 1, dst);
    if (dst == out) point->epsilon = form_two(1 / point->at.sigma, x, -point->at.alpha / point->at.sigma, out);
}

struct point builder_evaluate(struct builder *builder, int x, double t, int out) {
    const struct card *card = builder->card;
    const struct schedule *schedule = builder->schedule;
    const struct node at = node_at(schedule, t);
    const struct guidance *guidance = &builder->sampler->guidance;
    double scale = guidance_scale(guidance, t, at.sigma / at.alpha);
    struct meaning meaning = meaning_at(schedule, card, t);
    int src = model_input(builder, x, meaning.input);
    evaluate(builder, (struct op){.dst = out, .src = src, .labels = labels_of(card), .dst2 = builder->variance},
             schedule, t, &meaning);
    struct form x0 = form_two(meaning.x0_x, x, meaning.x0_out, out), none = {.count = 0};
    if (guidance->form == GUIDANCE_CFG_ZERO && builder->index < guidance->zero_init_steps) {
        builder_lincomb(builder, out, &none);
    } else if (scale != 1) {
        if (builder->unguided < 0) builder->unguided = builder_register(builder);
        int guide = builder->unguided;
        if (card->guide) evaluate_guide(builder, x, t, guide, &meaning);
        else evaluate(builder, (struct op){.dst = guide, .src = src, .labels = EVAL_NULL}, schedule, t, &meaning);
        guidance_output(builder, out, guide, scale, &x0);
    }
    builder->plan->nfe++;
    struct point point = {.at = at, .epsilon = form_two(meaning.epsilon_x, x, meaning.epsilon_out, out), .x0 = x0};
    if (builder->sampler->clip.on) clip(builder, x, out, &point);
    return point;
}

int builder_drift(const struct builder *builder, double t, double *f, double *g2, struct error *err) {
    double alpha[2], sigma[2];
    if (schedule_series(builder->schedule, builder->sampler->clock, t, 1, alpha, sigma, err) != 0) return -1;
    *f = -alpha[1] / alpha[0];
    *g2 = -2 * sigma[0] * sigma[1] - 2 * *f * sigma[0] * sigma[0];
    return 0;
}

int builder_slope(const struct builder *builder, const struct point *point, int x, struct form *slope,
                  struct error *err) {
    double f, g2, alpha[2], sigma[2];
    *slope = (struct form){.count = 0};
    if (!schedule_is_flow(builder->schedule) && point->at.alpha > 0) {
        if (builder_drift(builder, point->at.t, &f, &g2, err) != 0) return -1;
        form_add(slope, f, x);
        form_add_form(slope, g2 / (2 * point->at.sigma), &point->epsilon);
        return 0;
    }
    if (schedule_series(builder->schedule, builder->sampler->clock, point->at.t, 1, alpha, sigma, err) != 0) return -1;
    form_add_form(slope, -alpha[1], &point->x0);
    form_add_form(slope, -sigma[1], &point->epsilon);
    return 0;
}

double builder_time(const struct builder *builder, const struct node *from, double h, double part) {
    if (part == 0) return from->t;
    if (builder->sampler->clock == CLOCK_T) return from->t - part * h;
    return schedule_time(builder->schedule, from->logsnr + part * h);
}

double builder_step(const struct builder *builder, const struct node *from, const struct node *to) {
    return schedule_step(builder->schedule, builder->sampler->clock, from->t, to->t);
}

void builder_transition(const struct node *from, const struct node *to, double *ratio, double *variance) {
    *ratio = from->alpha / to->alpha;
    /* sigma_t^2 - ratio^2 sigma_s^2 = sigma_t^2 (1 - e^(2 lambda_t - 2 lambda_s)) */
    *variance = from->sigma * from->sigma * -expm1(2 * (from->logsnr - to->logsnr));
}

int builder_finish(const struct builder *builder, struct error *err) {
    if (!builder->failed) return 0;
    return error_set(err, CODE_INTERNAL, "sampler: no plan for %s: %s", builder->sampler->solver, builder->failed);
}
