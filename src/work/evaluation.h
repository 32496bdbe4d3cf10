/* The evaluation of a run: the features of its samples, what they are compared with, and the metrics. Nothing here is
 * collective; each function may be called by any one thread, but for one run only by one at a time. `network` is the
 * number of a feature network of the job's, as in run->evaluated. */
#ifndef WORK_EVALUATION_H
#define WORK_EVALUATION_H

#include "base/error.h"
#include "eval/side.h"
#include "run/run.h"

#include <jansson.h>

/* Memory for the wanted features of the first evaluate.count samples (0: of all): [FEATURE_FILES], rows NULL where
 * not wanted. scan_shard fills it. */
int evaluation_room(const struct run *run, struct features *features, struct error *err);
/* Makes a side of what was read of one network into it. Takes its features over, on failure too. *side:
 * side_release. */
int evaluation_take(const struct run *run, size_t network, struct features *features, struct side *side,
                    struct error *err);
/* evaluation_room, a scan of the shards that are needed, evaluation_take: the features in the order of the seeds.
 * CODE_AGAIN: shards are missing. */
int evaluation_side(const struct run *run, size_t network, struct side *side, struct error *err);
/* Reads a file that a network is evaluated with; CODE_DATA where its sha256 is not the one that ranks agreed on (if
 * they have). */
int evaluation_reference(const struct run *run, size_t network, enum evaluated_file which, struct side *reference,
                         struct error *err);
/* Can the job's metrics be computed with these sides of its files (NULL: none), its feature network and as many samples
 * as there will be? warn: logs where they will mean little. */
int evaluation_fits(const struct run *run, size_t network, const struct side *const files[EVALUATED_FILES], bool warn,
                    struct error *err);
/* The same before there is a run; files: false where networks and references need not be there yet. */
int evaluation_foresee(const struct job *job, const struct card *card, bool files, struct error *err);
/* What the metrics depend on besides the samples. New object; NULL where nothing is evaluated. */
int evaluation_inputs(const struct run *run, json_t **inputs, struct error *err);
/* Which text each of so many samples has, by its conditions' row: new; NULL: out of memory. */
uint64_t *evaluation_text_rows(const struct run *run, size_t count);
/* Adds one network's metrics to `metrics`, and what they were computed with: of several networks under the names
 * NETWORK.METRIC, and what they were computed with to `networks` under NETWORK (NULL where there is one). */
int evaluation_metrics(const struct run *run, size_t network, const struct side *samples,
                       const struct side *const files[EVALUATED_FILES], json_t *metrics, json_t *networks,
                       struct error *err);

/* Warns where the metrics of all seeds of a run that ended are not as exact as its evaluate.until asks. */
void evaluation_unreached(const struct run *run);

#endif
