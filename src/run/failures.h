/* What failed, across jobs. DIR/log/failures.jsonl (of a run, or of a whole sweep) has one line a failure of a shard,
 * appended by the rank it happened on, by a crashing one too:
 *   {"cell": NAME (sweeps only), "shard": 12, "rank": 3, "host": "node1", "reason"}
 * A shard that failed twice and is still missing is quarantined (quarantine.h). */
#ifndef RUN_FAILURES_H
#define RUN_FAILURES_H

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>

/* Opens the record of a folder, whose log folder exists, for this process; crashes of worker threads go there too. */
int failures_open(const char *dir, int rank, struct error *err);
void failures_close(void);
void failures_note(const char *cell, uint64_t shard, const char *reason); /* appends; cell NULL: no sweep */

/* A worker thread's start and end, and what it is at in between: a crash now is that shard's. */
int failures_thread_start(struct error *err);
void failures_thread_end(void);
void failures_begin(const char *cell, uint64_t shard);
void failures_rest(void);

char *failures_path(const char *dir); /* of the record; new, NULL when out of memory */
/* New array of the record's objects; lines that are not whole are passed over. */
int failures_read(json_t **failures, const char *dir, struct error *err);
/* Takes a cell's lines (cell NULL: no sweep's) out of it. */
int failures_forget(const char *dir, const char *cell, struct error *err);
/* How often a shard failed; *last (may be NULL): the last time, borrowed, or NULL. */
int failures_count(const json_t *failures, const char *cell, uint64_t shard, const json_t **last);

#endif
