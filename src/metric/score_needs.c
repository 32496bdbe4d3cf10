/* What each metric needs of its sides: checked, and warned of where it has but just that. */
#include "base/log.h"
#include "metric/inception_score.h"
#include "metric/mmd.h"
#include "metric/neighbours.h"
#include "metric/score.h"
#include "eval/precision.h"

#include <stdio.h>
#include <string.h>

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

/* Of each of two sides whose difference is paired. */
static const struct need difference = {.every = true, .least = JACKKNIFE_LEAST};

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
        if (score_wants(metrics, metric) &&
            check_count(metric, "sample side", count, needs[metric].samples.least, err) != 0)
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

/* Pixels of images of other shapes have nothing in common but, perhaps, their number. */
static int check_shape(const char *mine, const struct side *one, const char *which, const struct side *other,
                       struct error *err) {
    const long long a[] = {one->shape[0], one->shape[1], one->shape[2]},
                    b[] = {other->shape[0], other->shape[1], other->shape[2]};
    if (!a[0] || !b[0] || memcmp(a, b, sizeof a) == 0) return 0;
    return error_set(err, CODE_DATA,
                     "features: none: the %s has images of [%lld,%lld,%lld] (channels, height, width), the %s "
                     "[%lld,%lld,%lld]: their pixels can only be compared with those of images of one shape",
                     which, b[0], b[1], b[2], mine, a[0], a[1], a[2]);
}

static int check_network(const char *mine, const struct side *one, const char *which, const struct side *other,
                         struct error *err) {
    if (!one->network[0] || !other->network[0] || strcmp(one->network, other->network) == 0)
        return check_shape(mine, one, which, other, err);
    return error_set(err, CODE_DATA,
                     "the %s was made with the feature network %.12s, the %s with %.12s (sha256): use the same one for "
                     "both",
                     which, other->network, mine, one->network);
}

static int check_validation(enum metric metric, const struct side *samples, const struct side *validation,
                            struct error *err) {
    static const char which[] = "validation set";
    if (!validation)
        return error_set(err, CODE_DATA,
                         "%s needs a second set of real images, which no model was trained on: say evaluate.validation "
                         "(compare: --validation)",
                         metric_names[metric]);
    if (check_view(metric, which, side_view(validation, features_of_metric(metric)), &needs[metric].validation, err) !=
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
    if (!samples->text_rows && texts->count != view->features.count)
        return error_set(err, CODE_DATA, "clip-score: expected a text for each of the %zu samples, found %zu",
                         view->features.count, texts->count);
    return features_lengths(texts, NULL, err) == 0 ? 0 : error_prefix(err, "clip-score: the texts");
}

/* Of these a row of zeros has none; of features that are only foreseen it is said later. */
static int check_directions(enum metric metric, const char *which, const struct side *side, struct error *err) {
    bool cosine = metric == METRIC_CMMD || metric == METRIC_VENDI || metric == METRIC_CLIP_SCORE;
    if (!cosine || side->foreseen || features_lengths(&side_view(side, FEATURES_POOL)->features, NULL, err) == 0)
        return 0;
    return error_prefix(err, "%s: the %s", metric_names[metric], which);
}

int score_check(const struct score_options *options, const struct side *samples, const struct side *reference,
                struct error *err) {
    const struct side *validation = options->validation;
    if (check_network("sample side", samples, "reference", reference, err) != 0 ||
        (validation && (check_network("reference", reference, "validation set", validation, err) != 0 ||
                        check_network("sample side", samples, "validation set", validation, err) != 0)))
        return -1;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++) {
        enum feature_kind kind = features_of_metric(metric);
        const struct view *a = side_view(samples, kind), *b = side_view(reference, kind);
        if (!score_wants(options->metrics, metric)) continue;
        if (check_view(metric, "sample side", a, &needs[metric].samples, err) != 0 ||
            check_directions(metric, "sample side", samples, err) != 0)
            return -1;
        if (metric == METRIC_CLIP_SCORE && check_text(options, samples, err) != 0) return -1;
        if (needs[metric].reference.least == 0) continue;
        if (check_view(metric, "reference", b, &needs[metric].reference, err) != 0 ||
            check_pair(metric, samples, "reference", reference, err) != 0)
            return -1;
        if (metric == METRIC_KID && options->indices &&
            kid_check(options->indices, options->subsets, options->size, a->features.count, b->features.count, err) !=
                0)
            return -1;
        if (metric == METRIC_CMMD && check_directions(metric, "reference", reference, err) != 0) return -1;
        if (needs[metric].validation.least > 0 && check_validation(metric, samples, validation, err) != 0) return -1;
    }
    return 0;
}

