/* What a job says of its sampler, before defaults are filled, against its solver and its model. */
#include "solver/sampler_check.h"

#include "solver/guidance.h"

#include <math.h>

static int check_options(const struct sampler *sampler, const struct solver *solver, const struct card *card,
                         struct error *err) {
    const struct {
        bool given;
        unsigned option;
        const char *key;
        const char *who;
    } options[] = {
        {!isnan(sampler->eta), SOLVER_ETA, "eta", "ddim"},
        {sampler->variance != VARIANCE_UNSET, SOLVER_VARIANCE, "variance", "ddpm"},
        {!isnan(sampler->tau), SOLVER_TAU, "tau", "sa-solver"},
        {!isnan(sampler->churn.amount), SOLVER_CHURN, "churn", "edm"},
        {sampler->restart.count > 0, SOLVER_RESTART, "restart", "restart"},
        {sampler->lower_order_final != TOGGLE_UNSET, SOLVER_LOWER, "lower_order_final", "unipc"},
        {!isnan(sampler->rtol), SOLVER_TOLERANCES, "rtol", "rk45"},
        {!isnan(sampler->atol), SOLVER_TOLERANCES, "atol", "rk45"},
        {sampler->diffusion.form != DIFFUSION_UNSET, SOLVER_DIFFUSION, "diffusion", "euler-maruyama"},
        {sampler->solver_type != TYPE_UNSET, SOLVER_TYPE, "solver_type", "dpmpp-2m"},
        {sampler->last_step > 0, SOLVER_DIFFUSION, "last_step", "euler-maruyama"},
        {sampler->final == FINAL_MEAN || sampler->final == FINAL_TWEEDIE, SOLVER_DIFFUSION, "final: mean or tweedie",
         "euler-maruyama"},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].given && !(solver->options & options[i].option))
            return error_set(err, CODE_DATA, "sampler.%s: %s takes no such key (%s does): leave it out", options[i].key,
                             solver->name, options[i].who);
    if (solver->options & SOLVER_RESTART && sampler->restart.count == 0)
        return error_set(err, CODE_DATA,
                         "sampler.restart: missing; expected a list of intervals {steps, times, low, high, s_noise} in "
                         "sigma/alpha, or solver: edm");
    if (sampler->variance == VARIANCE_LEARNED && !card->learned_variance)
        return error_set(err, CODE_DATA,
                         "sampler.variance: learned, but the model predicts none (its card has no variance: learned)");
    if (!isnan(sampler->order) && !solver_takes_order(solver, sampler->order))
        return error_set(err, CODE_DATA,
                         "sampler.order: %s has order %s, found %g (--set sampler.order=null leaves it out)",
                         solver->name, solver->orders, sampler->order);
    return 0;
}

/* The same shape, process and labels; what it predicts may differ, and how it is told the time. */
int sampler_check_guide(const struct card *card, const struct schedule *schedule, struct error *err) {
    const struct card *guide = card->guide;
    const struct schedule *theirs = schedule_guide(schedule);
    const char *key = "sampler.guidance.model";
    if (guide->channels != card->channels || guide->height != card->height || guide->width != card->width)
        return error_set(err, CODE_DATA, "%s: expected samples of the model's shape [%d, %d, %d], found [%d, %d, %d]",
                         key, card->channels, card->height, card->width, guide->channels, guide->height, guide->width);
    if (guide->low != card->low || guide->high != card->high)
        return error_set(err, CODE_DATA, "%s: expected the model's range [%g, %g], found [%g, %g]", key, card->low,
                         card->high, guide->low, guide->high);
    if (guide->classes != 0 && (guide->classes != card->classes || guide->null_label != card->null_label))
        return error_set(err, CODE_DATA,
                         "%s: expected the model's labels or none, found other classes or another null label", key);
    bool same_steps = schedule_has_integer_times(schedule) && schedule_steps(theirs) == schedule_steps(schedule);
    if (guide->inputs_count > 0 &&
        !json_equal(json_object_get(guide->json, "inputs"), json_object_get(card->json, "inputs")))
        return error_set(err, CODE_DATA, "%s: expected the model's inputs or none, found others", key);
    if (schedule_has_integer_times(theirs) && !same_steps)
        return error_set(err, CODE_DATA, "%s: it takes integer timesteps, and the model does not take the same", key);
    double least, most;
    schedule_range(schedule, &least, &most);
    for (int i = 1; i <= 8; i++) {
        double t = least + (most - least) * i / 8, alpha = schedule_alpha(schedule, t),
               sigma = schedule_sigma(schedule, t);
        if (fabs(schedule_alpha(theirs, t) - alpha) > 1e-9 ||
            fabs(schedule_sigma(theirs, t) - sigma) > 1e-9 * fmax(1, sigma))
            return error_set(err, CODE_DATA,
                             "%s: expected the model's schedule, found another: at t = %g its alpha is %g, not %g", key,
                             t, schedule_alpha(theirs, t), alpha);
    }
    return 0;
}

