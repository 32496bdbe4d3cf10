/* The coordinator's state machine: which rank does which unit. */
#include "cluster/dispatch.h"

#include "cluster/order.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 2 };

enum unit_state { TODO, HELD, DONE, QUARANTINED, SKIPPED };

struct dispatch_unit {
    enum unit_state state;
    int holder;               /* HELD: its rank; TODO: the lost rank that may still be at it, or -1 */
    int failures;             /* errors and lost ranks */
    int avoid;                /* the rank of the last failure, or -1 */
    uint64_t waits, hopeless; /* of the units it needs: how many are not done, and how many never will be */
    uint64_t needed_by;       /* the unit that needs it, or `count` */
    bool given_up;            /* what it needs is not tried any more */
    uint64_t place;           /* in the order */
};

struct rank {
    double heard; /* when it last said something; before the first tick: -1 */
    bool alive, waiting;
};

struct dispatch {
    struct dispatch_unit *units;
    struct rank *ranks;
    uint64_t count, finished, quarantined, skipped;
    uint64_t *order; /* [count]: units in the order in which they are given out */
    uint64_t next;   /* a place in it: no unit before is TODO */
    bool dry;        /* no unit can be given to anybody, so that those who wait need not be looked at */
    int size;
    double lease, ticked;
};

int dispatch_new(struct dispatch **dispatch, uint64_t count, const uint64_t *needs, int ranks, double lease,
                 struct error *err) {
    struct dispatch *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    *made = (struct dispatch){.count = count, .size = ranks, .lease = lease, .ticked = -1};
    made->units = calloc(count + 1, sizeof *made->units);
    made->order = calloc(count + 1, sizeof *made->order);
    made->ranks = calloc((size_t)ranks, sizeof *made->ranks);
    if (!made->units || !made->order || !made->ranks) {
        dispatch_free(made);
        return error_memory(err);
    }
    for (uint64_t i = 0; i < count; i++) {
        made->units[i] = (struct dispatch_unit){
            .holder = -1, .avoid = -1, .needed_by = count, .waits = needs ? needs[i] : 0};
        for (uint64_t k = 1; k <= made->units[i].waits; k++) made->units[i - k].needed_by = i;
    }
    for (int i = 0; i < ranks; i++) made->ranks[i] = (struct rank){.heard = -1, .alive = true};
    dispatch_order(made, 0);
    *dispatch = made;
    return 0;
}

/* place counts down, until then, what of the needed is not in the order yet. */
void dispatch_order(struct dispatch *dispatch, int ahead) {
    uint64_t placed = 0, count = dispatch->count;
    for (uint64_t i = 0; i < count; i++) dispatch->units[i].place = dispatch->units[i].waits;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t next = order_unit(i, count, ahead);
        if (dispatch->units[next].waits > 0) continue;
        do {
            dispatch->order[placed] = next;
            dispatch->units[next].place = placed++;
            next = dispatch->units[next].needed_by;
        } while (next < count && --dispatch->units[next].place == 0);
    }
}

void dispatch_free(struct dispatch *dispatch) {
    if (!dispatch) return;
    free(dispatch->units);
    free(dispatch->order);
    free(dispatch->ranks);
    free(dispatch);
}

int dispatch_copy(struct dispatch **copy, const struct dispatch *dispatch, struct error *err) {
    struct dispatch *made;
    if (dispatch_new(&made, dispatch->count, NULL, dispatch->size, dispatch->lease, err) != 0) return -1;
    struct dispatch_unit *units = made->units;
    struct rank *ranks = made->ranks;
    uint64_t *order = made->order;
    *made = *dispatch;
    made->units = memcpy(units, dispatch->units, dispatch->count * sizeof *units);
    made->ranks = memcpy(ranks, dispatch->ranks, (size_t)dispatch->size * sizeof *ranks);
    made->order = memcpy(order, dispatch->order, dispatch->count * sizeof *order);
    *copy = made;
    return 0;
}

size_t dispatch_state(const struct dispatch *dispatch, double now, unsigned char *state, size_t size) {
    size_t used = 0;
    if (size < 7 * dispatch->count + (size_t)dispatch->size) return 0;
    for (uint64_t i = 0; i < dispatch->count; i++) {
        const struct dispatch_unit *unit = &dispatch->units[i];
        const int values[] = {(int)unit->state, unit->holder,        unit->failures, unit->avoid,
                              (int)unit->waits, (int)unit->hopeless, unit->given_up};
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) state[used++] = (unsigned char)values[k];
    }
    for (int i = 0; i < dispatch->size; i++) {
        const struct rank *rank = &dispatch->ranks[i];
        bool quiet = rank->alive && now - rank->heard > dispatch->lease / 2;
        state[used++] = (unsigned char)(rank->alive | rank->waiting << 1 | quiet << 2);
    }
    return used;
}

