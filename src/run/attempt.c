/* The attempt of this job: its record, kept alive by a thread of rank 0. */
#include "run/attempt.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "format/json_file.h"
#include "run/attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const double BEAT = 10; /* s between beats */
static const double VIEW = 5;  /* s in which a new file must show on all nodes */

struct attempt {
    char *path;
    json_t *record;
    struct attempts others; /* at the start */
    int ahead;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t change;
    double rate, eta; /* eta: 0 unknown */
    int ranks;
    bool ending, warned;
};

/* Written with the lock held, or when there is no thread. */
static int write_record(struct attempt *attempt, struct error *err) {
    char stamp[32];
    clock_stamp(stamp);
    int failed = json_object_set_new(attempt->record, "rate", json_real(attempt->rate)) |
                 json_object_set_new(attempt->record, "eta_seconds",
                                     attempt->eta > 0 ? json_real(attempt->eta) : json_null()) |
                 json_object_set_new(attempt->record, "ranks", json_integer(attempt->ranks)) |
                 json_object_set_new(attempt->record, "beat", json_string(stamp));
    return failed ? error_memory(err) : json_file_write(attempt->path, attempt->record, err);
}

static void *keep_alive(void *context) {
    struct attempt *attempt = context;
    struct timespec until;
    struct error err;
    pthread_mutex_lock(&attempt->lock);
    while (!attempt->ending) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)BEAT;
        if (pthread_cond_timedwait(&attempt->change, &attempt->lock, &until) != ETIMEDOUT || attempt->ending) continue;
        if (write_record(attempt, &err) != 0 && !attempt->warned) {
            attempt->warned = true;
            log_warn("other jobs will take this one for dead: %s", err.message);
        }
    }
    pthread_mutex_unlock(&attempt->lock);
    return NULL;
}

/* Signals are for the other threads. */
static int start_thread(struct attempt *attempt, struct error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&attempt->thread, NULL, keep_alive, attempt);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? error_set(err, CODE_INTERNAL, "cannot start a thread: %s", strerror(failed)) : 0;
}

struct identity { /* of a rank */
    char host[256];
    int64_t pid;
};

static json_t *slurm_name(void) {
    const char *job = getenv("SLURM_JOB_ID"), *step = getenv("SLURM_STEP_ID");
    char *name = job ? text_new("%s%s%s", job, step ? "." : "", step ? step : "") : NULL;
    json_t *json = name ? json_string(name) : json_null();
    free(name);
    return json;
}

static json_t *new_record(const struct identity *ranks, int size, const char *nonce) {
    char stamp[32];
    json_t *processes = json_array();
    clock_stamp(stamp);
    for (int i = 0; i < size; i++)
        json_list_add(&processes, json_pack("[s, I]", ranks[i].host, (json_int_t)ranks[i].pid));
    return json_pack("{s:s, s:I, s:o, s:s, s:n, s:s, s:o}", "host", ranks[0].host, "pid", (json_int_t)ranks[0].pid,
                     "slurm", slurm_name(), "started", stamp, "ended", "nonce", nonce, "processes", processes);
}

