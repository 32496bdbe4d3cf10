/* The flag that TERM, INT and USR1 set, and the alarm behind it. */
#include "base/signals.h"

#include "base/error.h"
#include "base/outlet.h"

#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 8, AGAIN = 1 }; /* s: launchers kill after 10 and more; s after which a signal is a second one */

static volatile sig_atomic_t stop, sheltered, asked; /* asked: by INT or TERM */
static volatile time_t first;                        /* s: when */
static atomic_int exposed;

/* Only what is async-signal-safe from here on. */
static void leave(void) {
    static const char words[] = "qtaylor: stopped as a signal asked; what is whole is on disk: run again to continue\n";
    outlet_now(STDERR_FILENO, words, sizeof words - 1);
    _exit(CODE_AGAIN);
}

/* A launcher may send the one signal that it means twice in a moment, to the process and to its group. USR1 is a
 * warning, with a TERM to follow, which still has its time. */
static void on_signal(int number) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (number != SIGUSR1) {
        if (asked && now.tv_sec - first > AGAIN) leave();
        if (!asked) first = now.tv_sec;
        asked = 1;
    }
    if (!stop) alarm(PATIENCE);
    stop = 1;
}

static void on_alarm(int number) {
    (void)number;
    if (sheltered && exposed == 0) alarm(1);
    else leave();
}

void signals_catch(void) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, NULL);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
}

volatile sig_atomic_t *signals_flag(void) {
    return &stop;
}

void signals_shelter(bool on) {
    sheltered = on;
    if (!on && stop) alarm(PATIENCE);
}

void signals_expose(bool on) {
    atomic_fetch_add(&exposed, on ? 1 : -1);
}
