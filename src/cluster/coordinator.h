/* What rank 0 does besides its share of the work: hears every rank, decides by dispatch.h, answers, and ends the work
 * on all ranks together. Nothing here is collective or thread-safe: rank 0's communication thread alone calls it. Times
 * are clock_seconds. */
#ifndef CLUSTER_COORDINATOR_H
#define CLUSTER_COORDINATOR_H

#include "base/error.h"
#include "cluster/comm.h"
#include "cluster/dispatch.h"
#include "cluster/message.h"

struct coordinator;

/* *coordinator new. run, count, needs, lease: see struct message and cluster_run. task, needs and comm are borrowed. */
int coordinator_new(struct coordinator **coordinator, struct comm *comm, uint64_t run, uint64_t count,
                    const uint64_t *needs, const struct task *task, double lease, struct error *err);
void coordinator_free(struct coordinator *coordinator);
/* True when the message is the first to say that its unit is done. */
bool coordinator_hear(struct coordinator *coordinator, int from, const struct message *message, double now);
void coordinator_turn(struct coordinator *coordinator, double now); /* what time brings; call it often */
const struct dispatch *coordinator_dispatch(const struct coordinator *coordinator);
int coordinator_alive(const struct coordinator *coordinator); /* number of ranks */

#endif
