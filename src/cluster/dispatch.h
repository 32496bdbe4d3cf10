/* Which rank does which unit: the coordinator's state machine. Each event changes the state and gives replies to ranks.
 * It uses no MPI, no clock (an event carries its time) and no threads, so that tests can run it through every order of
 * events. Not thread-safe.
 *
 * Units are given out in order. A unit that needs others waits until these are done, and goes out before all that come
 * after it in the order; it is skipped when one of them is quarantined. A rank that says nothing for a lease counts as
 * dead, and its units are given out again before all others. A rank that is heard again is alive again: it keeps those
 * of its units that nobody else took, and what it finished counts. A unit that failed twice, or whose rank died twice,
 * is quarantined, since it may be what kills them. The second try goes to another rank where there is one. */
#ifndef CLUSTER_DISPATCH_H
#define CLUSTER_DISPATCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every event but TICK also says that its rank lives. */
enum dispatch_event_kind {
    EVENT_REQUEST, /* rank wants one more unit */
    EVENT_DONE,    /* rank committed `unit` */
    EVENT_FAILED,  /* rank could not make `unit` */
    EVENT_ALIVE,   /* nothing else */
    EVENT_TICK,    /* time passed (rank is not looked at): look for expired leases. At least five times a lease; when
                      two are half a lease apart, the coordinator itself was away, and all leases start anew */
};
struct dispatch_event {
    enum dispatch_event_kind kind;
    int rank;
    uint64_t unit;
    double now; /* s, monotonic, >= 0 */
};

/* The answer to a request, at once or when a later event frees a unit or ends the work. */
enum dispatch_reply_kind {
    REPLY_UNIT, /* do `unit` */
    REPLY_STOP, /* every unit is done, quarantined or skipped */
};
struct dispatch_reply {
    enum dispatch_reply_kind kind;
    int rank;
    uint64_t unit;
};

struct dispatch; /* the state */

/* *dispatch new; units 0..count-1 are all to do. needs: [count], by how many of the units right before it a unit must
 * wait for, or NULL: none does; no unit is needed twice. lease: seconds of silence after which a rank counts as dead.
 */
int dispatch_new(struct dispatch **dispatch, uint64_t count, const uint64_t *needs, int ranks, double lease,
                 struct error *err);
/* Both before the first event. The units' order is that of a job before which `ahead` others are at work (order.h); one
 * that needs others comes right after the last of them. A unit has failed so often in earlier jobs; twice: it is
 * quarantined at once. */
void dispatch_order(struct dispatch *dispatch, int ahead);
void dispatch_failed_before(struct dispatch *dispatch, uint64_t unit, int failures);
/* Some unit U needs `unit`: of all that U needs, those that no rank has now are skipped, and so is U. The replies that
 * follow from it come with the next event. After dispatch_failed_before of all units. */
void dispatch_give_up(struct dispatch *dispatch, uint64_t unit);
void dispatch_free(struct dispatch *dispatch);
/* For those who explore it. *copy: a new one in the same state. dispatch_state: all that its further answers depend on,
 * in at most `size` bytes of `state`; returns their number, or 0 when there are more. Ranks that were heard less than
 * half a lease before `now` are alike in it. */
int dispatch_copy(struct dispatch **copy, const struct dispatch *dispatch, struct error *err);
size_t dispatch_state(const struct dispatch *dispatch, double now, unsigned char *state, size_t size);
/* Applies one event; fills replies[], which has room for one a rank, and returns their number. */
size_t dispatch_step(struct dispatch *dispatch, const struct dispatch_event *event, struct dispatch_reply *replies);
bool dispatch_finished(const struct dispatch *dispatch); /* every unit done, quarantined or skipped */
uint64_t dispatch_done(const struct dispatch *dispatch);
bool dispatch_is_done(const struct dispatch *dispatch, uint64_t unit);
bool dispatch_is_quarantined(const struct dispatch *dispatch, uint64_t unit);
uint64_t dispatch_skipped(const struct dispatch *dispatch);
/* The unit that needs this one; false: none does. */
bool dispatch_needed(const struct dispatch *dispatch, uint64_t unit, uint64_t *by);
bool dispatch_alive(const struct dispatch *dispatch, int rank);
double dispatch_silence(const struct dispatch *dispatch, int rank, double now); /* s since rank was heard */
/* The number of quarantined units; units (NULL, or room for all of them) is filled in rising order. */
uint64_t dispatch_quarantined(const struct dispatch *dispatch, uint64_t *units);

#endif
