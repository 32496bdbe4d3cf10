/* From accumulated features to the numbers of metrics.json. */
#ifndef EVAL_SCORE_H
#define EVAL_SCORE_H

#include "base/error.h"
#include "eval/moments.h"
#include "eval/network.h"

#include <jansson.h>

/* Would score_fid take this reference? Asked before anything is computed. */
int score_check(const struct network *network, const char *reference_path, struct error *err);

/* FID of the samples' features (at least two samples) against a reference file. *score is new:
 * {"fid", "samples", "reference": {"path", "count", "sha256"}, "network": {"output", "dim", "sha256"}}; count is
 * null where the file does not say. A reference that names another feature network, or has another dimension, is
 * CODE_DATA. */
int score_fid(json_t **score, const struct moments *moments, const struct network *network, const char *reference_path,
              struct error *err);

#endif
