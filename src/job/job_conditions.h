/* The key `conditions` of a job: {INPUT: FILE or {path, null}, ..., rows: cycle | each | FILE, captions: FILE}. */
#ifndef JOB_JOB_CONDITIONS_H
#define JOB_JOB_CONDITIONS_H

#include "config/keys.h"
#include "job/job.h"

/* A kind's functions (keys.h); the member is the job. */
int job_read_conditions(KEY_READ_ARGUMENTS);
json_t *job_write_conditions(const struct key *key, const void *member);
void job_release_conditions(struct job *job);
/* Puts the job's own null files, and where it names none the model's, as absolute paths into the card's inputs. */
int job_add_nulls(const struct job *job, struct card *card, struct error *err);

#endif