/* Takes the next number, exclusively. */
static int claim(struct attempt *attempt, const char *dir, int *number, struct error *err) {
    if (attempts_last(dir, number, err) != 0) return -1;
    for (int fd = -1; fd < 0;) {
        free(attempt->path);
        if (!(attempt->path = attempts_path(dir, ++*number))) return error_memory(err);
        fd = open(attempt->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            return error_set(err, CODE_IO, "cannot create %s: %s", attempt->path, strerror(errno));
        if (fd >= 0) close(fd);
    }
    return json_object_set_new(attempt->record, "attempt", json_integer(*number)) == 0 ? 0 : error_memory(err);
}

/* Counts the live ones before. */
static int look_around(struct attempt *attempt, const char *dir, int number, struct error *err) {
    struct stat info;
    size_t i;
    json_t *record;
    if (stat(attempt->path, &info) != 0)
        return error_set(err, CODE_IO, "cannot find %s: %s", attempt->path, strerror(errno));
    if (attempts_read(&attempt->others, dir, timespec_seconds(info.st_mtim), err) != 0) return -1;
    json_array_foreach(attempt->others.records, i, record) {
        int other = (int)json_integer_value(json_object_get(record, "attempt"));
        bool alive = json_is_true(json_object_get(record, "alive"));
        if (other < number && alive) attempt->ahead++;
    }
    return 0;
}

static void discard(struct attempt *attempt) {
    attempts_release(&attempt->others);
    json_decref(attempt->record);
    free(attempt->path);
    free(attempt);
}

static int begin(struct attempt **made, const char *dir, const struct identity *ranks, int size, const char *nonce,
                 struct turn *turn, struct error *err) {
    struct attempt *attempt = calloc(1, sizeof *attempt);
    if (!attempt) return error_memory(err);
    attempt->ranks = size;
    pthread_mutex_init(&attempt->lock, NULL);
    pthread_cond_init(&attempt->change, NULL);
    attempt->record = new_record(ranks, size, nonce);
    int rc = attempt->record ? 0 : error_memory(err);
    if (rc == 0) rc = claim(attempt, dir, &turn->number, err);
    if (rc == 0) rc = write_record(attempt, err);
    if (rc == 0) rc = look_around(attempt, dir, turn->number, err);
    if (rc == 0) rc = start_thread(attempt, err);
    turn->ahead = attempt->ahead;
    if (rc == 0) *made = attempt;
    else discard(attempt);
    return rc;
}

struct sight { /* what rank 0 tells of its record */
    struct error err;
    struct turn turn;
    char nonce[32];
};

/* Does this rank find the record that rank 0 wrote? Directories may be cached for some seconds. */
static int look(const char *dir, const struct sight *sight, int rank, const struct identity *ranks, struct error *err) {
    char *path = attempts_path(dir, sight->turn.number), *here = path_absolute(".");
    struct error why = {.message = ""};
    int rc = path ? -1 : error_memory(err);
    for (double until = clock_seconds() + VIEW; path && rc != 0 && clock_seconds() < until;) {
        json_t *record = NULL;
        if (json_file_read(&record, path, &why) == 0) {
            const char *nonce = json_string_value(json_object_get(record, "nonce"));
            if (nonce && strcmp(nonce, sight->nonce) == 0) rc = 0;
        }
        json_decref(record);
        if (rc != 0) clock_sleep(0.2);
    }
    if (path && rc != 0)
        error_set(err, CODE_DATA,
                  "rank %d on %s (working folder %s) does not find %s as rank 0 on %s wrote it: every rank must see "
                  "the same output.dir, on a file system that all nodes share%s%s",
                  rank, ranks[rank].host, here ? here : "?", path, ranks[0].host, why.message[0] ? "; " : "",
                  why.message);
    free(here);
    free(path);
    return rc;
}

static int make_log_folder(const char *dir, struct error *err) {
    char *folder = text_new("%s/log", dir);
    int rc = folder ? folder_make(dir, err) : error_memory(err); /* first: what is in its way is named */
    if (rc == 0) rc = folder_make(folder, err);
    free(folder);
    return rc;
}

int attempt_begin(struct attempt **attempt, struct turn *turn, struct comm *comm, const char *dir, struct error *err) {
    struct identity mine = {.pid = getpid()}, *ranks = calloc((size_t)comm_size(comm), sizeof mine);
    struct sight sight = {.err = {.code = CODE_OK}};
    uint64_t nonce = 0;
    int rank = comm_rank(comm);
    *attempt = NULL;
    gethostname(mine.host, sizeof mine.host - 1);
    int rc = ranks_agree(comm, ranks ? 0 : error_memory(err), err);
    if (rc == 0) rc = comm_gather(comm, &mine, sizeof mine, ranks, err);
    if (rc == 0 && rank == 0) {
        if (getrandom(&nonce, sizeof nonce, 0) < 0) nonce = (uint64_t)time(NULL);
        snprintf(sight.nonce, sizeof sight.nonce, "%016" PRIx64, nonce);
        if (make_log_folder(dir, &sight.err) == 0)
            begin(attempt, dir, ranks, comm_size(comm), sight.nonce, &sight.turn, &sight.err);
    }
    if (rc == 0) rc = comm_broadcast(comm, &sight, sizeof sight, 0, err);
    *turn = sight.turn;
    if (rc == 0 && sight.err.code != CODE_OK) {
        *err = rank == 0 ? sight.err : (struct error){.code = sight.err.code};
        rc = -1;
    } else if (rc == 0) {
        rc = ranks_agree(comm, rank == 0 ? 0 : look(dir, &sight, rank, ranks, err), err);
    }
    if (rc != 0) {
        attempt_end(*attempt, err->code);
        *attempt = NULL;
    }
    free(ranks);
    return rc;
}

int attempt_ahead(const struct attempt *attempt) {
    return attempt->ahead;
}

int attempt_clear(const struct attempt *attempt, const char *folder, struct error *err) {
    return stale_remove(folder, attempts_judge, &attempt->others, err);
}

void attempt_forget(const struct attempt *attempt) {
    size_t i;
    json_t *record;
    json_int_t own = json_integer_value(json_object_get(attempt->record, "attempt")); /* numbers only grow */
    json_array_foreach(attempt->others.records, i, record) {
        if (json_integer_value(json_object_get(record, "attempt")) >= own) continue;
        char *path = text_new("%.*s/attempt-%04d.json", (int)(strrchr(attempt->path, '/') - attempt->path),
                              attempt->path, (int)json_integer_value(json_object_get(record, "attempt")));
        if (path && !json_is_true(json_object_get(record, "alive"))) unlink(path); /* a record too many does no harm */
        free(path);
    }
}

void attempt_tell(struct attempt *attempt, double rate, double eta, int ranks) {
    if (!attempt) return;
    pthread_mutex_lock(&attempt->lock);
    attempt->rate = rate;
    attempt->eta = eta;
    attempt->ranks = ranks;
    pthread_mutex_unlock(&attempt->lock);
}

void attempt_end(struct attempt *attempt, int status) {
    char stamp[32];
    struct error err;
    if (!attempt) return;
    pthread_mutex_lock(&attempt->lock);
    attempt->ending = true;
    attempt->rate = attempt->eta = 0;
    pthread_cond_signal(&attempt->change);
    pthread_mutex_unlock(&attempt->lock);
    pthread_join(attempt->thread, NULL);
    clock_stamp(stamp);
    int failed = json_object_set_new(attempt->record, "ended", json_string(stamp)) |
                 json_object_set_new(attempt->record, "code", json_integer(status));
    if ((failed ? error_memory(&err) : write_record(attempt, &err)) != 0)
        log_warn("other jobs will take this one for alive for a minute: %s", err.message);
    pthread_cond_destroy(&attempt->change);
    pthread_mutex_destroy(&attempt->lock);
    discard(attempt);
}
