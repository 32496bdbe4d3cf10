/* comm.h with MPI. */
#include "cluster/comm.h"

#include "base/clock.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double PAUSE = 0.001;   /* s between two looks at what MPI is doing */
static const size_t PIECE = 1 << 28; /* bytes a collective call: MPI counts in int */
static const double FLUSH = 5;       /* s for the last messages, when all ranks live */
enum { TAG = 1 };

struct pending { /* a message on its way */
    struct pending *next;
    MPI_Request request;
    char bytes[COMM_MESSAGE];
};

struct comm {
    MPI_Comm world;
    int rank, size, local_rank, local_size;
    struct pending *pending;
};

static int check(int rc, const char *what, struct error *err) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (rc == MPI_SUCCESS) return 0;
    MPI_Error_string(rc, text, &length);
    return error_set(err, CODE_INTERNAL, "%s: %s", what, text);
}

int comm_start(struct comm **comm, int *argc, char ***argv, struct error *err) {
    int provided;
    MPI_Comm local;
    if (check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread", err) != 0) return -1;
    if (provided < MPI_THREAD_FUNNELED) return error_set(err, CODE_INTERNAL, "this MPI has no MPI_THREAD_FUNNELED");
    struct comm *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); /* its duplicates inherit it */
    int rc = check(MPI_Comm_dup(MPI_COMM_WORLD, &made->world), "MPI_Comm_dup", err);
    if (rc == 0)
        rc = check(MPI_Comm_split_type(made->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
                   "MPI_Comm_split_type", err);
    if (rc != 0) {
        free(made);
        return -1;
    }
    MPI_Comm_rank(made->world, &made->rank);
    MPI_Comm_size(made->world, &made->size);
    MPI_Comm_rank(local, &made->local_rank);
    MPI_Comm_size(local, &made->local_size);
    MPI_Comm_free(&local);
    *comm = made;
    return 0;
}

/* Frees messages that have arrived. */
static void complete(struct comm *comm) {
    for (struct pending **at = &comm->pending; *at;) {
        int done = 0;
        struct pending *message = *at;
        if (MPI_Test(&message->request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done) {
            at = &message->next;
            continue;
        }
        *at = message->next;
        free(message);
    }
}

void comm_finish(struct comm *comm) {
    struct error ignored;
    if (!comm) return;
    comm_flush(comm, FLUSH);
    comm_barrier(comm, &ignored); /* asleep, where MPI_Finalize would spin */
    MPI_Comm_free(&comm->world);
    MPI_Finalize();
    while (comm->pending) { /* nobody received these */
        struct pending *next = comm->pending->next;
        free(comm->pending);
        comm->pending = next;
    }
    free(comm);
}

void comm_abort(struct comm *comm, int status) {
    MPI_Abort(comm->world, status);
    _exit(status);
}

int comm_rank(const struct comm *comm) {
    return comm->rank;
}

int comm_size(const struct comm *comm) {
    return comm->size;
}

int comm_local_rank(const struct comm *comm) {
    return comm->local_rank;
}

int comm_local_size(const struct comm *comm) {
    return comm->local_size;
}

const char *comm_describe(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

int comm_send(struct comm *comm, int rank, const void *message, size_t size, struct error *err) {
    if (size > COMM_MESSAGE) return error_set(err, CODE_INTERNAL, "a message of %zu bytes is too long", size);
    complete(comm);
    struct pending *pending = malloc(sizeof *pending);
    for (int tries = 0; !pending && tries < 100; tries++) { /* a lost message would leave somebody waiting for ever */
        clock_sleep(PAUSE);
        pending = malloc(sizeof *pending);
    }
    if (!pending) return error_memory(err);
    memcpy(pending->bytes, message, size);
    int rc = MPI_Isend(pending->bytes, (int)size, MPI_BYTE, rank, TAG, comm->world, &pending->request);
    if (rc != MPI_SUCCESS) {
        free(pending);
        return check(rc, "MPI_Isend", err);
    }
    pending->next = comm->pending;
    comm->pending = pending;
    return 0;
}

bool comm_receive(struct comm *comm, void *message, size_t *size, int *from) {
    int any = 0, length;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, TAG, comm->world, &any, &status) != MPI_SUCCESS || !any) return false;
    MPI_Get_count(&status, MPI_BYTE, &length);
    if (length > COMM_MESSAGE ||
        MPI_Recv(message, length, MPI_BYTE, status.MPI_SOURCE, TAG, comm->world, MPI_STATUS_IGNORE) != MPI_SUCCESS)
        return false;
    *size = (size_t)length;
    *from = status.MPI_SOURCE;
    return true;
}

void comm_flush(struct comm *comm, double seconds) {
    double until = clock_seconds() + seconds;
    for (complete(comm); comm->pending && clock_seconds() < until; complete(comm)) clock_sleep(PAUSE);
}

/* Waits for a collective call without burning a core. */
static int await(int rc, MPI_Request *request, const char *what, struct error *err) {
    int done = 0;
    for (int looks = 0; rc == MPI_SUCCESS; looks++) {
        rc = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done) break;
        if (looks > 100) clock_sleep(PAUSE);
    }
    return check(rc, what, err);
}

static int piece(size_t left) {
    return (int)(left < PIECE ? left : PIECE);
}

int comm_broadcast(struct comm *comm, void *data, size_t size, int root, struct error *err) {
    MPI_Request request;
    for (size_t at = 0; at < size; at += PIECE) {
        int rc = MPI_Ibcast((char *)data + at, piece(size - at), MPI_BYTE, root, comm->world, &request);
        if (await(rc, &request, "MPI_Ibcast", err) != 0) return -1;
    }
    return 0;
}

int comm_gather(struct comm *comm, const void *one, size_t size, void *all, struct error *err) {
    MPI_Request request;
    if (size > PIECE) return error_set(err, CODE_INTERNAL, "gathering %zu bytes a rank is too much", size);
    int rc = MPI_Iallgather(one, (int)size, MPI_BYTE, all, (int)size, MPI_BYTE, comm->world, &request);
    return await(rc, &request, "MPI_Iallgather", err);
}

int comm_merge(struct comm *comm, unsigned char *bytes, size_t count, struct error *err) {
    MPI_Request request;
    for (size_t at = 0; at < count; at += PIECE) {
        int rc = MPI_Iallreduce(MPI_IN_PLACE, bytes + at, piece(count - at), MPI_UNSIGNED_CHAR, MPI_MAX, comm->world,
                                &request);
        if (await(rc, &request, "MPI_Iallreduce", err) != 0) return -1;
    }
    return 0;
}

int comm_barrier(struct comm *comm, struct error *err) {
    MPI_Request request;
    return await(MPI_Ibarrier(comm->world, &request), &request, "MPI_Ibarrier", err);
}
