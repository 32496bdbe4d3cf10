#include "base/crash.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTE = 1000, STACK = 64 * 1024 };

static const struct {
    int number;
    const char *ending; /* of the line */
} crashes[] = {
    {SIGSEGV, ", \"reason\": \"the process crashed: SIGSEGV\"}\n"}, {SIGBUS, ", \"reason\": \"the process crashed: SIGBUS\"}\n"},
    {SIGFPE, ", \"reason\": \"the process crashed: SIGFPE\"}\n"},   {SIGILL, ", \"reason\": \"the process crashed: SIGILL\"}\n"},
    {SIGABRT, ", \"reason\": \"the process crashed: SIGABRT\"}\n"},
};
enum { CRASHES = sizeof crashes / sizeof *crashes };

static struct sigaction before[CRASHES];
static volatile sig_atomic_t installed, record = -1;
static _Thread_local char note[NOTE];
static _Thread_local volatile sig_atomic_t note_length;
static _Thread_local void *stack;

/* Only what is async-signal-safe from here on. */
static void write_line(const char *ending) {
    char line[1 + NOTE + 100] = "{";
    size_t length = (size_t)note_length, rest = strlen(ending);
    if (record < 0 || length == 0) return;
    memcpy(line + 1, note, length);
    memcpy(line + 1 + length, ending, rest);
    if (write(record, line, 1 + length + rest) > 0) fsync(record);
}

/* A fault comes again as soon as this returns, and abort and raise have their signal sent once more: then it is the
 * business of whoever had it before. */
static void on_crash(int number, siginfo_t *info, void *context) {
    (void)context;
    for (int i = 0; i < CRASHES; i++) {
        if (crashes[i].number != number) continue;
        sigaction(number, &before[i], NULL);
        if (info->si_code > 0 || info->si_pid == getpid()) write_line(crashes[i].ending);
    }
    if (info->si_code <= 0) raise(number);
}

void crash_record(int fd) {
    record = fd;
    if (installed) return;
    installed = 1;
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < CRASHES; i++) sigaction(crashes[i].number, &action, &before[i]);
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
