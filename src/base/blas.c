/* OpenBLAS within bounds of memory and threads. */
#include "base/blas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t BUFFER = (size_t)128 << 20; /* bytes a thread, kept for the next one */
static const size_t ROOM = (size_t)64 << 20;    /* for what else asks for memory before OpenBLAS does */

static struct {
    pthread_mutex_t lock;
    int inside, most; /* threads: now, and ever */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Its own names for a buffer; where a BLAS lacks them, its first call takes one. */
__attribute__((weak)) void *blas_memory_alloc(int place);
__attribute__((weak)) void blas_memory_free(void *buffer);

static int check_room(struct error *err) {
    void *probe = mmap(NULL, BUFFER + ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe != MAP_FAILED && munmap(probe, BUFFER + ROOM) == 0) return 0;
    return error_set(
        err, CODE_INTERNAL,
        "out of memory: OpenBLAS needs %zu MiB of address space for each thread that computes a metric, this would be "
        "number %d: raise `ulimit -v` or the job's limit, or lower workers and OMP_NUM_THREADS",
        BUFFER >> 20, state.inside + 1);
}

int blas_enter(struct error *err) {
    pthread_mutex_lock(&state.lock);
    int rc = state.inside < state.most ? 0 : check_room(err);
    if (rc == 0 && state.most == 0) {
        openblas_set_num_threads(1);
        if (blas_memory_alloc && blas_memory_free) blas_memory_free(blas_memory_alloc(0));
    }
    if (rc == 0 && ++state.inside > state.most) state.most = state.inside;
    pthread_mutex_unlock(&state.lock);
    return rc;
}

void blas_leave(void) {
    pthread_mutex_lock(&state.lock);
    state.inside--;
    pthread_mutex_unlock(&state.lock);
}

int blas_try(struct error *err) {
    if (blas_enter(err) != 0) return -1;
    blas_leave();
    return 0;
}

/* OpenBLAS starts a thread a core before main, each with such a buffer, of which we use none: they wait for memory
 * until the process can't even end. Newer ones (0.3.29) take one for the main thread too, there. This runs before its
 * constructor. */
__attribute__((constructor(101))) static void before_openblas(void) {
    struct error err;
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    if (check_room(&err) == 0) return;
    fprintf(stderr, "qtaylor: error: %s\n", err.message);
    _exit(CODE_INTERNAL);
}
