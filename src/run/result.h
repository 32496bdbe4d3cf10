/* What a set of shards amounts to: its manifest, its metrics, its picture. Rank 0 alone. */
#ifndef RUN_RESULT_H
#define RUN_RESULT_H

#include "base/error.h"
#include "run/document.h"
#include "shard/store.h"

#include <jansson.h>

/* Rewrites manifest.jsonl from what is on disk (infos: one a shard, empty where it is not good), and digests it. */
int result_manifest(const struct run *run, const struct shard_info *infos, char digest[SHA256_HEX], struct error *err);
/* FID of the run's features against its reference, shard by shard in id order. New object. */
int result_metrics(const struct run *run, json_t **metrics, struct error *err);
/* DIR/grid.png: 10 x 10 samples in seed order, one class a row where there are classes. *path new. */
int result_picture(const struct run *run, char **path, struct error *err);

#endif
