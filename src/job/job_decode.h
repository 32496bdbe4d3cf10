/* The key `decode` of a job: {path, batch}, or a list of them, of which all but the first may have a name. */
#ifndef JOB_JOB_DECODE_H
#define JOB_JOB_DECODE_H

#include "config/keys.h"
#include "job/job.h"

/* A kind's functions (keys.h); the member is the job. */
int job_read_decode(KEY_READ_ARGUMENTS);
json_t *job_write_decode(const struct key *key, const void *member);
void job_release_decode(struct job *job);

#endif