/* The covariance of no more samples than features is singular. */
static void warn_few(enum metric metric, const char *which, const struct view *view) {
    uint64_t count = view->features.rows && !view->own ? view->features.count
                                                       : view->statistics.count; /* 0: nobody says */
    size_t dim = view->statistics.dim;
    if (count == 0 || count > dim) return;
    log_warn("%s: the %s has %llu samples of %zu features each: their covariance is singular, and the distance says "
             "above all how few they are; take more than %zu, or kid, which has no bias",
             metric_names[metric], which, (unsigned long long)count, dim, dim);
}

void score_warn(const struct score_options *options, const struct side *samples, const struct side *reference) {
    for (enum metric metric = 0; metric <= METRIC_FID_INFINITY; metric++) {
        enum feature_kind kind = features_of_metric(metric);
        if (!score_wants(options->metrics, metric)) continue;
        warn_few(metric, "sample side", side_view(samples, kind));
        warn_few(metric, "reference", side_view(reference, kind));
    }
    const struct features *mine = &side_view(samples, FEATURES_POOL)->features;
    const struct features *theirs = &side_view(reference, FEATURES_POOL)->features;
    if (score_wants(options->metrics, METRIC_KID) && !options->indices && !score_kid_varies(mine, theirs))
        log_warn("kid: there are %zu and %zu samples, and a subset takes %d: kid_std is left out, as it would be that "
                 "of subsets that are all the same, and kid is of %zu of each",
                 mine->count, theirs->count, KID_SUBSET_SIZE,
                 mine->count < theirs->count ? mine->count : theirs->count);
}

void score_warn_unpaired(unsigned metrics) {
    char names[200] = "";
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (score_wants(metrics & ~(unsigned)PAIRED, metric))
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? ", " : "",
                     metric_names[metric]);
    if (*names) log_warn("--versus: there is no paired difference of %s", names);
}

unsigned score_of_pairs(void) {
    return PAIRED;
}

/* Has each side features of samples enough, and both as many? */
static int check_difference(enum metric metric, const struct side *samples, const struct side *other,
                            struct error *err) {
    const struct view *mine = side_view(samples, features_of_metric(metric)),
                      *theirs = side_view(other, features_of_metric(metric));
    if (check_view(metric, "sample side", mine, &difference, err) != 0 ||
        check_view(metric, "other side", theirs, &difference, err) != 0)
        return error_prefix(err, "a paired difference (--versus)");
    if (mine->own || theirs->own)
        return error_set(err, CODE_DATA,
                         "a paired difference (--versus): a side has statistics of its own beside its features, which "
                         "are of no blocks of samples: give the features alone");
    if (mine->features.count == theirs->features.count) return 0;
    return error_set(err, CODE_DATA,
                     "a paired difference needs the same seeds on both sides, found %zu and %zu samples",
                     mine->features.count, theirs->features.count);
}

int score_check_paired(unsigned metrics, const struct side *samples, const struct side *other, struct error *err) {
    if (check_network("sample side", samples, "other side of --versus", other, err) != 0) return -1;
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (score_wants(metrics & PAIRED, metric) && check_difference(metric, samples, other, err) != 0) return -1;
    return 0;
}