static int check_clip(const struct sampler *sampler, const struct solver *solver, const struct card *card,
                      struct error *err) {
    const struct clip *clip = &sampler->clip;
    if (!clip->on) return 0;
    if (isnan(clip->range) && !isfinite(card->high))
        return error_set(
            err, CODE_DATA,
            "sampler.clip: the model's x0 has no range to be clipped to (\"range\": null in its card): say "
            "clip: {range: R}");
    if (!isnan(clip->threshold_max) && isnan(clip->threshold))
        return error_set(err, CODE_DATA,
                         "sampler.clip.threshold_max: it is of a threshold, and there is none: leave it out");
    if (!isnan(clip->threshold) && isnan(clip->range) && card->low != -card->high)
        return error_set(err, CODE_DATA,
                         "sampler.clip.threshold: expected a range of the model around 0, found [%g, %g]: say range",
                         card->low, card->high);
    if (clip->threshold_max < (isnan(clip->range) ? card->high : clip->range))
        return error_set(err, CODE_DATA, "sampler.clip.threshold_max: expected at least the range, %g; found %g",
                         isnan(clip->range) ? card->high : clip->range, clip->threshold_max);
    if (clip->epsilon == CLIP_KEPT && solver->evaluations == 0)
        return error_set(
            err, CODE_DATA,
            "sampler.clip.epsilon: kept is for solvers with steps of their own, and %s has none: say follows",
            solver->name);
    return 0;
}

static int check_guidance(const struct sampler *sampler, const struct solver *solver, const struct card *card,
                          const struct schedule *schedule, struct error *err) {
    if (sampler->guidance.channels > card->channels)
        return error_set(err, CODE_DATA, "sampler.guidance.channels: expected at most the model's %d, found %d",
                         card->channels, sampler->guidance.channels);
    if (guidance_check(&sampler->guidance, card, solver->evaluations == 0, err) != 0) return -1;
    if (sampler->guidance.scale_rows && card->inputs_count == 0)
        return error_set(
            err, CODE_DATA,
            "sampler.guidance.scale: a file has a scale for each row of the conditions, and the model takes "
            "none: say a number");
    if (card->guide) return sampler_check_guide(card, schedule, err);
    if (sampler->guidance.scale == 1) return 0;
    if (card->classes == 0 && card->inputs_count == 0)
        return error_set(err, CODE_DATA, "sampler.guidance: the model takes no labels: leave it out");
    for (size_t i = 0; i < card->inputs_count; i++)
        if (!card->inputs[i].null)
            return error_set(err, CODE_DATA,
                             "sampler.guidance: the model's input %s has no null: say null: zeros in its card, or "
                             "conditions: {%s: {path: ..., null: FILE}}",
                             card->inputs[i].name, card->inputs[i].name);
    if (card->classes > 0 && card->null_label < 0)
        return error_set(err, CODE_DATA, "sampler.guidance: the model's card has no null label (labels: {null: ...})");
    return 0;
}

int sampler_check(const struct sampler *sampler, const struct solver *solver, const struct card *card,
                  const struct schedule *schedule, struct error *err) {
    if (check_options(sampler, solver, card, err) != 0 || check_guidance(sampler, solver, card, schedule, err) != 0)
        return -1;
    return check_clip(sampler, solver, card, err);
}
