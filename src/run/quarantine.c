/* quarantine.json: the shards that a run was concluded without. */
#include "run/quarantine.h"

#include "base/files.h"
#include "base/text.h"
#include "format/json_file.h"
#include "run/claim.h"
#include "run/failures.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *quarantine_path(const char *dir) {
    return text_new("%s/quarantine.json", dir);
}

/* New text of a shard's seeds, "3072-3327"; NULL when out of memory. */
static char *seeds_of(const struct run *run, shard_id shard) {
    uint64_t first = layout_first(&run->layout, shard), rows = layout_rows(&run->layout, shard);
    uint64_t *seeds = malloc(rows * sizeof *seeds);
    for (uint64_t i = 0; seeds && i < rows; i++) seeds[i] = seeds_at(&run->job.seeds, first + i);
    char *text = seeds ? store_seeds(seeds, rows) : NULL;
    free(seeds);
    return text;
}

static json_t *entry(const struct run *run, const json_t *failures, const char *cell, uint64_t shard) {
    const json_t *last;
    int tries = failures_count(failures, cell, shard, &last);
    char *seeds = seeds_of(run, (shard_id){shard});
    const char *reason = json_string_value(json_object_get(last, "reason"));
    json_t *json = json_pack("{s:I, s:s, s:I, s:i, s:s, s:O?, s:O?}", "shard", (json_int_t)shard, "seeds", seeds,
                             "samples", (json_int_t)layout_rows(&run->layout, (shard_id){shard}), "tries",
                             tries > 2 ? tries : 2, "reason", reason ? reason : "its ranks were lost", "rank",
                             json_object_get(last, "rank"), "host", json_object_get(last, "host"));
    free(seeds);
    return json;
}

int quarantine_write(const struct run *run, const char *dir, const char *cell, const uint64_t *shards, uint64_t count,
                     json_t **shards_out, struct error *err) {
    json_t *failures = NULL, *list = json_array();
    char *path = quarantine_path(run->dir), *record_file = failures_path(dir);
    char *retry = record_file ? text_new("delete %s and run the job again", record_file) : NULL;
    int rc = path && list && retry ? failures_read(&failures, dir, err) : error_memory(err);
    for (uint64_t i = 0; rc == 0 && i < count; i++)
        if (json_array_append_new(list, entry(run, failures, cell, shards[i])) != 0) rc = error_memory(err);
    const struct file_guard guard = {.check = claim_guard, .context = run};
    bool there = false;
    if (rc == 0 && count == 0) rc = file_exists(path, &there, err);
    if (there) rc = claim_check(run, err);
    if (rc == 0 && there && unlink(path) != 0 && !file_absent(errno))
        rc = error_set(err, CODE_IO, "cannot remove %s: %s", path, strerror(errno));
    if (rc == 0 && count > 0) {
        json_t *json = json_pack("{s:s, s:O}", "retry", retry, "shards", list);
        rc = json ? json_file_write_guarded(path, json, &guard, err) : error_memory(err);
        json_decref(json);
    }
    if (shards_out) *shards_out = rc == 0 ? json_incref(list) : NULL;
    json_decref(list);
    json_decref(failures);
    free(retry);
    free(record_file);
    free(path);
    return rc;
}

static bool is_entry(const json_t *shard) {
    return json_is_integer(json_object_get(shard, "shard")) && json_is_integer(json_object_get(shard, "samples")) &&
           json_is_string(json_object_get(shard, "seeds")) && json_is_string(json_object_get(shard, "reason"));
}

int quarantine_read(json_t **shards, const char *dir, struct error *err) {
    char *path = quarantine_path(dir);
    json_t *json = NULL;
    int rc = path ? 0 : error_memory(err);
    if (rc == 0) rc = json_file_read_if_there(&json, path, err);
    const json_t *list = json_object_get(json, "shards");
    if (rc == 0 && json && !json_is_array(list)) rc = error_set(err, CODE_DATA, "%s: shards: expected a list", path);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        if (!is_entry(json_array_get(list, i)))
            rc = error_set(err, CODE_DATA,
                           "%s: shards: expected objects with the numbers shard and samples and the texts seeds and "
                           "reason; it is written again when the job is run again",
                           path);
    *shards = rc != 0 ? NULL : list ? json_incref((json_t *)list) : json_array();
    json_decref(json);
    free(path);
    return rc;
}

const json_t *quarantine_find(const json_t *shards, uint64_t shard) {
    size_t i;
    json_t *one;
    json_array_foreach(shards, i,
                       one) if ((uint64_t)json_integer_value(json_object_get(one, "shard")) == shard) return one;
    return NULL;
}
