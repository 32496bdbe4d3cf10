/* The metrics: their numbers as JSON. */
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

/* Features enough, and the statistics are theirs. */
static bool has_blocks(const struct view *view) {
    return view->features.count >= JACKKNIFE_LEAST && !view->own;
}

/* fids[0], and where there are enough samples those without each block. */
static int fids_of(double fids[1 + JACKKNIFE_BLOCKS], const struct view *samples, const struct frechet *reference,
                   struct error *err) {
    if (has_blocks(samples)) return fid_without_blocks(&samples->features, reference, fids, err);
    return frechet_distance_to(reference, &samples->statistics, &fids[0], err);
}

/* fids becomes the numbers of their quotient with the FID that a validation set has. Finite samples make both FIDs too
 * large: where it is taken out of both, the numbers without each block differ as the samples' do, and are moved so that
 * the jackknife's correction of them is the quotient of the corrected FIDs. */
static void divide(double fids[1 + JACKKNIFE_BLOCKS], double theirs, const struct estimate *other) {
    struct estimate mine;
    double ratio = fids[0] / theirs, by = other ? other->corrected : theirs, mean = 0, moved = 0;
    jackknife(fids[0], fids + 1, &mine);
    for (int k = 1; k <= JACKKNIFE_BLOCKS; k++) mean += fids[k] / JACKKNIFE_BLOCKS;
    if (other) moved = (JACKKNIFE_BLOCKS * ratio - mine.corrected / by) / (JACKKNIFE_BLOCKS - 1) - mean / by;
    for (int k = 1; k <= JACKKNIFE_BLOCKS; k++) fids[k] = fids[k] / by + moved;
    fids[0] = ratio;
}

static int score_fdr(json_t *values, double fids[1 + JACKKNIFE_BLOCKS], bool enough, const struct view *validation,
                     const struct frechet *reference, struct error *err) {
    double theirs[1 + JACKKNIFE_BLOCKS];
    struct estimate other = {.low = 0};
    bool blocks = has_blocks(validation);
    if (fids_of(theirs, validation, reference, err) != 0) return -1;
    const struct statistics *of = reference->of;
    double spread = 0;
    for (size_t k = 0; k < of->dim; k++) spread += of->sigma[k * of->dim + k];
    if (!(theirs[0] > 1e-9 * spread)) /* below is rounding */
        return error_set(err, CODE_DATA,
                         "fdr: the validation set has the distance %g to the reference: it is the same "
                         "set",
                         theirs[0]);
    if (!enough) return value_set(values, "fdr", fids[0] / theirs[0], err);
    if (blocks) jackknife(theirs[0], theirs + 1, &other);
    bool both = blocks && !other.rounded && other.low > 0;
    divide(fids, theirs[0], both ? &other : NULL);
    if (both) return value_set_jackknifed(values, "fdr", fids, true, err);
    log_warn("fdr: neither corrected for the bias of finite samples nor with an error, for %s",
             blocks ? "the validation set's own FID, so corrected, can't be told from 0: take more of its images"
                    : "the validation set's features are not there, of 200 images or more");
    return value_set_uncorrected(values, "fdr", fids, err);
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
    bool pool = kind == FEATURES_POOL, infinity = pool && score_wants(metrics, METRIC_FID_INFINITY);
    bool ratio = pool && score_wants(metrics, METRIC_FDR), enough = has_blocks(mine);
    struct frechet own = {0};
    const struct frechet *prepared = theirs->factor.of ? &theirs->factor : &own;
    double fids[1 + JACKKNIFE_BLOCKS];
    if (!score_wants(metrics, plain) && !infinity && !ratio) return 0;
    if (prepared == &own && frechet_prepare(&own, &theirs->statistics, err) != 0) return -1;
    int rc = score_wants(metrics, plain) || ratio ? fids_of(fids, mine, prepared, err) : 0;
    if (rc == 0 && score_wants(metrics, plain))
        rc = value_set_jackknifed(values, metric_names[plain], fids, enough, err);
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
    if ((options->indices || score_kid_varies(samples, reference)) && value_set(values, "kid_std", deviation, err) != 0)
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
                        const uint64_t *rows, const struct features *reference, struct error *err) {
    double numbers[1 + JACKKNIFE_BLOCKS], vendi;
    bool enough = samples->count >= JACKKNIFE_LEAST;
    unsigned metrics = options->metrics;
    if (score_wants(metrics, METRIC_CMMD) && (cmmd_without_blocks(samples, reference, numbers, err) != 0 ||
                                              value_set_jackknifed(values, "cmmd", numbers, enough, err) != 0))
        return -1;
    if (score_wants(metrics, METRIC_MIND) && (mind_without_blocks(samples, reference, numbers, err) != 0 ||
                                              value_set_jackknifed(values, "mind", numbers, enough, err) != 0))
        return -1;
    if (score_wants(metrics, METRIC_VENDI) &&
        (vendi_score(samples, &vendi, err) != 0 || value_set(values, "vendi", vendi, err) != 0))
        return -1;
    if (score_wants(metrics, METRIC_FLD) &&
        score_fld(values, samples, reference, &side_view(options->validation, FEATURES_POOL)->features, err) != 0)
        return -1;
    if (!score_wants(metrics, METRIC_CLIP_SCORE)) return 0;
    if (clip_score_without_blocks(samples, &options->text->views[0].features, rows, numbers, err) != 0) return -1;
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
    if (rc == 0 && score_wants(metrics, METRIC_KID)) rc = score_kid(made, options, mine, theirs, err);
    if (rc == 0 && score_wants(metrics, METRIC_IS))
        rc = score_is(made, &side_view(samples, FEATURES_LOGITS)->features, err);
    if (rc == 0 && score_wants(metrics, METRIC_PRDC)) rc = score_prdc(made, mine, theirs, err);
    if (rc == 0) rc = score_others(made, options, mine, samples->text_rows, theirs, err);
    if (rc == 0) *values = made;
    else json_decref(made);
    return rc;
}

int score_paired(json_t **values, const struct score_options *options, const struct side *samples,
                 const struct side *other, const struct side *reference, struct error *err) {
    struct score_options with = *options;
    with.metrics &= score_of_pairs();
    if (score_check_paired(with.metrics, samples, other, err) != 0) return -1;
    return score(values, &with, other, reference, err);
}
