#include "base/signals.h"

#include "base/error.h"

#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

enum { PATIENCE = 8 }; /* s: launchers kill after 10 and more */

static volatile sig_atomic_t stop, sheltered;
static atomic_int exposed;

static void on_signal(int number) {
    (void)number;
    if (!stop) alarm(PATIENCE);
    stop = 1;
}

static void on_alarm(int number) {
    static const char words[] = "qtaylor: stopped as a signal asked; what is whole is on disk: run again to continue\n";
    (void)number;
    if (sheltered && exposed == 0) {
        alarm(1);
        return;
    }
    ssize_t ignored = write(STDERR_FILENO, words, sizeof words - 1);
    (void)ignored;
    _exit(CODE_AGAIN);
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
