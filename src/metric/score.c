/* The metrics: what each needs, and their numbers as JSON. */
#include "metric/score.h"

#include "base/log.h"
#include "base/text.h"
#include "eval/frechet.h"
#include "metric/inception_score.h"
#include "metric/mind.h"
#include "metric/mmd.h"
#include "metric/neighbours.h"
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
    struct need samples, reference;
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
        return error_set(
            err, CODE_DATA,
            "%s needs every sample's features, and the %s is statistics (%s): give a feature file or images",
            metric_names[metric], which, members[kind]);
    return error_set(err, CODE_DATA, "%s needs %s features%s%s%s, and the %s has none", metric_names[metric],
                     feature_kind_names[kind], every ? "" : " or their statistics (", every ? "" : members[kind],
                     every ? "" : ")", which);
}

int score_check(unsigned metrics, const struct side *samples, const struct side *reference, struct error *err) {
    if (samples->network[0] && reference->network[0] && strcmp(samples->network, reference->network) != 0)
        return error_set(err, CODE_DATA,
                         "the reference was made with the feature network %.12s, the samples' features with %.12s "
                         "(sha256): use the same one for both",
                         reference->network, samples->network);
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++) {
        enum feature_kind kind = features_of_metric(metric);
        const struct view *a = side_view(samples, kind), *b = side_view(reference, kind);
        if (!wants(metrics, metric)) continue;
        if (check_view(metric, "sample side", a, &needs[metric].samples, err) != 0) return -1;
        if (needs[metric].reference.least == 0) continue;
        if (check_view(metric, "reference", b, &needs[metric].reference, err) != 0) return -1;
        if (a->statistics.dim != b->statistics.dim)
            return error_set(err, CODE_DATA,
                             "%s: the reference has %zu features a sample, the samples have %zu: use the same feature "
                             "network for both",
                             metric_names[metric], b->statistics.dim, a->statistics.dim);
        if (metric == METRIC_CMMD && features_lengths(&b->features, NULL, err) != 0)
            return error_prefix(err, "cmmd: the reference");
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

static int set(json_t *values, const char *name, double value, struct error *err) {
    if (!isfinite(value))
        return error_set(err, CODE_DATA, "%s is not a finite number: the features are too large", name);
    return json_object_set_new(values, name, json_real(value)) == 0 ? 0 : error_memory(err);
}

/* NAME, NAME_error, ... */
static int set_named(json_t *values, const char *name, const char *suffix, double value, struct error *err) {
    char whole[32];
    snprintf(whole, sizeof whole, "%s%s", name, suffix);
    return set(values, whole, value, err);
}

static int set_estimate(json_t *values, const char *name, const struct estimate *estimate, struct error *err) {
    if (set_named(values, name, "_error", estimate->error, err) != 0 ||
        set_named(values, name, "_low", estimate->low, err) != 0)
        return -1;
    return set_named(values, name, "_high", estimate->high, err);
}

/* NAME_without: the value without each block, from which `report` takes paired differences. */
static int set_without(json_t *values, const char *name, const double without[JACKKNIFE_BLOCKS], struct error *err) {
    char whole[32];
    json_t *list = json_array();
    snprintf(whole, sizeof whole, "%s_without", name);
    for (int i = 0; list && i < JACKKNIFE_BLOCKS; i++) json_array_append_new(list, json_real(without[i]));
    return json_object_set_new(values, whole, list) == 0 ? 0 : error_memory(err);
}

/* numbers[0], and where there are `enough` samples what those without each block say of it. */
static int set_jackknifed(json_t *values, const char *name, const double numbers[1 + JACKKNIFE_BLOCKS], bool enough,
                          struct error *err) {
    struct estimate estimate;
    if (set(values, name, numbers[0], err) != 0) return -1;
    if (!enough) return 0;
    jackknife(numbers[0], numbers + 1, &estimate);
    if (set_named(values, name, "_corrected", estimate.corrected, err) != 0 ||
        set_without(values, name, numbers + 1, err) != 0)
        return -1;
    return set_estimate(values, name, &estimate, err);
}

static int score_fid(json_t *values, const char *name, const struct view *samples, const struct frechet *reference,
                     struct error *err) {
    double fids[1 + JACKKNIFE_BLOCKS];
    bool enough = samples->features.count >= JACKKNIFE_LEAST;
    int rc = enough ? fid_without_blocks(&samples->features, reference, fids, err)
                    : frechet_distance_to(reference, &samples->statistics, &fids[0], err);
    return rc == 0 ? set_jackknifed(values, name, fids, enough, err) : -1;
}

static int score_infinity(json_t *values, const struct view *samples, const struct frechet *reference,
                          struct error *err) {
    double value;
    if (fid_infinity(&samples->features, reference, &value, err) != 0) return -1;
    return set(values, "fid_infinity", value, err);
}

/* The metrics that are distances of Gaussians, of one kind of features: the reference is factored once, here where
 * side_factor has not done it. */
static int score_distances(json_t *values, unsigned metrics, enum feature_kind kind, const struct side *samples,
                           const struct side *reference, struct error *err) {
    const struct view *mine = side_view(samples, kind);
    enum metric plain = kind == FEATURES_SPATIAL ? METRIC_SFID : METRIC_FID;
    bool infinity = kind == FEATURES_POOL && wants(metrics, METRIC_FID_INFINITY);
    const struct view *theirs = side_view(reference, kind);
    struct frechet own = {0};
    const struct frechet *prepared = theirs->factor.of ? &theirs->factor : &own;
    if (!wants(metrics, plain) && !infinity) return 0;
    if (prepared == &own && frechet_prepare(&own, &theirs->statistics, err) != 0) return -1;
    int rc = 0;
    if (wants(metrics, plain)) rc = score_fid(values, metric_names[plain], mine, prepared, err);
    if (rc == 0 && infinity) rc = score_infinity(values, mine, prepared, err);
    frechet_release(&own);
    return rc;
}

static int score_kid(json_t *values, const struct score_options *options, const struct features *samples,
                     const struct features *reference, struct error *err) {
    double mean, deviation, full;
    int64_t *drawn = NULL;
    size_t subsets = options->subsets, size = options->size;
    if (!options->indices) {
        subsets = KID_SUBSETS;
        if (kid_draw(samples->count, reference->count, &drawn, &size, err) != 0) return -1;
    }
    const int64_t *indices = drawn ? drawn : options->indices;
    int rc = kid_full(samples, reference, &full, err);
    if (rc == 0) rc = kid_subsets(samples, reference, indices, subsets, size, &mean, &deviation, err);
    free(drawn);
    if (rc != 0 || set(values, "kid", mean, err) != 0) return -1;
    if ((options->indices || kid_varies(samples, reference)) && set(values, "kid_std", deviation, err) != 0) return -1;
    return set(values, "kid_full", full, err);
}

static int score_is(json_t *values, const struct features *logits, struct error *err) {
    double mean, deviation;
    if (inception_score(logits, &mean, &deviation, err) != 0 || set(values, "is", mean, err) != 0) return -1;
    return set(values, "is_std", deviation, err);
}

static int score_prdc(json_t *values, const struct features *samples, const struct features *reference,
                      struct error *err) {
    struct prdc prdc;
    if (neighbours_prdc(samples, reference, &prdc, err) != 0 || set(values, "precision", prdc.precision, err) != 0 ||
        set(values, "recall", prdc.recall, err) != 0 || set(values, "density", prdc.density, err) != 0)
        return -1;
    return set(values, "coverage", prdc.coverage, err);
}

/* Metrics with an error by the jackknife that are no distances of Gaussians, and vendi. */
static int score_others(json_t *values, unsigned metrics, const struct features *samples,
                        const struct features *reference, struct error *err) {
    double numbers[1 + JACKKNIFE_BLOCKS], vendi;
    bool enough = samples->count >= JACKKNIFE_LEAST;
    if (wants(metrics, METRIC_CMMD) && (cmmd_without_blocks(samples, reference, numbers, err) != 0 ||
                                        set_jackknifed(values, "cmmd", numbers, enough, err) != 0))
        return -1;
    if (wants(metrics, METRIC_MIND) && (mind_without_blocks(samples, reference, numbers, err) != 0 ||
                                        set_jackknifed(values, "mind", numbers, enough, err) != 0))
        return -1;
    if (!wants(metrics, METRIC_VENDI)) return 0;
    return vendi_score(samples, &vendi, err) == 0 ? set(values, "vendi", vendi, err) : -1;
}

int score(json_t **values, const struct score_options *options, const struct side *samples,
          const struct side *reference, struct error *err) {
    const struct features *mine = &side_view(samples, FEATURES_POOL)->features;
    const struct features *theirs = &side_view(reference, FEATURES_POOL)->features;
    unsigned metrics = options->metrics;
    *values = NULL;
    if (score_check(metrics, samples, reference, err) != 0) return -1;
    json_t *made = json_object();
    int rc = made ? 0 : error_memory(err);
    if (rc == 0) rc = score_distances(made, metrics, FEATURES_POOL, samples, reference, err);
    if (rc == 0) rc = score_distances(made, metrics, FEATURES_SPATIAL, samples, reference, err);
    if (rc == 0 && wants(metrics, METRIC_KID)) rc = score_kid(made, options, mine, theirs, err);
    if (rc == 0 && wants(metrics, METRIC_IS)) rc = score_is(made, &side_view(samples, FEATURES_LOGITS)->features, err);
    if (rc == 0 && wants(metrics, METRIC_PRDC)) rc = score_prdc(made, mine, theirs, err);
    if (rc == 0) rc = score_others(made, metrics, mine, theirs, err);
    if (rc == 0) *values = made;
    else json_decref(made);
    return rc;
}

int score_put(json_t *to, const char *network, json_t *values, struct error *err) {
    const char *name;
    json_t *value;
    json_object_foreach(values, name, value) {
        char *whole = network ? text_new("%s.%s", network, name) : strdup(name);
        int rc = whole ? json_object_set(to, whole, value) : -1;
        free(whole);
        if (rc != 0) return error_memory(err);
    }
    return 0;
}

int score_difference(json_t *values, const struct side *samples, const struct side *other, const struct side *reference,
                     struct error *err) {
    const struct features *mine = &side_view(samples, FEATURES_POOL)->features;
    const struct features *theirs = &side_view(other, FEATURES_POOL)->features;
    double fids[1 + JACKKNIFE_BLOCKS], others[1 + JACKKNIFE_BLOCKS];
    struct frechet prepared;
    struct estimate estimate;
    unsigned
        needed = 1u << METRIC_FID_INFINITY; /* needs what the difference needs: features of the samples, and as many */
    size_t least = mine->count < theirs->count ? mine->count : theirs->count;
    if (mine->rows && theirs->rows && least < JACKKNIFE_LEAST)
        return error_set(err, CODE_DATA, "fid_delta needs at least %d samples on both sides, found %zu and %zu",
                         JACKKNIFE_LEAST, mine->count, theirs->count);
    if (score_check(needed, samples, reference, err) != 0 || score_check(needed, other, reference, err) != 0) return -1;
    if (mine->count != theirs->count)
        return error_set(err, CODE_DATA,
                         "a paired difference needs the same seeds on both sides, found %zu and %zu samples",
                         mine->count, theirs->count);
    if (frechet_prepare(&prepared, &side_view(reference, FEATURES_POOL)->statistics, err) != 0) return -1;
    int rc = fid_without_blocks(mine, &prepared, fids, err);
    if (rc == 0) rc = fid_without_blocks(theirs, &prepared, others, err);
    frechet_release(&prepared);
    if (rc != 0) return -1;
    for (int i = 0; i <= JACKKNIFE_BLOCKS; i++) fids[i] -= others[i];
    jackknife(fids[0], fids + 1, &estimate);
    if (set(values, "fid_delta", estimate.corrected, err) != 0) return -1;
    return set_estimate(values, "fid_delta", &estimate, err);
}
