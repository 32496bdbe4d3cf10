/* The metrics: what each needs, and their numbers as JSON. */
#include "metric/score.h"

#include "base/log.h"
#include "eval/frechet.h"
#include "metric/inception_score.h"
#include "metric/mind.h"
#include "metric/mmd.h"
#include "metric/neighbours.h"
#include "metric/clip_score.h"
#include "metric/fld.h"
#include "metric/values.h"
#include "metric/vendi.h"
#include "eval/precision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool wants(unsigned metrics, enum metric metric) {
    return metrics >> metric & 1;
}

struct need {
    bool every;   /* sample's features; else their statistics will do */
    size_t least; /* samples */
};
static const struct {
    struct need samples, reference, validation; /* least 0: takes nothing of it */
} needs[METRIC_KINDS] = {
    [METRIC_FID] = {{false, 2}, {false, 2}},
    [METRIC_SFID] = {{false, 2}, {false, 2}},
    [METRIC_FID_INFINITY] = {{true, JACKKNIFE_LEAST}, {false, 2}},
    [METRIC_KID] = {{true, 2}, {true, 2}},
    [METRIC_IS] = {{true, INCEPTION_SPLITS}, {false, 0}},
    [METRIC_PRDC] = {{true, NEIGHBOURS + 1}, {true, NEIGHBOURS + 1}},
    [METRIC_CMMD] = {{true, 2}, {true, 2}},
    [METRIC_MIND] = {{true, 2}, {true, 2}},
    [METRIC_VENDI] = {{true, 2}, {false, 0}},
    [METRIC_FLD] = {{true, 2}, {true, 4}, {true, 2}},
    [METRIC_FDR] = {{false, 2}, {false, 2}, {false, 2}},
    [METRIC_CLIP_SCORE] = {{true, 1}, {false, 0}},
};

/* Those whose differences are paired: they have numbers without each block. */
enum {
    PAIRED = 1 << METRIC_FID | 1 << METRIC_SFID | 1 << METRIC_KID | 1 << METRIC_CMMD | 1 << METRIC_MIND |
             1 << METRIC_FDR | 1 << METRIC_CLIP_SCORE
};

unsigned score_of_every_feature(void) {
    unsigned metrics = 0;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        metrics |= (unsigned)needs[metric].reference.every << metric;
    return metrics;
}

unsigned score_without_reference(void) {
    unsigned metrics = 0;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        metrics |= (unsigned)(needs[metric].reference.least == 0) << metric;
    return metrics;
}

static int check_count(enum metric metric, const char *which, uint64_t count, size_t least, struct error *err) {
    if (count >= least) return 0;
    return error_set(err, CODE_DATA, "%s needs at least %zu samples, and the %s has %llu", metric_names[metric], least,
                     which, (unsigned long long)count);
}

int score_enough(unsigned metrics, uint64_t count, struct error *err) {
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (wants(metrics, metric) && check_count(metric, "sample side", count, needs[metric].samples.least, err) != 0)
            return -1;
    return 0;
}

/* Has a side what a metric needs? */
static int check_view(enum metric metric, const char *which, const struct view *view, const struct need *need,
                      struct error *err) {
    static const char *const members[FEATURE_KINDS] = {"mu, sigma", "mu_s, sigma_s", "mu, sigma"};
    enum feature_kind kind = features_of_metric(metric);
    bool every = need->every;
    if (view->features.rows) return check_count(metric, which, view->features.count, need->least, err);
    if (!every && view->statistics.dim) return 0;
    if (view->statistics.dim)
        return error_set(err, CODE_DATA,
                         "%s needs every sample's features, and the %s is statistics (%s): give its images, or their "
                         "features, which qtaylor reference IMAGES --features NET -o FILE.npy writes",
                         metric_names[metric], which, members[kind]);
    return error_set(err, CODE_DATA, "%s needs %s features%s%s%s, and the %s has none", metric_names[metric],
                     feature_kind_names[kind], every ? "" : " or their statistics (", every ? "" : members[kind],
                     every ? "" : ")", which);
}

