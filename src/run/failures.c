/* failures.jsonl: what failed, across jobs. */
#include "run/failures.h"

#include "base/crash.h"
#include "base/draft.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"

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

char *failures_path(const char *dir) {
    return text_new("%s/log/failures.jsonl", dir);
}

int failures_open(const char *dir, int rank, struct error *err) {
    char *path = failures_path(dir);
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

/* New text of an object without its braces, to which a crash adds its reason: "shard": 12, ... */
static char *members_of(const char *cell, uint64_t shard, const char *reason) {
    json_t *json = json_pack("{s:s*, s:I, s:i, s:s, s:s*}", "cell", cell, "shard", (json_int_t)shard, "rank",
                             record.rank, "host", record.host, "reason", reason);
    char *text = json ? json_text(json, 0) : NULL;
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
    char *path = failures_path(dir), *data = NULL, *rest = NULL;
    size_t size;
    *failures = json_array();
    int rc = path && *failures ? 0 : error_memory(err);
    if (rc == 0) rc = file_read_if_there(path, &data, &size, err);
    for (char *line = data ? strtok_r(data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *failure = json_loads(line, 0, NULL);
        if (json_is_object(failure)) json_list_add(failures, failure);
        else json_decref(failure);
    }
    if (rc == 0 && !*failures) rc = error_memory(err);
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
    char *path = failures_path(dir);
    size_t i;
    int rc = path ? failures_read(&failures, dir, err) : error_memory(err);
    json_array_foreach(failures, i, failure) {
        if (is_of(failure, cell)) continue;
        char *line = json_text(failure, 0);
        text_add(&text, "%s\n", line ? line : "");
        text.failed |= !line;
        free(line);
    }
    if (rc == 0 && text.failed) rc = error_memory(err);
    if (rc == 0 && text.length > 0) rc = file_write_atomic(path, text.data, text.length, err);
    else if (rc == 0 && unlink(path) != 0 && errno != ENOENT)
        rc = error_set(err, CODE_IO, "cannot remove %s: %s", path, strerror(errno));
    json_decref(failures);
    text_release(&text);
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
        if (!is_of(failure, cell) || !json_is_integer(number) || (uint64_t)json_integer_value(number) != shard)
            continue;
        count++;
        if (last) *last = failure;
    }
    return count;
}
