/* What a complete set of shards amounts to: its metrics and its picture. Rank 0 alone. */
#ifndef RUN_RESULT_H
#define RUN_RESULT_H

#include "base/error.h"
#include "run/document.h"

#include <jansson.h>

/* FID of the run's features against its reference, shard by shard in id order. New object. */
int result_metrics(const struct run *run, json_t **metrics, struct error *err);
/* DIR/grid.png: 10 x 10 samples in seed order, one class a row where there are classes. *path new. */
int result_picture(const struct run *run, char **path, struct error *err);

#endif