/* Two sides of one network, with as many features. */
static int check_pair(enum metric metric, const struct side *samples, const char *which, const struct side *other,
                      struct error *err) {
    enum feature_kind kind = features_of_metric(metric);
    size_t mine = side_view(samples, kind)->statistics.dim, theirs = side_view(other, kind)->statistics.dim;
    if (mine == theirs) return 0;
    return error_set(
        err, CODE_DATA,
        "%s: the %s has %zu features a sample, the samples have %zu: use the same feature network for both",
        metric_names[metric], which, theirs, mine);
}

static int check_network(const struct side *samples, const char *which, const struct side *other, struct error *err) {
    if (!samples->network[0] || !other->network[0] || strcmp(samples->network, other->network) == 0) return 0;
    return error_set(err, CODE_DATA,
                     "the %s was made with the feature network %.12s, the samples' features with %.12s (sha256): use "
                     "the same one for both",
                     which, other->network, samples->network);
}

static int check_validation(enum metric metric, const struct side *samples, const struct side *validation,
                            struct error *err) {
    static const char which[] = "validation set";
    if (!validation)
        return error_set(err, CODE_DATA,
                         "%s needs a second set of real images, which no model was trained on: say evaluate.validation "
                         "(compare: --validation)",
                         metric_names[metric]);
    if (check_network(samples, which, validation, err) != 0 ||
        check_view(metric, which, side_view(validation, features_of_metric(metric)), &needs[metric].validation, err) !=
            0)
        return -1;
    return check_pair(metric, samples, which, validation, err);
}

static int check_text(const struct score_options *options, const struct side *samples, struct error *err) {
    const struct features *texts = options->text ? &options->text->views[0].features : NULL;
    const struct view *view = side_view(samples, FEATURES_POOL);
    if (!texts || !texts->rows)
        return error_set(err, CODE_DATA,
                         "clip-score needs the features of the texts, a .npy [texts, D]: say evaluate.text (compare: "
                         "--text)");
    if (texts->dim != view->statistics.dim)
        return error_set(err, CODE_DATA,
                         "clip-score: the texts have %zu features each, the samples %zu: use the text and the image "
                         "network of one CLIP",
                         texts->dim, view->statistics.dim);
    if (!options->text_rows && texts->count != view->features.count)
        return error_set(err, CODE_DATA, "clip-score: expected a text for each of the %zu samples, found %zu",
                         view->features.count, texts->count);
    return features_lengths(texts, NULL, err) == 0 ? 0 : error_prefix(err, "clip-score: the texts");
}

int score_foresee(unsigned metrics, enum score_side which, const struct side *held, struct error *err) {
    static const char *const names[] = {"sample side", "reference", "validation set"};
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++) {
        const struct need *const need[] = {&needs[metric].samples, &needs[metric].reference, &needs[metric].validation};
        if (wants(metrics, metric) && need[which]->least > 0 &&
            check_view(metric, names[which], side_view(held, features_of_metric(metric)), need[which], err) != 0)
            return -1;
    }
    return 0;
}

int score_given(unsigned metrics, bool validation, bool text, struct error *err) {
    static const struct side none;
    static const struct score_options options;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (wants(metrics, metric) && needs[metric].validation.least > 0 && !validation &&
            check_validation(metric, &none, NULL, err) != 0)
            return -1;
    return wants(metrics, METRIC_CLIP_SCORE) && !text ? check_text(&options, &none, err) : 0;
}

int score_check(const struct score_options *options, const struct side *samples, const struct side *reference,
                struct error *err) {
    if (check_network(samples, "reference", reference, err) != 0) return -1;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++) {
        enum feature_kind kind = features_of_metric(metric);
        const struct view *a = side_view(samples, kind), *b = side_view(reference, kind);
        if (!wants(options->metrics, metric)) continue;
        if (check_view(metric, "sample side", a, &needs[metric].samples, err) != 0) return -1;
        if (metric == METRIC_CLIP_SCORE && check_text(options, samples, err) != 0) return -1;
        if (needs[metric].reference.least == 0) continue;
        if (check_view(metric, "reference", b, &needs[metric].reference, err) != 0 ||
            check_pair(metric, samples, "reference", reference, err) != 0)
            return -1;
        if (metric == METRIC_CMMD && features_lengths(&b->features, NULL, err) != 0)
            return error_prefix(err, "cmmd: the reference");
        if (needs[metric].validation.least > 0 && check_validation(metric, samples, options->validation, err) != 0)
            return -1;
    }
    return 0;
}

