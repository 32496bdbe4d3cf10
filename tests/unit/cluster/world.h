/* For tests of the coordinator's state machine: a small world of ranks that ask, finish, fail, fall silent and die,
 * which checks after each event that the rules hold, and at the end that the work is done. */
#ifndef WORLD_H
#define WORLD_H

#include "cluster/dispatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 3, UNITS = 4 };
static const double LEASE = 10;

struct world {
    struct dispatch *dispatch;
    int ranks, units;
    const uint64_t *needs; /* [units] */
    bool over;             /* was finished once: what is skipped then stays so */
    double now;
    bool dead[RANKS], asked[RANKS], stopped[RANKS];
    bool has[RANKS][UNITS]; /* the rank is at the unit */
    bool excused[RANKS];    /* was lost once: what it has may be given to others */
    int failures[UNITS];    /* by our own count: errors, and losses of a rank that had it */
    bool done[UNITS];
};

static inline void fail_world(const struct world *world, const char *rule, int rank, int unit) {
    fail_msg("%s (rank %d, unit %d, %d ranks, %d units)", rule, rank, unit, world->ranks, world->units);
}

static inline int count_done(const struct world *world) {
    int done = 0;
    for (int unit = 0; unit < world->units; unit++) done += world->done[unit];
    return done;
}

static const uint64_t NONE[UNITS], LAST[UNITS] = {0, 0, 2, 0}, CHAIN[UNITS] = {0, 1, 1, 1}, ALL[UNITS] = {0, 0, 0, 3},
                                   PAIRS[UNITS] = {0, 1, 0, 1};
static const uint64_t *const NEEDS[] = {NONE, LAST, CHAIN, ALL, PAIRS};

/* Units that can't be done, for what they need is quarantined or can't be done itself. */
static inline int count_hopeless(const struct world *world, const uint64_t *quarantine, uint64_t quarantined) {
    bool lost[UNITS] = {false};
    int hopeless = 0;
    for (uint64_t i = 0; i < quarantined; i++) lost[quarantine[i]] = true;
    for (int unit = 0; unit < world->units; unit++)
        for (uint64_t k = 1; k <= world->needs[unit]; k++)
            if (lost[(uint64_t)unit - k] && !lost[unit]) hopeless += lost[unit] = true;
    return hopeless;
}

static inline void check_unit(struct world *world, int rank, int unit) {
    if (unit >= world->units) fail_world(world, "no such unit", rank, unit);
    if (world->done[unit]) fail_world(world, "a unit that is done is given out", rank, unit);
    for (uint64_t k = 1; k <= world->needs[unit]; k++)
        if (!world->done[(uint64_t)unit - k]) fail_world(world, "what it needs is not done", rank, unit);
    for (int other = 0; other < world->ranks; other++) {
        if (!world->has[other][unit]) continue;
        if (other == rank) fail_world(world, "a rank is given what it has", rank, unit);
        if (!world->excused[other] && !world->dead[other])
            fail_world(world, "two live ranks have one unit", rank, unit);
    }
    world->has[rank][unit] = true;
}

static inline void step(struct world *world, enum dispatch_event_kind kind, int rank, int unit) {
    struct dispatch_event event = {kind, rank, (uint64_t)unit, world->now};
    struct dispatch_reply replies[RANKS];
    size_t count = dispatch_step(world->dispatch, &event, replies);
    for (size_t i = 0; i < count; i++) {
        int to = replies[i].rank;
        if (!world->asked[to]) fail_world(world, "an answer nobody asked for", to, (int)replies[i].unit);
        world->asked[to] = false;
        if (replies[i].kind == REPLY_UNIT) check_unit(world, to, (int)replies[i].unit);
        else if (!dispatch_finished(world->dispatch)) fail_world(world, "stopped too early", to, -1);
        else world->stopped[to] = true;
    }
    uint64_t quarantine[UNITS], quarantined = dispatch_quarantined(world->dispatch, quarantine);
    assert_int_equal(dispatch_done(world->dispatch), count_done(world));
    for (uint64_t i = 0; i < quarantined; i++) {
        if (world->done[quarantine[i]]) fail_world(world, "quarantined, but done", rank, (int)quarantine[i]);
        if (world->failures[quarantine[i]] < 2) fail_world(world, "quarantined too early", rank, (int)quarantine[i]);
    }
    int skipped = (int)dispatch_skipped(world->dispatch);
    if (!world->over) assert_int_equal(skipped, count_hopeless(world, quarantine, quarantined));
    world->over |= dispatch_finished(world->dispatch);
    if (dispatch_finished(world->dispatch))
        assert_int_equal(count_done(world) + (int)quarantined + skipped, world->units);
}

