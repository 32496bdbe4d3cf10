/* A shard that failed twice, in whatever job (failures.h), and is still missing is quarantined: left out, and named in
 * DIR/quarantine.json,
 *   {"retry": how to try again, "shards": [{"shard", "seeds": "3072-3327", "samples", "tries", "reason", "rank",
 * "host"}]} which is there only while something is. Not collective: rank 0 writes it. */
#ifndef RUN_QUARANTINE_H
#define RUN_QUARANTINE_H

#include "base/error.h"
#include "run/run.h"

#include <jansson.h>
#include <stdint.h>

/* Writes run's quarantine.json for these shards, or removes it when there are none. dir: of the record. *shards_out
 * (may be NULL): its "shards", new. */
int quarantine_write(const struct run *run, const char *dir, const char *cell, const uint64_t *shards, uint64_t count,
                     json_t **shards_out, struct error *err);
/* "shards" of DIR/quarantine.json, new; an empty array where there is none. */
int quarantine_read(json_t **shards, const char *dir, struct error *err);
/* Is it one of these? Returns its entry (borrowed), or NULL. */
const json_t *quarantine_find(const json_t *shards, uint64_t shard);

#endif
