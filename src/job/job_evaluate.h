/* The key `evaluate` of a job: {features: NETWORK or a list, reference: FILE, a list or a map, metrics, count}. */
#ifndef JOB_JOB_EVALUATE_H
#define JOB_JOB_EVALUATE_H

#include "config/keys.h"
#include "job/job.h"

/* A kind's functions (keys.h); the member is the job. */
int job_read_evaluate(KEY_READ_ARGUMENTS);
json_t *job_write_evaluate(const struct key *key, const void *member);
void job_release_evaluate(struct job *job);

#endif