static inline int first_unit(const struct world *world, int rank) {
    for (int unit = 0; unit < world->units; unit++)
        if (world->has[rank][unit]) return unit;
    return -1;
}

/* The others say that they live while rank (-1: nobody) is silent for longer than a lease. */
static inline void pass_time(struct world *world, int silent) {
    if (silent >= 0) {
        world->excused[silent] = true;
        for (int unit = 0; unit < world->units; unit++) world->failures[unit] += world->has[silent][unit];
    }
    for (int i = 0; i < 6; i++) {
        world->now += LEASE / 5;
        for (int rank = 0; rank < world->ranks; rank++)
            if (rank != silent && !world->dead[rank]) step(world, EVENT_ALIVE, rank, 0);
        step(world, EVENT_TICK, 0, 0);
    }
    if (silent >= 0) assert_false(dispatch_alive(world->dispatch, silent));
}

enum action { ASK, FINISH, FAIL, SILENCE, DIE, ACTIONS };

/* False: this can't happen now. */
static inline bool act(struct world *world, enum action action, int rank) {
    int unit = first_unit(world, rank);
    if (world->dead[rank] || world->stopped[rank]) return false;
    switch (action) {
        case ASK:
            if (world->asked[rank]) return false;
            world->asked[rank] = true;
            step(world, EVENT_REQUEST, rank, 0);
            return true;
        case FINISH:
            if (unit < 0) return false;
            world->has[rank][unit] = false;
            world->done[unit] = true;
            step(world, EVENT_DONE, rank, unit);
            return true;
        case FAIL:
            if (unit < 0) return false;
            world->has[rank][unit] = false;
            world->failures[unit]++;
            step(world, EVENT_FAILED, rank, unit);
            return true;
        case DIE: /* rank 0 is the coordinator itself */
            if (rank == 0) return false;
            world->dead[rank] = true;
            pass_time(world, rank);
            return true;
        case SILENCE: pass_time(world, rank); return true;
        default: return false;
    }
}

/* From here on nothing goes wrong any more: everything ends, and every rank that lives is told so. */
static inline void finish(struct world *world) {
    for (int round = 0; round < 3 * UNITS; round++)
        for (int rank = 0; rank < world->ranks; rank++) {
            if (!world->dead[rank]) step(world, EVENT_ALIVE, rank, 0);
            act(world, ASK, rank);
            act(world, FINISH, rank);
            world->now += LEASE / 50;
            step(world, EVENT_TICK, 0, 0);
        }
    if (!dispatch_finished(world->dispatch)) fail_world(world, "the work does not end", -1, -1);
    for (int rank = 0; rank < world->ranks; rank++)
        if (!world->dead[rank] && !world->stopped[rank]) fail_world(world, "waits for ever", rank, -1);
}

static inline struct world begin_with(int ranks, int units, const uint64_t *needs) {
    struct world world = {.ranks = ranks, .units = units, .needs = needs, .now = 100};
    struct error err;
    assert_int_equal(dispatch_new(&world.dispatch, (uint64_t)units, needs, ranks, LEASE, &err), 0);
    step(&world, EVENT_TICK, 0, 0);
    return world;
}

#endif
