/* Who does what: the coordinator's state machine, a pure function (state, event) -> (state, messages). It knows neither
 * MPI nor time (the clock is an event's field) nor what a unit is, so tests run this very code over all interleavings.
 * Units are given out in order; a unit whose holder died or whose lease ran out is given out again; a unit that failed
 * twice is quarantined. */
#ifndef CLUSTER_DISPATCH_H
#define CLUSTER_DISPATCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dispatch_event_kind {
    EVENT_REQUEST, /* rank wants a unit */
    EVENT_DONE,    /* rank committed `unit` */
    EVENT_FAILED,  /* rank could not make `unit` */
    EVENT_ALIVE,   /* rank lives (any message says so too) */
    EVENT_GONE,    /* rank left, giving back what it holds */
    EVENT_TICK,    /* time passed: look for expired leases */
};
struct dispatch_event {
    enum dispatch_event_kind kind;
    int rank;
    uint64_t unit;
    double now; /* s, monotonic */
};

enum dispatch_reply_kind {
    REPLY_UNIT, /* do `unit` */
    REPLY_WAIT, /* nothing to give now: others hold the rest */
    REPLY_STOP, /* all is done or quarantined: finish */
};
struct dispatch_reply {
    enum dispatch_reply_kind kind;
    int rank;
    uint64_t unit;
};

struct dispatch; /* the state */

/* units 0..count-1 are all to do. lease: seconds of silence after which a rank counts as dead. */
int dispatch_new(struct dispatch **dispatch, uint64_t count, int ranks, double lease, struct error *err);
void dispatch_free(struct dispatch *dispatch);
/* Applies one event; appends at most `ranks` replies to replies[], returns their number. A waiting rank is answered
 * when a later event frees a unit or ends the work. */
size_t dispatch_step(struct dispatch *dispatch, const struct dispatch_event *event, struct dispatch_reply *replies);
bool dispatch_finished(const struct dispatch *dispatch); /* every unit done or quarantined */
uint64_t dispatch_done(const struct dispatch *dispatch);
int dispatch_alive(const struct dispatch *dispatch, int rank);
/* Units quarantined so far; *unit = the i-th. */
uint64_t dispatch_quarantined(const struct dispatch *dispatch, uint64_t i, uint64_t *unit);

#endif
