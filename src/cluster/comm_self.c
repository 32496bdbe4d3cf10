/* One process, no MPI. */
#include "cluster/comm.h"

#include <stdlib.h>
#include <string.h>

struct comm {
    int unused;
};

int comm_start(struct comm **comm, int *argc, char ***argv, struct error *err) {
    (void)argc;
    (void)argv;
    *comm = calloc(1, sizeof **comm);
    return *comm ? 0 : error_memory(err);
}

void comm_finish(struct comm *comm) {
    free(comm);
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
    (void)comm;
    (void)message;
    (void)size;
    return error_set(err, CODE_INTERNAL, "there is no rank %d to send to", rank);
}

bool comm_receive(struct comm *comm, void *message, size_t *size, int *from) {
    (void)comm;
    (void)message;
    (void)size;
    (void)from;
    return false;
}

int comm_broadcast(struct comm *comm, void *data, size_t size, int root, struct error *err) {
    (void)comm;
    (void)data;
    (void)size;
    (void)root;
    (void)err;
    return 0;
}

int comm_gather(struct comm *comm, const void *one, size_t size, void *all, struct error *err) {
    (void)comm;
    (void)err;
    memcpy(all, one, size);
    return 0;
}

int comm_merge(struct comm *comm, unsigned char *bytes, size_t count, struct error *err) {
    (void)comm;
    (void)bytes;
    (void)count;
    (void)err;
    return 0;
}

int comm_barrier(struct comm *comm, struct error *err) {
    (void)comm;
    (void)err;
    return 0;
}
