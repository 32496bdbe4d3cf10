/* Ranks agree on whether a step worked before any of them goes on to the next collective call. */
#ifndef CLUSTER_AGREE_H
#define CLUSTER_AGREE_H

#include "base/error.h"
#include "cluster/comm.h"

/* Collective. rc, *err: how the step went on this rank. Returns 0 where it went well on every rank, else -1 on every
 * rank: a rank that failed keeps its own error; the others get the highest code among the failures and an empty
 * message, so that only the ranks that failed print one, and what rank 0 says too rank 0 alone. comm NULL: the other
 * ranks are lost; returns rc and asks nobody. */
int ranks_agree(struct comm *comm, int rc, struct error *err);

/* Collective. An error on every rank (its message on rank 0 alone) when the ranks run different builds of this program
 * (CODE_DATA) or were given different arguments (CODE_USAGE). Warns where a launcher started several processes that do
 * not know of one another. */
int ranks_same_program(struct comm *comm, int argc, char **argv, struct error *err);

#endif
