/* The numbers of metrics.json, from two sides. */
#ifndef METRIC_SCORE_H
#define METRIC_SCORE_H

#include "base/error.h"
#include "eval/side.h"
#include "job/job.h"

#include <jansson.h>
#include <stdint.h>

struct score_options {
    unsigned metrics;       /* bits 1 << METRIC_... */
    const int64_t *indices; /* of KID's subsets, [subsets][2][size]; NULL: drawn */
    size_t subsets, size;
    const struct side *validation; /* a second reference, of fld and fdr; NULL: none */
    const struct side *text;       /* features of texts, of clip-score; NULL: none */
    const uint64_t *text_rows;     /* which of them a sample has; NULL: its own place */
};

/* Are so many samples enough for the metrics? Names the first that needs more, and how many. */
int score_enough(unsigned metrics, uint64_t count, struct error *err);
/* Do the sides go together, and have they what the metrics need? Names the metric and the side. */
int score_check(const struct score_options *options, const struct side *samples, const struct side *reference,
                struct error *err);

/* Before anything is read: can the metrics be had of a reference (samples, validation set) that is `held`, statistics
 * of dim 1 where a file holds just these? Names the metric and the side. */
enum score_side { SCORE_SAMPLES, SCORE_REFERENCE, SCORE_VALIDATION };
int score_foresee(unsigned metrics, enum score_side which, const struct side *held, struct error *err);
/* The same of sides that are not given. */
int score_given(unsigned metrics, bool validation, bool text, struct error *err);

/* Metrics, as bits 1 << METRIC_..., that need every feature of the reference; that take nothing of it. */
unsigned score_of_every_feature(void);
unsigned score_without_reference(void);

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

/* Of sets that share their seeds, row by row: values_difference of the metrics that have blocks. values: what score
 * made of `samples`; it may be `to`. */
int score_difference(json_t *to, const struct score_options *options, const struct side *samples, const json_t *values,
                     const struct side *other, const struct side *reference, struct error *err);

#endif
