/* What binds the metrics of a result (metrics.json, a round's file) to it. */
#ifndef METRIC_SEAL_H
#define METRIC_SEAL_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

#define RESULT_SEAL "metrics_sha256"
int result_seal(json_t *result, struct error *err);
bool result_is_sealed(const json_t *result);  /* they are those that were sealed */
bool result_is_changed(const json_t *result); /* it was sealed, and they are others */

#endif