/* The covariance of no more samples than features is singular. */
static void warn_few(enum metric metric, const char *which, const struct view *view) {
    uint64_t count = view->features.rows ? view->features.count : view->statistics.count; /* 0: nobody says */
    size_t dim = view->statistics.dim;
    if (count == 0 || count > dim) return;
    log_warn("%s: the %s has %llu samples of %zu features each: their covariance is singular, and the distance says "
             "above all how few they are; take more than %zu, or kid, which has no bias",
             metric_names[metric], which, (unsigned long long)count, dim, dim);
}

/* Subsets of a set no larger than they are would all be the same. */
static bool kid_varies(const struct features *samples, const struct features *reference) {
    return samples->count > KID_SUBSET_SIZE && reference->count > KID_SUBSET_SIZE;
}

void score_warn(const struct score_options *options, const struct side *samples, const struct side *reference) {
    for (enum metric metric = 0; metric <= METRIC_FID_INFINITY; metric++) {
        enum feature_kind kind = features_of_metric(metric);
        if (!wants(options->metrics, metric)) continue;
        warn_few(metric, "sample side", side_view(samples, kind));
        warn_few(metric, "reference", side_view(reference, kind));
    }
    const struct features *mine = &side_view(samples, FEATURES_POOL)->features;
    const struct features *theirs = &side_view(reference, FEATURES_POOL)->features;
    if (wants(options->metrics, METRIC_KID) && !options->indices && !kid_varies(mine, theirs))
        log_warn("kid: there are %zu and %zu samples, and a subset takes %d: kid_std is left out, as it would be that "
                 "of subsets that are all the same",
                 mine->count, theirs->count, KID_SUBSET_SIZE);
}

void score_warn_unpaired(unsigned metrics) {
    char names[200] = "";
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (wants(metrics & ~(unsigned)PAIRED, metric))
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? ", " : "",
                     metric_names[metric]);
    if (*names) log_warn("--versus: there is no paired difference of %s", names);
}

/* fids[0], and where there are enough samples those without each block. */
static int fids_of(double fids[1 + JACKKNIFE_BLOCKS], const struct view *samples, const struct frechet *reference,
                   struct error *err) {
    if (samples->features.count >= JACKKNIFE_LEAST) return fid_without_blocks(&samples->features, reference, fids, err);
    return frechet_distance_to(reference, &samples->statistics, &fids[0], err);
}

/* fids over the distance that a validation set has. */
static int score_fdr(json_t *values, double fids[1 + JACKKNIFE_BLOCKS], bool enough, const struct view *validation,
                     const struct frechet *reference, struct error *err) {
    double theirs;
    if (frechet_distance_to(reference, &validation->statistics, &theirs, err) != 0) return -1;
    const struct statistics *of = reference->of;
    double spread = 0;
    for (size_t k = 0; k < of->dim; k++) spread += of->sigma[k * of->dim + k];
    if (!(theirs > 1e-9 * spread)) /* below is rounding */
        return error_set(err, CODE_DATA,
                         "fdr: the validation set has the distance %g to the reference: it is the same "
                         "set",
                         theirs);
    for (int k = 0; k <= (enough ? JACKKNIFE_BLOCKS : 0); k++) fids[k] /= theirs;
    return value_set_jackknifed(values, "fdr", fids, enough, err);
}

static int score_infinity(json_t *values, const struct view *samples, const struct frechet *reference,
                          struct error *err) {
    double value;
    if (fid_infinity(&samples->features, reference, &value, err) != 0) return -1;
    return value_set(values, "fid_infinity", value, err);
}

/* The metrics that are distances of Gaussians, of one kind of features: the reference is factored once, here where
 * side_factor has not done it. */
