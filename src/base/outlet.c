/* A thread that writes what others put into its buffer. */
#include "base/outlet.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STEP = 4096 }; /* bytes a write, so that a slow reader shows as progress */

struct outlet {
    int fd;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t change;
    char *data; /* [capacity]; what waits is from start to end */
    size_t start, end, capacity;
    int failure; /* errno; after it nothing is taken */
    bool stuck;  /* a flush waited in vain, and nothing was taken since */
};

static void took(struct outlet *outlet, ssize_t put, int why) {
    if (put > 0) {
        outlet->start += (size_t)put;
        outlet->stuck = false;
    } else if (why != EINTR && why != EAGAIN) {
        outlet->failure = why;
        outlet->start = outlet->end;
    }
    if (outlet->start == outlet->end) outlet->start = outlet->end = 0;
    pthread_cond_broadcast(&outlet->change);
}

static void *drain(void *context) {
    static const struct timespec moment = {.tv_nsec = 10000000};
    struct outlet *outlet = context;
    char step[STEP];
    pthread_mutex_lock(&outlet->lock);
    for (;;) {
        while (outlet->start == outlet->end) pthread_cond_wait(&outlet->change, &outlet->lock);
        size_t size = outlet->end - outlet->start < STEP ? outlet->end - outlet->start : STEP;
        memcpy(step, outlet->data + outlet->start, size);
        pthread_mutex_unlock(&outlet->lock);
        ssize_t put = write(outlet->fd, step, size);
        int why = put < 0 ? errno : EIO;
        if (put < 0 && why == EAGAIN) nanosleep(&moment, NULL); /* another process that has it made it not wait */
        pthread_mutex_lock(&outlet->lock);
        took(outlet, put, why);
    }
    return NULL;
}

/* Signals are for the other threads. */
static int start_thread(struct outlet *outlet) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, drain, outlet);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) pthread_detach(thread);
    return failed;
}

int outlet_new(struct outlet **outlet, int fd, struct error *err) {
    struct outlet *made = calloc(1, sizeof *made);
    pthread_condattr_t monotonic;
    if (!made) return error_memory(err);
    made->fd = fd;
    pthread_mutex_init(&made->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&made->change, &monotonic);
    int failed = start_thread(made);
    if (failed) {
        free(made);
        return error_set(err, CODE_INTERNAL, "cannot start a thread: %s", strerror(failed));
    }
    *outlet = made;
    return 0;
}

/* Makes room behind `end`. */
static bool grow(struct outlet *outlet, size_t size) {
    size_t waiting = outlet->end - outlet->start;
    if (size <= outlet->capacity - outlet->end) return true;
    char *larger = malloc(2 * (waiting + size));
    if (!larger) return false;
    if (waiting) memcpy(larger, outlet->data + outlet->start, waiting);
    free(outlet->data);
    outlet->data = larger;
    outlet->capacity = 2 * (waiting + size);
    outlet->start = 0;
    outlet->end = waiting;
    return true;
}

bool outlet_put(struct outlet *outlet, const char *data, size_t size, size_t most) {
    pthread_mutex_lock(&outlet->lock);
    size_t waiting = outlet->end - outlet->start;
    bool takes = outlet->failure == 0 && waiting <= most && size <= most - waiting && grow(outlet, size);
    if (takes && size) {
        memcpy(outlet->data + outlet->end, data, size);
        outlet->end += size;
        pthread_cond_broadcast(&outlet->change);
    }
    pthread_mutex_unlock(&outlet->lock);
    return takes;
}

const char *outlet_why(int failure) {
    return failure == ETIMEDOUT ? "nobody reads it" : strerror(failure);
}

int outlet_flush(struct outlet *outlet, int seconds) {
    struct timespec until;
    pthread_mutex_lock(&outlet->lock);
    /* Second by second, for this process may be suspended meanwhile. */
    for (int waited = 0; outlet->start < outlet->end && !outlet->stuck;) {
        size_t waiting = outlet->end - outlet->start;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        int rc = pthread_cond_timedwait(&outlet->change, &outlet->lock, &until);
        if (outlet->end - outlet->start < waiting) waited = 0;
        else if (rc == ETIMEDOUT && ++waited >= seconds) outlet->stuck = true;
    }
    int failure = outlet->failure ? outlet->failure : outlet->start < outlet->end ? ETIMEDOUT : 0;
    pthread_mutex_unlock(&outlet->lock);
    return failure;
}

void outlet_now(int fd, const char *data, size_t size) {
    struct pollfd reader = {.fd = fd, .events = POLLOUT};
    if (poll(&reader, 1, 0) != 1 || !(reader.revents & POLLOUT)) return;
    ssize_t ignored = write(fd, data, size);
    (void)ignored;
}
