/* What failed, across jobs. DIR/log/failures.jsonl (of a run, or of a whole sweep) has one line a failure of a shard,
 * appended by the rank it happened on, by a crashing one too:
 *   {"cell": NAME (sweeps only), "shard": 12, "rank": 3, "host": "node1", "reason"}
 * A shard that failed twice and is still missing is quarantined: left out, and named in DIR/quarantine.json,
 *   {"retry": how to try again, "shards": [{"shard", "seeds": "3072-3327", "samples", "tries", "reason", "rank", "host"}]}
 * which is there only while something is. */
#ifndef RUN_FAILURES_H
#define RUN_FAILURES_H

#include "base/error.h"
#include "run/document.h"

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

/* New array of the record's objects; lines that are not whole are passed over. */
int failures_read(json_t **failures, const char *dir, struct error *err);
/* Takes a cell's lines (cell NULL: no sweep's) out of it. */
int failures_forget(const char *dir, const char *cell, struct error *err);
/* How often a shard failed; *last (may be NULL): the last time, borrowed, or NULL. */
int failures_count(const json_t *failures, const char *cell, uint64_t shard, const json_t **last);

/* Writes run's quarantine.json for these shards, or removes it when there are none. dir: of the record. *shards_out (may
 * be NULL): its "shards", new. */
int quarantine_write(const struct run *run, const char *dir, const char *cell, const uint64_t *shards, uint64_t count,
                     json_t **shards_out, struct error *err);
/* "shards" of DIR/quarantine.json, new; an empty array where there is none. */
int quarantine_read(json_t **shards, const char *dir, struct error *err);
/* Is it one of these? Returns its entry (borrowed), or NULL. */
const json_t *quarantine_find(const json_t *shards, uint64_t shard);

#endif
