/* The fence around MPI: one header, two bodies (comm_mpi.c; comm_self.c for one process without MPI). Only the thread
 * that called comm_start calls anything here. Functions marked collective must be called by all ranks. */
#ifndef CLUSTER_COMM_H
#define CLUSTER_COMM_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct comm; /* one a process */

/* Collective. Open MPI puts its own handlers on SIGSEGV, SIGBUS, SIGFPE and SIGABRT where there are none yet, and
 * leaves all other signals alone: it does not matter whether a program installs its own before or after. */
int comm_start(struct comm **comm, int *argc, char ***argv, struct error *err);
/* Collective. When ranks have died nobody may call it, for MPI would wait for them: comm_flush and _exit instead. */
void comm_finish(struct comm *comm);
/* Ends every rank at once with this exit status: for one that failed alone, where the others wait for it. */
void comm_abort(struct comm *comm, int status) __attribute__((noreturn));
/* The rest of these and the messages below are not collective. */
int comm_rank(const struct comm *comm);
int comm_size(const struct comm *comm);
int comm_local_rank(const struct comm *comm); /* among the ranks of this node */
int comm_local_size(const struct comm *comm);
const char *comm_describe(void); /* "Open MPI v4.1.4", "none"; static */

/* Small messages (at most COMM_MESSAGE bytes; copied), to any rank or to oneself, non-blocking on both sides. Messages
 * between two ranks arrive in their order. One to a rank that died is never delivered; that is no error. */
enum { COMM_MESSAGE = 1024 };
int comm_send(struct comm *comm, int rank, const void *message, size_t size, struct error *err);
/* True when a message came: fills message [COMM_MESSAGE], *size (bytes) and *from (its rank). */
bool comm_receive(struct comm *comm, void *message, size_t *size, int *from);
/* Waits until all messages sent are on their way, `seconds` at most (those to the dead never are). */
void comm_flush(struct comm *comm, double seconds);

/* Collective, all four; they sleep while they wait instead of spinning. An error of MPI is CODE_INTERNAL. */
int comm_broadcast(struct comm *comm, void *data, size_t size, int root, struct error *err);
/* all[size] of every rank in rank order into `all` (at every rank). */
int comm_gather(struct comm *comm, const void *one, size_t size, void *all, struct error *err);
/* Element-wise maximum of bytes over ranks, in place: merges maps in which 0 means "not looked at". */
int comm_merge(struct comm *comm, unsigned char *bytes, size_t count, struct error *err);
int comm_barrier(struct comm *comm, struct error *err);

#endif
