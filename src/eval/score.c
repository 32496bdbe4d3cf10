#include "eval/score.h"

#include "eval/frechet.h"
#include "eval/inception_score.h"
#include "eval/kid.h"
#include "eval/neighbours.h"
#include "eval/precision.h"

#include <stdlib.h>
#include <string.h>

static bool wants(unsigned metrics, enum metric metric) {
    return metrics >> metric & 1;
}

int score_check(unsigned metrics, const struct side *samples, const struct side *reference, struct error *err) {
    static const struct { bool samples, reference; } needs[METRIC_KINDS] = {
        [METRIC_FID_INFINITY] = {true, false}, [METRIC_KID] = {true, true}, [METRIC_IS] = {true, false},
        [METRIC_PRDC] = {true, true},
    };
    const struct statistics *a = &samples->statistics, *b = &reference->statistics;
    if (a->network[0] && b->network[0] && strcmp(a->network, b->network) != 0)
        return error_set(err, CODE_DATA, "the reference was made with the feature network %.12s, the samples' features "
                         "with %.12s (sha256): use the same one for both", b->network, a->network);
    if (a->dim != b->dim)
        return error_set(err, CODE_DATA, "the reference has %zu features a sample, the samples have %zu: use the same "
                         "feature network for both", b->dim, a->dim);
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++) {
        if (!wants(metrics, metric)) continue;
        bool lacking = needs[metric].samples && !samples->features.rows;
        if (lacking || (needs[metric].reference && !reference->features.rows))
            return error_set(err, CODE_DATA, "%s needs every sample's features, and the %s is statistics (mu, sigma): "
                             "give a feature file", metric_names[metric], lacking ? "sample side" : "reference");
    }
    return 0;
}

static int set(json_t *values, const char *name, double value, struct error *err) {
    return json_object_set_new(values, name, json_real(value)) == 0 ? 0 : error_memory(err);
}

static int score_fid(json_t *values, const struct side *samples, const struct frechet *reference, struct error *err) {
    double fids[1 + JACKKNIFE_BLOCKS];
    struct estimate estimate;
    if (samples->features.count < JACKKNIFE_LEAST) {
        if (frechet_distance_to(reference, &samples->statistics, &fids[0], err) != 0) return -1;
        return set(values, "fid", fids[0], err);
    }
    if (fid_without_blocks(&samples->features, reference, fids, err) != 0) return -1;
    jackknife(fids[0], fids + 1, &estimate);
    if (set(values, "fid", estimate.value, err) != 0 || set(values, "fid_corrected", estimate.corrected, err) != 0 ||
        set(values, "fid_error", estimate.error, err) != 0 || set(values, "fid_low", estimate.low, err) != 0)
        return -1;
    return set(values, "fid_high", estimate.high, err);
}

static int score_infinity(json_t *values, const struct side *samples, const struct frechet *reference,
                          struct error *err) {
    double value;
    if (fid_infinity(&samples->features, reference, &value, err) != 0) return -1;
    return set(values, "fid_infinity", value, err);
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
    if (rc != 0 || set(values, "kid", mean, err) != 0 || set(values, "kid_std", deviation, err) != 0) return -1;
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

int score(json_t **values, const struct score_options *options, const struct side *samples, const struct side *reference,
          struct error *err) {
    const struct features *mine = &samples->features, *theirs = &reference->features;
    unsigned metrics = options->metrics;
    struct frechet prepared = {0};
    *values = NULL;
    if (score_check(metrics, samples, reference, err) != 0) return -1;
    json_t *made = json_object();
    int rc = made ? 0 : error_memory(err);
    if (rc == 0 && (wants(metrics, METRIC_FID) || wants(metrics, METRIC_FID_INFINITY)))
        rc = frechet_prepare(&prepared, &reference->statistics, err);
    if (rc == 0 && wants(metrics, METRIC_FID)) rc = score_fid(made, samples, &prepared, err);
    if (rc == 0 && wants(metrics, METRIC_FID_INFINITY)) rc = score_infinity(made, samples, &prepared, err);
    if (rc == 0 && wants(metrics, METRIC_KID)) rc = score_kid(made, options, mine, theirs, err);
    if (rc == 0 && wants(metrics, METRIC_IS)) rc = score_is(made, mine, err);
    if (rc == 0 && wants(metrics, METRIC_PRDC)) rc = score_prdc(made, mine, theirs, err);
    frechet_free(&prepared);
    if (rc == 0) *values = made;
    else json_decref(made);
    return rc;
}

int score_difference(json_t *values, const struct side *samples, const struct side *other, const struct side *reference,
                     struct error *err) {
    double mine[1 + JACKKNIFE_BLOCKS], theirs[1 + JACKKNIFE_BLOCKS];
    struct frechet prepared;
    struct estimate estimate;
    unsigned needed = 1u << METRIC_FID_INFINITY; /* needs what the difference needs: features of the samples */
    if (score_check(needed, samples, reference, err) != 0 || score_check(needed, other, reference, err) != 0) return -1;
    if (samples->features.count != other->features.count)
        return error_set(err, CODE_DATA, "a paired difference needs the same seeds on both sides, found %zu and %zu samples",
                         samples->features.count, other->features.count);
    if (frechet_prepare(&prepared, &reference->statistics, err) != 0) return -1;
    int rc = fid_without_blocks(&samples->features, &prepared, mine, err);
    if (rc == 0) rc = fid_without_blocks(&other->features, &prepared, theirs, err);
    frechet_free(&prepared);
    if (rc != 0) return -1;
    for (int i = 0; i <= JACKKNIFE_BLOCKS; i++) mine[i] -= theirs[i];
    jackknife(mine[0], mine + 1, &estimate);
    if (set(values, "fid_delta", estimate.corrected, err) != 0 || set(values, "fid_delta_error", estimate.error, err) != 0 ||
        set(values, "fid_delta_low", estimate.low, err) != 0)
        return -1;
    return set(values, "fid_delta_high", estimate.high, err);
}
