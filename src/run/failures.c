#include "run/failures.h"

#include "base/crash.h"
#include "base/draft.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"
#include "run/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    int fd, rank;
    char host[256];
} record = {.fd = -1};

static char *record_path(const char *dir) {
    return text_new("%s/log/failures.jsonl", dir);
}

int failures_open(const char *dir, int rank, struct error *err) {
    char *path = record_path(dir);
    if (!path) return error_memory(err);
    record.fd = file_open(path, O_WRONLY | O_CREAT | O_APPEND, err);
    record.rank = rank;
    gethostname(record.host, sizeof record.host - 1);
    if (record.fd >= 0) crash_record(record.fd);
    free(path);
    return record.fd >= 0 ? 0 : -1;
}

void failures_close(void) {
    if (record.fd < 0) return;
    crash_record(-1);
    close(record.fd);
    record.fd = -1;
}

/* New text of an object without its closing brace's neighbours: {"shard": 12, ...} -> "shard": 12, ... */
static char *members_of(const char *cell, uint64_t shard, const char *reason) {
    json_t *json = json_pack("{s:s*, s:I, s:i, s:s, s:s*}", "cell", cell, "shard", (json_int_t)shard, "rank", record.rank,
                             "host", record.host, "reason", reason);
    char *text = json ? json_dumps(json, 0) : NULL;
    json_decref(json);
    if (!text) return NULL;
    size_t length = strlen(text);
    memmove(text, text + 1, length);
    text[length - 2] = '\0';
    return text;
}

void failures_note(const char *cell, uint64_t shard, const char *reason) {
    char *clean = strdup(reason);
    if (clean) text_make_utf8(clean);
    char *members = members_of(cell, shard, clean), *line = members ? text_new("{%s}\n", members) : NULL;
    size_t length = line ? strlen(line) : 0;
    if (!line || record.fd < 0 || write(record.fd, line, length) != (ssize_t)length || fsync(record.fd) != 0)
        log_warn("shard %" PRIu64 ": its failure is not on record, and the next job tries it again", shard);
    free(line);
    free(members);
    free(clean);
}

int failures_thread_start(struct error *err) {
    return crash_thread_start(err);
}

void failures_thread_end(void) {
    crash_thread_end();
}

void failures_begin(const char *cell, uint64_t shard) {
    char *members = members_of(cell, shard, NULL);
    crash_note(members ? members : "");
    free(members);
}

void failures_rest(void) {
    crash_note("");
}

int failures_read(json_t **failures, const char *dir, struct error *err) {
    char *path = record_path(dir), *data = NULL, *rest = NULL;
    size_t size;
    *failures = json_array();
    int rc = path && *failures ? 0 : error_memory(err);
    if (rc == 0) rc = file_read_if_there(path, &data, &size, err);
    for (char *line = data ? strtok_r(data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *failure = json_loads(line, 0, NULL);
        if (json_is_object(failure)) json_array_append(*failures, failure);
        json_decref(failure);
    }
    free(data);
    free(path);
    if (rc != 0) {
        json_decref(*failures);
        *failures = NULL;
    }
    return rc;
}

static bool is_of(const json_t *failure, const char *cell) {
    const char *where = json_string_value(json_object_get(failure, "cell"));
    return cell && where ? strcmp(cell, where) == 0 : !cell && !where;
}

int failures_forget(const char *dir, const char *cell, struct error *err) {
    json_t *failures = NULL, *failure;
    struct text text = {0};
    char *path = record_path(dir);
    size_t i;
    int rc = path ? failures_read(&failures, dir, err) : error_memory(err);
    json_array_foreach(failures, i, failure) {
        char *line = is_of(failure, cell) ? NULL : json_dumps(failure, 0);
        if (line) text_add(&text, "%s\n", line);
        free(line);
    }
    if (rc == 0 && text.failed) rc = error_memory(err);
    if (rc == 0 && text.length > 0) rc = file_write_atomic(path, text.data, text.length, err);
    else if (rc == 0 && unlink(path) != 0 && errno != ENOENT)
        rc = error_set(err, CODE_IO, "cannot remove %s: %s", path, strerror(errno));
    json_decref(failures);
    text_free(&text);
    free(path);
    return rc;
}

int failures_count(const json_t *failures, const char *cell, uint64_t shard, const json_t **last) {
    int count = 0;
    size_t i;
    json_t *failure;
    if (last) *last = NULL;
    json_array_foreach(failures, i, failure) {
        const json_t *number = json_object_get(failure, "shard");
        if (!is_of(failure, cell) || !json_is_integer(number) || (uint64_t)json_integer_value(number) != shard) continue;
        count++;
        if (last) *last = failure;
    }
    return count;
}

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
    json_t *json = json_pack("{s:I, s:s, s:I, s:i, s:s, s:O?, s:O?}", "shard", (json_int_t)shard, "seeds", seeds ? seeds : "",
                             "samples", (json_int_t)layout_rows(&run->layout, (shard_id){shard}), "tries",
                             tries > 2 ? tries : 2, "reason", reason ? reason : "its ranks were lost", "rank",
                             json_object_get(last, "rank"), "host", json_object_get(last, "host"));
    free(seeds);
    return json;
}

int quarantine_write(const struct run *run, const char *dir, const char *cell, const uint64_t *shards, uint64_t count,
                     json_t **shards_out, struct error *err) {
    json_t *failures = NULL, *list = json_array();
    char *path = quarantine_path(run->dir), *record_file = record_path(dir);
    char *retry = record_file ? text_new("delete %s and run the job again", record_file) : NULL;
    int rc = path && list && retry ? failures_read(&failures, dir, err) : error_memory(err);
    for (uint64_t i = 0; rc == 0 && i < count; i++)
        if (json_array_append_new(list, entry(run, failures, cell, shards[i])) != 0) rc = error_memory(err);
    const struct file_guard guard = {claim_guard, run};
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
            rc = error_set(err, CODE_DATA, "%s: shards: expected objects with the numbers shard and samples and the texts seeds "
                           "and reason; it is written again when the job is run again", path);
    *shards = rc != 0 ? NULL : list ? json_incref((json_t *)list) : json_array();
    json_decref(json);
    free(path);
    return rc;
}

const json_t *quarantine_find(const json_t *shards, uint64_t shard) {
    size_t i;
    json_t *one;
    json_array_foreach(shards, i, one)
        if ((uint64_t)json_integer_value(json_object_get(one, "shard")) == shard) return one;
    return NULL;
}