static int score_distances(json_t *values, const struct score_options *options, enum feature_kind kind,
                           const struct side *samples, const struct side *reference, struct error *err) {
    const struct view *mine = side_view(samples, kind), *theirs = side_view(reference, kind);
    unsigned metrics = options->metrics;
    enum metric plain = kind == FEATURES_SPATIAL ? METRIC_SFID : METRIC_FID;
    bool pool = kind == FEATURES_POOL, infinity = pool && wants(metrics, METRIC_FID_INFINITY);
    bool ratio = pool && wants(metrics, METRIC_FDR), enough = mine->features.count >= JACKKNIFE_LEAST;
    struct frechet own = {0};
    const struct frechet *prepared = theirs->factor.of ? &theirs->factor : &own;
    double fids[1 + JACKKNIFE_BLOCKS];
    if (!wants(metrics, plain) && !infinity && !ratio) return 0;
    if (prepared == &own && frechet_prepare(&own, &theirs->statistics, err) != 0) return -1;
    int rc = wants(metrics, plain) || ratio ? fids_of(fids, mine, prepared, err) : 0;
    if (rc == 0 && wants(metrics, plain)) rc = value_set_jackknifed(values, metric_names[plain], fids, enough, err);
    if (rc == 0 && infinity) rc = score_infinity(values, mine, prepared, err);
    if (rc == 0 && ratio) rc = score_fdr(values, fids, enough, side_view(options->validation, kind), prepared, err);
    frechet_release(&own);
    return rc;
}

static int score_kid(json_t *values, const struct score_options *options, const struct features *samples,
                     const struct features *reference, struct error *err) {
    double mean, deviation, full[1 + JACKKNIFE_BLOCKS];
    bool enough = samples->count >= JACKKNIFE_LEAST;
    int64_t *drawn = NULL;
    size_t subsets = options->subsets, size = options->size;
    if (!options->indices) {
        subsets = KID_SUBSETS;
        if (kid_draw(samples->count, reference->count, &drawn, &size, err) != 0) return -1;
    }
    const int64_t *indices = drawn ? drawn : options->indices;
    int rc = enough ? kid_without_blocks(samples, reference, full, err) : kid_full(samples, reference, full, err);
    if (rc == 0) rc = kid_subsets(samples, reference, indices, subsets, size, &mean, &deviation, err);
    free(drawn);
    if (rc != 0 || value_set(values, "kid", mean, err) != 0) return -1;
    if ((options->indices || kid_varies(samples, reference)) && value_set(values, "kid_std", deviation, err) != 0)
        return -1;
    return value_set_jackknifed(values, "kid_full", full, enough, err);
}

static int score_is(json_t *values, const struct features *logits, struct error *err) {
    double mean, deviation;
    if (inception_score(logits, &mean, &deviation, err) != 0 || value_set(values, "is", mean, err) != 0) return -1;
    return value_set(values, "is_std", deviation, err);
}

static int score_prdc(json_t *values, const struct features *samples, const struct features *reference,
                      struct error *err) {
    struct prdc prdc;
    if (neighbours_prdc(samples, reference, &prdc, err) != 0 ||
        value_set(values, "precision", prdc.precision, err) != 0 ||
        value_set(values, "recall", prdc.recall, err) != 0 || value_set(values, "density", prdc.density, err) != 0)
        return -1;
    return value_set(values, "coverage", prdc.coverage, err);
}

static int score_fld(json_t *values, const struct features *samples, const struct features *reference,
                     const struct features *validation, struct error *err) {
    struct fld fld;
    size_t constant;
    if (fld_score(samples, reference, validation, &fld, &constant, err) != 0) return -1;
    if (constant > 0)
        log_warn("fld: %zu of %zu features do not vary in the validation set, and are left out", constant,
                 validation->dim);
    if (samples->count > FLD_MOST) log_info("fld: of the first %d samples, as its authors take so many", FLD_MOST);
    return value_set(values, "fld", fld.value, err) == 0 ? value_set(values, "fld_gap", fld.gap, err) : -1;
}

