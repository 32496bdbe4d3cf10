/* The run document: all that determines a run, as one JSON value. Rank 0 makes it from a job (or reads it from a run
 * directory's run.json), every rank gets the same text and opens it; so one process reads the job, and a resumed run
 * executes the stored plan. What else a sampler needs (rk45's tolerances) is resolved from the job again: that it is
 * what the run began with is checked by the fingerprint's keys (document_extends for a job, run_check for a directory).
 */
#ifndef RUN_DOCUMENT_H
#define RUN_DOCUMENT_H

#include "base/draft.h"
#include "base/error.h"
#include "cluster/comm.h"
#include "job/card.h"
#include "job/job.h"
#include "solver/plan.h"

#include <jansson.h>

struct automatic;

/* Job -> plan (packed) -> fingerprint -> document (new). Touches no disk but for reading; warns (log) about the plan.
 * automatic: decides what the job leaves to be measured; NULL: nothing is (automatic.h). */
int document_make(json_t **document, const struct job_file *file, const char *const *overrides, size_t overrides_count,
                  struct automatic *automatic, struct error *err);
/* What document_make says about a job alone, without reading model weights: for `plan`. The model file's card is still
 * needed unless the job gives a whole one. All outputs new. */
int document_plan(struct job *job, struct card *card, struct sampler *sampler, struct plan *plan,
                  const struct job_file *file, const char *const *overrides, size_t overrides_count,
                  struct automatic *automatic, struct error *err);
/* Tells (log) what is doubted of the table or plan of a job that document_plan took (solver/made.h); where a file of
 * the job can't be read, what it was fitted under is not compared: that is a run's error. */
int document_doubts(const struct job *job, const struct card *card, const struct sampler *sampler,
                    const struct plan *plan, struct error *err);
size_t document_sample_bytes(const struct job *job, const struct card *card); /* of one sample, as it is stored */
/* How many of its `all` seeds a run that was stopped early has samples of; else all. Its "stopped" (see pace.h of
 * work) says so. */
uint64_t document_samples(const json_t *document, uint64_t all);
/* New: DIR/run.json. */
int document_read(json_t **document, const char *dir, struct error *err);
/* The job's decoders behind its first one, k = 0, 1, ...: {"path", "batch", "name"}; NULL: there are no more. */
const json_t *document_decoder(const json_t *document, size_t k);
#define DECODED_FOLDER "decoded" /* of the run: its NAME is a run of that decoder's pictures */
/* A document's plan: new. Documents of a sweep's cells keep it packed, which takes a small part of the memory. */
int document_plan_json(json_t **json, const json_t *document, struct error *err);
int document_read_plan(struct plan *plan, const json_t *document, struct error *err);
/* Writes a run.json: a plan that was packed is on one line of it. */
int document_write(const char *path, const json_t *document, const struct file_guard *guard, struct error *err);
/* 0: the document goes on with what `older`, found in dir, began. Another fingerprint, another shard size or a seed
 * list that is no prefix of the new one is CODE_DATA. */
int document_extends(const json_t *document, const json_t *older, const char *dir, struct error *err);
/* Collective: rank 0's document (NULL: its *err) at every rank. *document is new at the others. Errors as in
 * ranks_agree. */
int document_share(struct comm *comm, json_t **document, struct error *err);

#endif