static bool alive_besides(const struct dispatch *dispatch, int rank) {
    for (int i = 0; i < dispatch->size; i++)
        if (i != rank && dispatch->ranks[i].alive) return true;
    return false;
}

/* The first unit to do that this rank may have. */
static bool take(struct dispatch *dispatch, int rank, uint64_t *unit) {
    bool avoided = false;
    if (dispatch->dry) return false;
    while (dispatch->next < dispatch->count && dispatch->units[dispatch->order[dispatch->next]].state != TODO)
        dispatch->next++;
    for (uint64_t place = dispatch->next; place < dispatch->count; place++) {
        struct dispatch_unit *candidate = &dispatch->units[dispatch->order[place]];
        if (candidate->state != TODO || candidate->waits > 0) continue;
        if (candidate->avoid == rank && alive_besides(dispatch, rank)) {
            avoided = true;
            continue;
        }
        candidate->state = HELD;
        candidate->holder = rank;
        *unit = dispatch->order[place];
        return true;
    }
    dispatch->dry = !avoided;
    return false;
}

static void to_do(struct dispatch *dispatch, struct dispatch_unit *unit) {
    unit->state = TODO;
    dispatch->dry = false;
    if (unit->place < dispatch->next) dispatch->next = unit->place;
}

/* A unit becomes QUARANTINED or SKIPPED (state), and those that need it SKIPPED. */
static void leave_out(struct dispatch *dispatch, uint64_t index, enum unit_state state) {
    dispatch->quarantined += state == QUARANTINED;
    dispatch->skipped += state == SKIPPED;
    dispatch->finished++;
    dispatch->units[index].state = state;
    uint64_t by = dispatch->units[index].needed_by;
    if (by < dispatch->count && dispatch->units[by].hopeless++ == 0) leave_out(dispatch, by, SKIPPED);
}

/* It was done after all. */
static void find_needing(struct dispatch *dispatch, uint64_t index) {
    for (uint64_t i = dispatch->units[index].needed_by; i < dispatch->count; i = dispatch->units[i].needed_by) {
        if (--dispatch->units[i].hopeless > 0) return;
        to_do(dispatch, &dispatch->units[i]);
        dispatch->skipped--;
        dispatch->finished--;
    }
}

static bool is_given_up(const struct dispatch *dispatch, uint64_t index) {
    uint64_t by = dispatch->units[index].needed_by;
    return by < dispatch->count && dispatch->units[by].given_up;
}

void dispatch_give_up(struct dispatch *dispatch, uint64_t unit) {
    uint64_t by = dispatch->units[unit].needed_by;
    if (by == dispatch->count) return;
    dispatch->units[by].given_up = true;
    for (uint64_t i = by; i > 0 && dispatch->units[i - 1].needed_by == by; i--)
        if (dispatch->units[i - 1].state == TODO) leave_out(dispatch, i - 1, SKIPPED);
}

void dispatch_failed_before(struct dispatch *dispatch, uint64_t unit, int failures) {
    dispatch->units[unit].failures = failures;
    if (failures >= TRIES) leave_out(dispatch, unit, QUARANTINED);
}

/* One try at a held unit came to nothing. holder: who may still be at it, or -1. */
static void try_again(struct dispatch *dispatch, uint64_t index, int holder) {
    struct dispatch_unit *unit = &dispatch->units[index];
    unit->avoid = unit->holder;
    unit->holder = holder;
    if (++unit->failures >= TRIES) leave_out(dispatch, index, QUARANTINED);
    else if (is_given_up(dispatch, index)) leave_out(dispatch, index, SKIPPED);
    else to_do(dispatch, unit);
}

static void lose(struct dispatch *dispatch, int rank) {
    dispatch->ranks[rank].alive = false;
    for (uint64_t i = 0; i < dispatch->count; i++)
        if (dispatch->units[i].state == HELD && dispatch->units[i].holder == rank) try_again(dispatch, i, rank);
}

/* Back from the dead: what nobody else took it still has, and that was no failure. What was quarantined stays so until
 * it is done: the end of the work, once announced, is not taken back. */
static void find_again(struct dispatch *dispatch, int rank) {
    dispatch->ranks[rank].alive = true;
    for (uint64_t i = 0; i < dispatch->count; i++) {
        struct dispatch_unit *unit = &dispatch->units[i];
        if (unit->holder != rank || unit->state != TODO) continue;
        unit->state = HELD;
        unit->failures--;
    }
}