/* Metrics that are no distances of Gaussians. */
static int score_others(json_t *values, const struct score_options *options, const struct features *samples,
                        const struct features *reference, struct error *err) {
    double numbers[1 + JACKKNIFE_BLOCKS], vendi;
    bool enough = samples->count >= JACKKNIFE_LEAST;
    unsigned metrics = options->metrics;
    if (wants(metrics, METRIC_CMMD) && (cmmd_without_blocks(samples, reference, numbers, err) != 0 ||
                                        value_set_jackknifed(values, "cmmd", numbers, enough, err) != 0))
        return -1;
    if (wants(metrics, METRIC_MIND) && (mind_without_blocks(samples, reference, numbers, err) != 0 ||
                                        value_set_jackknifed(values, "mind", numbers, enough, err) != 0))
        return -1;
    if (wants(metrics, METRIC_VENDI) &&
        (vendi_score(samples, &vendi, err) != 0 || value_set(values, "vendi", vendi, err) != 0))
        return -1;
    if (wants(metrics, METRIC_FLD) &&
        score_fld(values, samples, reference, &side_view(options->validation, FEATURES_POOL)->features, err) != 0)
        return -1;
    if (!wants(metrics, METRIC_CLIP_SCORE)) return 0;
    if (clip_score_without_blocks(samples, &options->text->views[0].features, options->text_rows, numbers, err) != 0)
        return -1;
    return value_set_jackknifed(values, "clip-score", numbers, enough, err);
}

int score(json_t **values, const struct score_options *options, const struct side *samples,
          const struct side *reference, struct error *err) {
    const struct features *mine = &side_view(samples, FEATURES_POOL)->features;
    const struct features *theirs = &side_view(reference, FEATURES_POOL)->features;
    unsigned metrics = options->metrics;
    *values = NULL;
    if (score_check(options, samples, reference, err) != 0) return -1;
    json_t *made = json_object();
    int rc = made ? 0 : error_memory(err);
    if (rc == 0) rc = score_distances(made, options, FEATURES_POOL, samples, reference, err);
    if (rc == 0) rc = score_distances(made, options, FEATURES_SPATIAL, samples, reference, err);
    if (rc == 0 && wants(metrics, METRIC_KID)) rc = score_kid(made, options, mine, theirs, err);
    if (rc == 0 && wants(metrics, METRIC_IS)) rc = score_is(made, &side_view(samples, FEATURES_LOGITS)->features, err);
    if (rc == 0 && wants(metrics, METRIC_PRDC)) rc = score_prdc(made, mine, theirs, err);
    if (rc == 0) rc = score_others(made, options, mine, theirs, err);
    if (rc == 0) *values = made;
    else json_decref(made);
    return rc;
}

int score_difference(json_t *to, const struct score_options *options, const struct side *samples, const json_t *values,
                     const struct side *other, const struct side *reference, struct error *err) {
    const struct features *mine = &side_view(samples, FEATURES_POOL)->features;
    const struct features *theirs = &side_view(other, FEATURES_POOL)->features;
    struct score_options with = *options;
    size_t least = mine->count < theirs->count ? mine->count : theirs->count;
    json_t *found = NULL;
    with.metrics = 1u << METRIC_FID_INFINITY; /* needs what differences need: features of the samples, and as many */
    if (mine->rows && theirs->rows && least < JACKKNIFE_LEAST)
        return error_set(err, CODE_DATA, "fid_delta needs at least %d samples on both sides, found %zu and %zu",
                         JACKKNIFE_LEAST, mine->count, theirs->count);
    if (score_check(&with, samples, reference, err) != 0 || score_check(&with, other, reference, err) != 0) return -1;
    if (mine->count != theirs->count)
        return error_set(err, CODE_DATA,
                         "a paired difference needs the same seeds on both sides, found %zu and %zu samples",
                         mine->count, theirs->count);
    with.metrics = options->metrics & PAIRED;
    if (score(&found, &with, other, reference, err) != 0) return -1;
    int rc = values_difference(to, values, found, err);
    json_decref(found);
    return rc;
}
