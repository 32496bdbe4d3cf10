/* Signal handlers that say what a thread was at when it crashed. */
#include "base/crash.h"

#include "base/mapping.h"
#include "base/outlet.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTE = 1000, STACK = 64 * 1024 };

static const struct {
    int number;
    const char *name;
} crashes[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"}, {SIGABRT, "SIGABRT"}};
enum { CRASHES = sizeof crashes / sizeof *crashes };

static struct sigaction before[CRASHES];
static volatile sig_atomic_t installed, record = -1;
static char build[300];
static _Thread_local char note[NOTE];
static _Thread_local volatile sig_atomic_t note_length;
static _Thread_local void *stack;

/* Only what is async-signal-safe from here on. */
static size_t join(char *line, size_t capacity, const char *const *parts) {
    size_t length = 0;
    for (; *parts; parts++)
        for (const char *c = *parts; *c && length < capacity; c++) line[length++] = *c;
    return length;
}

static void write_line(const char *name, const char *file) {
    char line[NOTE + 1000], unit[NOTE + 1];
    memcpy(unit, note, (size_t)note_length);
    unit[note_length] = '\0';
    const char *said[] = {"qtaylor: error: crashed: ",
                          name,
                          *unit ? " at {" : "",
                          unit,
                          *unit ? "}" : " outside of any shard",
                          " in ",
                          build,
                          ": ",
                          file ? file : "a bug here, or of the model or a library: please report it with this line, ",
                          file ? " was cut short or can no longer be read while it is in use: start the job again\n"
                               : "the job and what its log/ holds\n",
                          NULL};
    const char *noted[] = {"{", unit, ", \"reason\": \"the process crashed: ", name, "\"}\n", NULL};
    outlet_now(STDERR_FILENO, line, join(line, sizeof line, said));
    if (record < 0 || !*unit) return;
    size_t length = join(line, sizeof line, noted);
    if (write(record, line, length) > 0) fsync(record);
}

/* A fault comes again as soon as this returns, and abort and raise have their signal sent once more: then it is the
 * business of whoever had it before. */
static void on_crash(int number, siginfo_t *info, void *context) {
    (void)context;
    for (int i = 0; i < CRASHES; i++) {
        if (crashes[i].number != number) continue;
        sigaction(number, &before[i], NULL);
        if (info->si_code > 0 || info->si_pid == getpid())
            write_line(crashes[i].name, number == SIGBUS ? mapping_at(info->si_addr) : NULL);
    }
    if (info->si_code <= 0) raise(number);
}

void crash_record(int fd) {
    record = fd;
}

void crash_catch(const char *what) {
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (what) snprintf(build, sizeof build, "%s", what);
    if (installed) return;
    installed = 1;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < CRASHES; i++) sigaction(crashes[i].number, &action, &before[i]);
}

void crash_let(void) {
    for (int i = 0; installed && i < CRASHES; i++) sigaction(crashes[i].number, &before[i], NULL);
    installed = 0;
}

int crash_thread_start(struct error *err) {
    stack_t there;
    if (stack || (sigaltstack(NULL, &there) == 0 && !(there.ss_flags & SS_DISABLE))) return 0; /* a sanitizer's, say */
    if (!(stack = malloc(STACK))) return error_memory(err);
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = STACK}, NULL);
    return 0;
}

void crash_thread_end(void) {
    crash_note("");
    if (!stack) return;
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    free(stack);
    stack = NULL;
}

void crash_note(const char *members) {
    size_t length = strlen(members);
    note_length = 0;
    if (length > NOTE) return;
    memcpy(note, members, length);
    note_length = (sig_atomic_t)length;
}
