/* Reading the records of all attempts on a folder: which of them live. */
#include "run/attempts.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "format/json_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const double SILENCE = 60; /* s without a beat after which an attempt counts as dead */

char *attempts_path(const char *dir, int number) {
    return text_new("%s/log/attempt-%04d.json", dir, number);
}

/* Not a zombie's, which has no program any more. */
static bool process_lives(long pid) {
    char link[64], program[8];
    snprintf(link, sizeof link, "/proc/%ld/exe", pid);
    return readlink(link, program, sizeof program) > 0 || errno == EACCES;
}

static bool is_alive(const json_t *record, double silent) {
    char here[256] = "";
    const char *host = json_string_value(json_object_get(record, "host"));
    if (json_is_string(json_object_get(record, "ended")) || silent > SILENCE) return false;
    gethostname(here, sizeof here - 1);
    if (!host || strcmp(host, here) != 0) return true; /* being written, or elsewhere */
    return process_lives((long)json_integer_value(json_object_get(record, "pid")));
}

static int number_of(const char *name) {
    int number = 0, end = 0;
    return sscanf(name, "attempt-%d.json%n", &number, &end) == 1 && end && name[end] == '\0' ? number : 0;
}

static int by_number(const struct dirent **a, const struct dirent **b) {
    return number_of((*a)->d_name) - number_of((*b)->d_name);
}

static int is_record(const struct dirent *entry) {
    return number_of(entry->d_name) > 0;
}

static int read_record(struct attempts *attempts, const char *dir, int number, double now, struct error *err) {
    char *path = attempts_path(dir, number);
    struct stat info;
    struct error why;
    json_t *record = NULL;
    bool there;
    if (!path) return error_memory(err);
    int rc = file_look(path, &info, &there, err);
    if (rc == 0 && there && (rc = json_file_read_if_there(&record, path, &why)) != 0) {
        if (why.code == CODE_DATA) /* being made, or half-written */
            rc = (record = json_object()) ? 0 : error_memory(err);
        else *err = why;
    }
    free(path);
    if (rc != 0 || !record) return rc;
    if (!json_is_object(record)) {
        json_decref(record);
        return 0;
    }
    double silent = now - timespec_seconds(info.st_mtim);
    json_map_add(&record, "attempt", json_integer(number));
    json_map_add(&record, "silent", json_real(silent > 0 ? silent : 0));
    json_map_add(&record, "alive", json_boolean(is_alive(record, silent)));
    return json_array_append_new(attempts->records, record) == 0 ? 0 : error_memory(err);
}

int attempts_read(struct attempts *attempts, const char *dir, double now, struct error *err) {
    struct timespec time;
    struct dirent **entries = NULL;
    char *folder = text_new("%s/log", dir);
    *attempts = (struct attempts){json_array()};
    int found = folder && attempts->records ? scandir(folder, &entries, is_record, by_number) : -1;
    int rc = folder && attempts->records ? 0 : error_memory(err);
    if (rc == 0 && found < 0 && !file_absent(errno))
        rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    clock_gettime(CLOCK_REALTIME, &time);
    for (int i = 0; i < found; i++) {
        if (rc == 0)
            rc = read_record(attempts, dir, number_of(entries[i]->d_name), now > 0 ? now : timespec_seconds(time), err);
        free(entries[i]);
    }
    free(entries);
    free(folder);
    if (rc != 0) attempts_release(attempts);
    return rc;
}

void attempts_release(struct attempts *attempts) {
    json_decref(attempts->records);
    attempts->records = NULL;
}

int attempts_busy(const char *dir, bool *busy, struct error *err) {
    struct attempts attempts;
    char here[256] = "";
    size_t i;
    json_t *record;
    gethostname(here, sizeof here - 1);
    *busy = false;
    if (attempts_read(&attempts, dir, 0, err) != 0) return -1;
    json_array_foreach(attempts.records, i, record) {
        const char *host = json_string_value(json_object_get(record, "host"));
        bool mine = host && strcmp(host, here) == 0 && json_integer_value(json_object_get(record, "pid")) == getpid();
        *busy |= !mine && json_is_true(json_object_get(record, "alive"));
    }
    attempts_release(&attempts);
    return 0;
}

int attempts_last(const char *dir, int *number, struct error *err) {
    struct attempts attempts;
    if (attempts_read(&attempts, dir, 0, err) != 0) return -1;
    const json_t *last = json_array_get(attempts.records,
                                        json_array_size(attempts.records) - 1); /* NULL: there is none */
    *number = (int)json_integer_value(json_object_get(last, "attempt"));
    attempts_release(&attempts);
    return 0;
}

enum file_owner attempts_judge(const void *context, const char *host, long pid) {
    const struct attempts *attempts = context;
    enum file_owner owner = OWNER_UNKNOWN;
    size_t i, k;
    json_t *record, *process;
    json_array_foreach(attempts->records, i, record) {
        bool alive = json_is_true(json_object_get(record, "alive"));
        json_array_foreach(json_object_get(record, "processes"), k, process) {
            const char *name = json_string_value(json_array_get(process, 0));
            if (!name || strcmp(name, host) != 0 || json_integer_value(json_array_get(process, 1)) != pid) continue;
            if (alive) return OWNER_ALIVE;
            owner = OWNER_DEAD;
        }
    }
    return owner;
}
