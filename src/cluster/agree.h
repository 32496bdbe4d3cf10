/* Ranks agree on whether a step worked before any of them goes on to the next collective call. */
#ifndef CLUSTER_AGREE_H
#define CLUSTER_AGREE_H

#include "base/error.h"
#include "cluster/comm.h"

/* Collective. rc, *err: how the step went here. 0 when it went well everywhere. Otherwise -1 at every rank: one that
 * failed keeps its own error; the others get the same code with an empty message, for the failed one has the word.
 * comm NULL: this process is alone (others died), and rc is returned as it is. */
int ranks_agree(struct comm *comm, int rc, struct error *err);

/* Collective. An error at every rank when they do not run the same build of this program, or were given other arguments.
 * Warns where a launcher started several processes that do not know of one another. */
int ranks_same_program(struct comm *comm, int argc, char **argv, struct error *err);

#endif
