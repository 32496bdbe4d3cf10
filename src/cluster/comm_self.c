/* One process, no MPI. */
#include "cluster/comm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct letter { /* a message to oneself */
    struct letter *next;
    size_t size;
    char bytes[COMM_MESSAGE];
};

struct comm {
    struct letter *first, **last; /* last: where the next one is hooked in */
};

int comm_start(struct comm **comm, int *argc, char ***argv, struct error *err) {
    (void)argc, (void)argv;
    struct comm *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->last = &made->first;
    *comm = made;
    return 0;
}

void comm_finish(struct comm *comm) {
    char message[COMM_MESSAGE];
    size_t size;
    int from;
    if (!comm) return;
    while (comm_receive(comm, message, &size, &from)) {}
    free(comm);
}

void comm_abort(struct comm *comm, int status) {
    (void)comm;
    _exit(status);
}

int comm_rank(const struct comm *comm) {
    (void)comm;
    return 0;
}

int comm_size(const struct comm *comm) {
    (void)comm;
    return 1;
}

int comm_local_rank(const struct comm *comm) {
    (void)comm;
    return 0;
}

int comm_local_size(const struct comm *comm) {
    (void)comm;
    return 1;
}

const char *comm_describe(void) {
    return "none";
}

int comm_send(struct comm *comm, int rank, const void *message, size_t size, struct error *err) {
    if (rank != 0) return error_set(err, CODE_INTERNAL, "there is no rank %d to send to", rank);
    if (size > COMM_MESSAGE) return error_set(err, CODE_INTERNAL, "a message of %zu bytes is too long", size);
    struct letter *letter = malloc(sizeof *letter);
    if (!letter) return error_memory(err);
    letter->next = NULL;
    letter->size = size;
    memcpy(letter->bytes, message, size);
    *comm->last = letter;
    comm->last = &letter->next;
    return 0;
}

bool comm_receive(struct comm *comm, void *message, size_t *size, int *from) {
    struct letter *letter = comm->first;
    if (!letter) return false;
    comm->first = letter->next;
    if (!comm->first) comm->last = &comm->first;
    memcpy(message, letter->bytes, letter->size);
    *size = letter->size;
    *from = 0;
    free(letter);
    return true;
}

void comm_flush(struct comm *comm, double seconds) {
    (void)comm, (void)seconds;
}

int comm_broadcast(struct comm *comm, void *data, size_t size, int root, struct error *err) {
    (void)comm, (void)data, (void)size, (void)root, (void)err;
    return 0;
}

int comm_gather(struct comm *comm, const void *one, size_t size, void *all, struct error *err) {
    (void)comm, (void)err;
    memcpy(all, one, size);
    return 0;
}

int comm_merge(struct comm *comm, unsigned char *bytes, size_t count, struct error *err) {
    (void)comm, (void)bytes, (void)count, (void)err;
    return 0;
}

int comm_barrier(struct comm *comm, struct error *err) {
    (void)comm, (void)err;
    return 0;
}
