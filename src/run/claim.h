/* Whose a run's folder is: its run.json says so. Jobs may start, extend a run and end at one time, or be suspended
 * anywhere and come back, so nothing that was looked at holds until it is used:
 * - run.json is made once, and replaced only as long as it is what was read; one of two different jobs wins.
 * - Every other file is written under a guard that reads run.json again (file_write_guarded): a job that lost its
 * folder, or whose run was extended, replaces nothing of its successor's. */
#ifndef RUN_CLAIM_H
#define RUN_CLAIM_H

#include "base/draft.h"
#include "base/error.h"
#include "run/run.h"

#include <stdbool.h>

/* Replaces a JSON file as long as nobody else changes it meanwhile; else it begins again. change: makes the new value
 * of the older one (NULL: none). An older one that is no JSON is CODE_DATA, or, where it can be made anew, none. */
typedef int claim_change(void *context, const json_t *older, json_t **newer, struct error *err);
int claim_update(const char *path, bool anew, claim_change *change, void *context, struct error *err);

/* Looks for an older run in the document's folder: its plan replaces the document's. CODE_DATA: document_extends says
 * no, and the older run holds samples or metrics, or a job is at work on it. */
int claim_settle(json_t *document, struct error *err);
/* Settles again, at a time when other jobs can see this one's attempt, and writes run.json. What an older job that made
 * no sample left is removed; its failures are on record in dir, under this cell's name (failures.h). unsynced: of many
 * runs, whose run.json are durable after one file_system_sync; one that says the same already stays. */
int claim_take(const struct run *run, const char *dir, const char *cell, bool unsynced, struct error *err);
/* A member of the document and of run.json that is no part of the fingerprint: set, or with what is new added to the
 * array or object that is there; "hosts" are replaced. "stopped": CODE_DATA as of claim_check. */
int claim_note(const struct run *run, const char *key, const json_t *value, struct error *err);
/* Is the folder this run's still? CODE_DATA: not, in the words of document_extends, or as another job has begun there
 * that lets another rule decide how many samples there are (evaluate.until, a race, none). */
int claim_check(const struct run *run, struct error *err);
/* As guards: of what depends on all seeds (context: struct run), and of a whole shard or a round, which a longer run
 * holds as well. */
int claim_guard(const void *run, const char *replaced, struct error *err);
int claim_guard_shard(const void *run, const char *replaced, struct error *err);

#endif
