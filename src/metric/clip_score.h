/* CLIP score: 100 times the cosine of an image's features and its text's, negative ones as 0, on average. Hessel et al.
 * 2021, arXiv:2104.08718, scaled as torchmetrics does. In double. */
#ifndef METRIC_CLIP_SCORE_H
#define METRIC_CLIP_SCORE_H

#include "base/error.h"
#include "eval/features.h"
#include "eval/precision.h"

#include <stdint.h>

/* rows [images->count]: which row of `texts` each image has; NULL: its own place. scores[0]: of all images; scores[1 +
 * k]: without block k, where there are JACKKNIFE_LEAST images, else left alone. A row beyond the texts, or of zeros, is
 * CODE_DATA. */
int clip_score_without_blocks(const struct features *images, const struct features *texts, const uint64_t *rows,
                              double scores[1 + JACKKNIFE_BLOCKS], struct error *err);

#endif
