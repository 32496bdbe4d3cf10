/* One run from start to finish: scan what is there, make what is missing, verify, list, evaluate, report. */
#ifndef RUN_PIPELINE_H
#define RUN_PIPELINE_H

#include "base/error.h"
#include "cluster/comm.h"
#include "eval/side.h"
#include "run/document.h"

#include <jansson.h>
#include <stdbool.h>

struct pipeline_options {
    bool make_samples; /* false: missing samples are an error that names the gap (`evaluate`) */
    bool evaluate;     /* features and metrics, where the job has an `evaluate:` block */
    bool defer;        /* features now, metrics later by pipeline_conclude */
    const struct side *reference; /* of the job, read before; NULL: it is read */
    uint64_t count;    /* evaluates only the first so many samples; 0: as the job says */
};

/* Collective. Installs handlers for TERM, INT and USR1, which stop the run with CODE_AGAIN. On success *result (new, rank
 * 0 only) is what metrics.json holds. Takes over the reference to document. *lost: some rank died; do not wait for it
 * in MPI. */
int pipeline_run(struct comm *comm, json_t *document, const char *dir, const struct pipeline_options *options,
                 json_t **result, bool *lost, struct error *err);
/* Not collective: verifies a whole run and computes its metrics in this process. Else as above. */
int pipeline_conclude(json_t *document, const struct side *reference, json_t **result, struct error *err);

#endif
