/* The numbers of metrics.json, from two sides. */
#ifndef METRIC_SCORE_H
#define METRIC_SCORE_H

#include "base/error.h"
#include "eval/side.h"
#include "job/job.h"
#include "metric/mmd.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct score_options {
    unsigned metrics;       /* bits 1 << METRIC_... */
    const int64_t *indices; /* of KID's subsets, [subsets][2][size]; NULL: drawn */
    size_t subsets, size;
    const struct side *validation; /* a second reference, of fld and fdr; NULL: none */
    const struct side *text;       /* features of texts, of clip-score; NULL: none */
};

static inline bool score_wants(unsigned metrics, enum metric metric) {
    return metrics >> metric & 1;
}
/* Subsets of a set no larger than they are would all be the same. */
static inline bool score_kid_varies(const struct features *samples, const struct features *reference) {
    return samples->count > KID_SUBSET_SIZE && reference->count > KID_SUBSET_SIZE;
}

/* Are so many samples enough for the metrics? Names the first that needs more, and how many. */
int score_enough(unsigned metrics, uint64_t count, struct error *err);
/* Do the sides go together, and have they what the metrics need? Also of sides that are only foreseen, so that it is
 * said before images go through a network for hours. Names the metric and the side. */
int score_check(const struct score_options *options, const struct side *samples, const struct side *reference,
                struct error *err);

/* Metrics, as bits 1 << METRIC_..., that need every feature of the reference; that take nothing of it. */
unsigned score_of_every_feature(void);
unsigned score_without_reference(void);
/* Those that have blocks, and so paired differences. */
unsigned score_of_pairs(void);

/* Has each of two sides features of samples enough for the paired differences of these metrics, and both as many? */
int score_check_paired(unsigned metrics, const struct side *samples, const struct side *other, struct error *err);

/* Says (log) where the numbers will mean little: for sides that go together. */
void score_warn(const struct score_options *options, const struct side *samples, const struct side *reference);

/* Says (log) which of them have no paired difference. */
void score_warn_unpaired(unsigned metrics);

/* A new object with, by metric:
 *   fid            fid, and where there are features of JACKKNIFE_LEAST samples fid_corrected, fid_error, fid_low,
 *                  fid_high: see precision.h; and fid_without, [JACKKNIFE_BLOCKS], the FID without each block
 *   sfid           the same names with sfid, of the spatial features
 *   fid_infinity   fid_infinity
 *   kid            kid and, where both sides have more than a subset, kid_std over subsets; kid_full over all pairs,
 *                  and the names that fid has with kid_full
 *   is             is, is_std (the samples' features are logits)
 *   prdc           precision, recall, density, coverage
 *   mind           the same names as fid's, with mind
 *   vendi          vendi
 *   fld            fld, fld_gap
 *   fdr, clip-score the same names as fid's
 *   cmmd           cmmd, and where there are features of JACKKNIFE_LEAST samples the names that fid has with cmmd */
int score(json_t **values, const struct score_options *options, const struct side *samples,
          const struct side *reference, struct error *err);

/* Of a set that shares its seeds with `samples`, row by row: a new object with those of the metrics that have blocks,
 * for values_difference. CODE_DATA: one of the two has not what a difference needs. */
int score_paired(json_t **values, const struct score_options *options, const struct side *samples,
                 const struct side *other, const struct side *reference, struct error *err);

#endif