static void finish(struct dispatch *dispatch, uint64_t index) {
    struct dispatch_unit *unit = &dispatch->units[index];
    if (unit->state == DONE) return;
    bool over = dispatch_finished(dispatch);
    bool left_out = unit->state == QUARANTINED || unit->state == SKIPPED; /* it worked after all */
    if (unit->state == QUARANTINED) dispatch->quarantined--;
    else if (unit->state == SKIPPED) dispatch->skipped--;
    else dispatch->finished++;
    if (left_out && !over) find_needing(dispatch, index);
    unit->state = DONE;
    if (unit->needed_by < dispatch->count && --dispatch->units[unit->needed_by].waits == 0) dispatch->dry = false;
}

static void look_for_lost(struct dispatch *dispatch, double now) {
    bool was_away = dispatch->ticked < 0 || now - dispatch->ticked > dispatch->lease / 2;
    for (int i = 0; i < dispatch->size; i++) {
        struct rank *rank = &dispatch->ranks[i];
        if (was_away && rank->alive) rank->heard = now;
        if (rank->alive && now - rank->heard > dispatch->lease) lose(dispatch, i);
    }
    dispatch->ticked = now;
}

/* Answers whoever waits, as far as there is something to say. A rank that has been silent for half a lease is probably
 * dead: it gets nothing before it is heard again. */
static size_t answer(struct dispatch *dispatch, double now, struct dispatch_reply *replies) {
    size_t count = 0;
    for (int i = 0; i < dispatch->size; i++) {
        struct rank *rank = &dispatch->ranks[i];
        uint64_t unit = 0;
        if (!rank->waiting || !rank->alive || now - rank->heard > dispatch->lease / 2) continue;
        enum dispatch_reply_kind kind = dispatch_finished(dispatch) ? REPLY_STOP : REPLY_UNIT;
        if (kind == REPLY_UNIT && !take(dispatch, i, &unit)) continue;
        rank->waiting = false;
        replies[count++] = (struct dispatch_reply){kind, i, unit};
    }
    return count;
}

size_t dispatch_step(struct dispatch *dispatch, const struct dispatch_event *event, struct dispatch_reply *replies) {
    if (event->kind == EVENT_TICK) {
        look_for_lost(dispatch, event->now);
        return answer(dispatch, event->now, replies);
    }
    struct rank *rank = &dispatch->ranks[event->rank];
    struct dispatch_unit *unit = &dispatch->units[event->unit];
    rank->heard = event->now;
    if (!rank->alive) find_again(dispatch, event->rank);
    if (event->kind == EVENT_REQUEST) rank->waiting = true;
    if (event->kind == EVENT_DONE) finish(dispatch, event->unit);
    /* A failure counts only from the rank that holds the unit: another's is late news. */
    if (event->kind == EVENT_FAILED && unit->state == HELD && unit->holder == event->rank)
        try_again(dispatch, event->unit, -1);
    return answer(dispatch, event->now, replies);
}

bool dispatch_finished(const struct dispatch *dispatch) {
    return dispatch->finished == dispatch->count;
}

uint64_t dispatch_done(const struct dispatch *dispatch) {
    return dispatch->finished - dispatch->quarantined - dispatch->skipped;
}

bool dispatch_is_done(const struct dispatch *dispatch, uint64_t unit) {
    return dispatch->units[unit].state == DONE;
}

bool dispatch_is_quarantined(const struct dispatch *dispatch, uint64_t unit) {
    return dispatch->units[unit].state == QUARANTINED;
}

uint64_t dispatch_skipped(const struct dispatch *dispatch) {
    return dispatch->skipped;
}

bool dispatch_needed(const struct dispatch *dispatch, uint64_t unit, uint64_t *by) {
    *by = dispatch->units[unit].needed_by;
    return *by < dispatch->count;
}

bool dispatch_alive(const struct dispatch *dispatch, int rank) {
    return dispatch->ranks[rank].alive;
}

double dispatch_silence(const struct dispatch *dispatch, int rank, double now) {
    double heard = dispatch->ranks[rank].heard;
    return heard < 0 ? 0 : now - heard;
}

uint64_t dispatch_quarantined(const struct dispatch *dispatch, uint64_t *units) {
    for (uint64_t i = 0, found = 0; units && i < dispatch->count; i++)
        if (dispatch->units[i].state == QUARANTINED) units[found++] = i;
    return dispatch->quarantined;
}
