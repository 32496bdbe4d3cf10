/* What jobs leave in a folder for one another: records of attempts and whose temporaries are whose, failures and
 * crashes, and the tries that dispatch is given from them. */
#include "base/crash.h"
#include "base/files.h"
#include "base/stale.h"
#include "base/text.h"
#include "cluster/dispatch.h"
#include "run/attempts.h"
#include "run/failures.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include <cmocka.h>

static char folder[] = "/tmp/qtaylor-attempts-XXXXXX";
static char host[256];

static char *path_of(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* age: s since it was written. */
static void put(const char *name, const char *content, int age) {
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
    time_t then = time(NULL) - age;
    utime(path_of(name), &(struct utimbuf){then, then});
}

static void put_attempt(int number, const char *name, long pid, const char *ended, int age) {
    char file[64],
        *content = text_new(
            "{\"host\": \"%s\", \"pid\": %ld, \"ended\": %s, \"processes\": [[\"%s\", %ld], [\"else-where\", 7]]}",
            name, pid, ended, name, pid);
    snprintf(file, sizeof file, "log/attempt-%04d.json", number);
    put(file, content, age);
    free(content);
}

static bool is_there(const char *name) {
    return access(path_of(name), F_OK) == 0;
}

/* Which of the records is taken for a live job's. */
static void who_is_alive(void **state) {
    (void)state;
    static const bool expected[] = {true, false, false, false, true, true};
    struct attempts attempts;
    struct error err;
    pid_t dead = fork();
    siginfo_t info;
    if (dead == 0) _exit(0);
    waitid(P_PID, (id_t)dead, &info, WEXITED | WNOWAIT);
    put_attempt(1, host, getpid(), "null", 3);
    put_attempt(2, host, getpid(), "\"2026-01-01T00:00:00Z\"", 3); /* ended */
    put_attempt(3, host, dead, "null", 3);                         /* a zombie */
    put_attempt(4, "else-where", 7, "null", 100);                  /* silent */
    put_attempt(5, "else-where", 8, "null", 30);
    put("log/attempt-0006.json", "{\"host", 1); /* being written */
    put("log/attempt-x.json", "{}", 1);
    assert_int_equal(attempts_read(&attempts, folder, 0, &err), 0);
    assert_int_equal(json_array_size(attempts.records), 6);
    for (size_t i = 0; i < 6; i++) {
        const json_t *record = json_array_get(attempts.records, i);
        assert_int_equal(json_integer_value(json_object_get(record, "attempt")), i + 1);
        if (json_is_true(json_object_get(record, "alive")) != expected[i]) fail_msg("attempt %zu", i + 1);
    }
    assert_int_equal(attempts_judge(&attempts, "else-where", 7), OWNER_ALIVE); /* of a live one and of a dead one */
    assert_int_equal(attempts_judge(&attempts, host, dead), OWNER_DEAD);
    assert_int_equal(attempts_judge(&attempts, "else-where", 9), OWNER_UNKNOWN);
    attempts_release(&attempts);
    /* By the clock of the file system, an hour ahead of this machine's: all but the ended are too old. */
    assert_int_equal(attempts_read(&attempts, folder, (double)time(NULL) + 3600, &err), 0);
    for (size_t i = 0; i < 6; i++)
        assert_false(json_is_true(json_object_get(json_array_get(attempts.records, i), "alive")));
    attempts_release(&attempts);
    waitpid(dead, NULL, 0);
    assert_int_equal(attempts_read(&attempts, "/no/such/folder", 0, &err), 0);
    assert_int_equal(json_array_size(attempts.records), 0);
    attempts_release(&attempts);
}

static enum file_owner judge(const void *context, const char *name, long pid) {
    assert_string_equal(context, "mine");
    if (strcmp(name, "node-a-1") == 0) return pid == 11 ? OWNER_ALIVE : OWNER_DEAD;
    return OWNER_UNKNOWN;
}

static void temporaries_of_the_dead_go(void **state) {
    (void)state;
    struct error err;
    char own[400], gone[400];
    snprintf(own, sizeof own, ".a.npy.zst.tmp-%s-%ld-0", host, (long)getpid());
    snprintf(gone, sizeof gone, ".a.npy.zst.tmp-%s-%ld-0", host, 0x3fffffffL); /* no such process */
    const struct {
        const char *name;
        int age;
        bool stays;
    } files[] = {
        {".a.npy.zst.tmp-node-a-1-11-3", 9000, true}, /* a live job's on another host, whatever its age */
        {".a.npy.zst.tmp-node-a-1-12-3", 1, false},   /* a dead one's */
        {".a.npy.zst.tmp-node-b-11-3", 100, true},    /* nobody knows: it may be alive */
        {".b.npy.zst.tmp-node-b-11-3", 4000, false},
        {own, 9000, true},
        {gone, 1, false},
        {"000001.npy.zst", 9000, true},
        {".hidden", 9000, true},
        {".x.tmp-", 9000, true},
        {".x.tmp-1-2", 9000, true},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) put(files[i].name, "", files[i].age);
    assert_int_equal(stale_remove(folder, judge, "mine", &err), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (is_there(files[i].name) != files[i].stays) fail_msg("%s", files[i].name);
        unlink(path_of(files[i].name));
    }
    assert_int_equal(stale_remove("/no/such/folder", NULL, NULL, &err), 0);
}

static volatile long deep = 1L << 40;

static long overflow(long depth) {
    volatile char frame[4096] = {1};
    return depth < deep ? overflow(depth + 1) + frame[depth % 4096] : depth;
}

/* A page that may not be written: a real fault, where a sanitizer would see a null pointer first. */
static volatile char *nowhere(void) {
    return mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

enum way { SEGV, ABORT, OVERFLOW, OUTSIDE, KILL, TERM, IDLE };

/* A process that is at shard 7 and ends in this way; returns its status. */
static int crash(enum way way) {
    struct error err;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would exit in its own way */
        signal(SIGABRT, SIG_DFL);
        crash_catch(NULL);
        if (failures_open(folder, 3, &err) != 0 || failures_thread_start(&err) != 0) _exit(1);
        failures_begin("solver=\"x\"", 7);
        if (way == IDLE) failures_rest();
        if (way == SEGV || way == IDLE) *nowhere() = 1;
        if (way == ABORT) abort();
        if (way == OVERFLOW) _exit((int)overflow(0));
        if (way == KILL || way == TERM) kill(getpid(), way == KILL ? SIGKILL : SIGTERM);
        while (way == OUTSIDE) pause();
        _exit(0);
    }
    if (way == OUTSIDE) {
        usleep(200000);
        kill(child, SIGSEGV);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static int count(const char *cell, uint64_t shard) {
    json_t *failures;
    struct error err;
    assert_int_equal(failures_read(&failures, folder, &err), 0);
    int found = failures_count(failures, cell, shard, NULL);
    json_decref(failures);
    return found;
}

static void crashes_are_on_record(void **state) {
    (void)state;
    static const struct {
        enum way way;
        int signal, lines;
    } cases[] = {
        {SEGV, SIGSEGV, 1}, {ABORT, SIGABRT, 2}, {OVERFLOW, SIGSEGV, 3}, {OUTSIDE, SIGSEGV, 3},
        {KILL, SIGKILL, 3}, {TERM, SIGTERM, 3},  {IDLE, SIGSEGV, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = crash(cases[i].way);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != cases[i].signal) fail_msg("case %zu: status %x", i, status);
        if (count("solver=\"x\"", 7) != cases[i].lines) fail_msg("case %zu: %d lines", i, count("solver=\"x\"", 7));
    }
    assert_int_equal(count(NULL, 7), 0);
    assert_int_equal(count("solver=\"x\"", 8), 0);
    unlink(path_of("log/failures.jsonl"));
}

static volatile sig_atomic_t chained;

static void on_segv(int number) {
    (void)number;
    ssize_t ignored = write(STDOUT_FILENO, "", 0);
    (void)ignored;
    chained = 1;
    _exit(42);
}

static void an_older_handler_has_the_last_word(void **state) {
    (void)state;
    struct error err;
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, on_segv);
        crash_catch(NULL);
        if (failures_open(folder, 0, &err) != 0) _exit(1);
        failures_begin(NULL, 5);
        *nowhere() = 1;
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_int_equal(count(NULL, 5), 1);
    unlink(path_of("log/failures.jsonl"));
}

static void failures_are_counted_and_torn_lines_are_not(void **state) {
    (void)state;
    struct error err;
    json_t *failures;
    const json_t *last;
    assert_int_equal(failures_open(folder, 2, &err), 0);
    failures_note(NULL, 4, "the sample of seed 70 is \"not\" finite: \xc3\xa9 \xff");
    failures_note("nfe=5", 4, "one");
    failures_note("nfe=5", 4, "two");
    failures_close();
    FILE *file = fopen(path_of("log/failures.jsonl"), "a");
    fputs("{\"shard\": 4, \"rea", file);
    fclose(file);
    assert_int_equal(failures_read(&failures, folder, &err), 0);
    assert_int_equal(failures_count(failures, NULL, 4, &last), 1);
    assert_int_equal(json_integer_value(json_object_get(last, "rank")), 2);
    assert_non_null(strstr(json_string_value(json_object_get(last, "reason")), "seed 70"));
    assert_int_equal(failures_count(failures, "nfe=5", 4, &last), 2);
    assert_string_equal(json_string_value(json_object_get(last, "reason")), "two");
    json_decref(failures);
    unlink(path_of("log/failures.jsonl"));
}

/* Units with 0, 1 and 2 failures before: the last is not given out, the second not twice. */
static void dispatch_knows_earlier_tries(void **state) {
    (void)state;
    struct dispatch *dispatch;
    struct dispatch_reply replies[2];
    struct error err;
    uint64_t bad[3];
    assert_int_equal(dispatch_new(&dispatch, 3, NULL, 2, 10, &err), 0);
    for (int unit = 0; unit < 3; unit++) dispatch_failed_before(dispatch, (uint64_t)unit, unit);
    assert_int_equal(dispatch_quarantined(dispatch, bad), 1);
    assert_int_equal(bad[0], 2);
    const struct dispatch_event events[] = {
        {EVENT_TICK, 0, 0, 1},   {EVENT_REQUEST, 0, 0, 1}, {EVENT_REQUEST, 1, 0, 1},
        {EVENT_FAILED, 0, 0, 1}, {EVENT_FAILED, 1, 1, 1},  {EVENT_REQUEST, 1, 0, 1},
    };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) dispatch_step(dispatch, &events[i], replies);
    assert_int_equal(dispatch_quarantined(dispatch, bad), 2);
    assert_int_equal(bad[0], 1);
    assert_false(dispatch_finished(dispatch)); /* unit 0 has its second try */
    dispatch_step(dispatch, &(struct dispatch_event){EVENT_DONE, 1, 0, 1}, replies);
    assert_true(dispatch_finished(dispatch));
    assert_int_equal(dispatch_done(dispatch), 1);
    dispatch_free(dispatch);
}

static int setup(void **state) {
    (void)state;
    struct error err;
    gethostname(host, sizeof host - 1);
    return mkdtemp(folder) ? folder_make(path_of("log"), &err) : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[700];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_alive),
        cmocka_unit_test(temporaries_of_the_dead_go),
        cmocka_unit_test(crashes_are_on_record),
        cmocka_unit_test(an_older_handler_has_the_last_word),
        cmocka_unit_test(failures_are_counted_and_torn_lines_are_not),
        cmocka_unit_test(dispatch_knows_earlier_tries),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
