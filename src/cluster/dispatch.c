#include "cluster/dispatch.h"

#include <stdlib.h>

enum unit_state { TODO, HELD, DONE, QUARANTINED };

struct unit {
    enum unit_state state;
    int holder;   /* HELD: its rank */
    int failures;
    int failed_on; /* the rank of the first failure, or -1 */
};

struct rank {
    double heard;  /* when it last said something */
    bool alive, waiting, stopped;
};

struct dispatch {
    struct unit *units;
    struct rank *ranks;
    uint64_t count, finished, quarantined, next; /* next: no TODO unit is before it */
    int size;
    double lease;
};

int dispatch_new(struct dispatch **dispatch, uint64_t count, int ranks, double lease, struct error *err) {
    struct dispatch *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    *made = (struct dispatch){.count = count, .size = ranks, .lease = lease};
    made->units = calloc(count + 1, sizeof *made->units);
    made->ranks = calloc((size_t)ranks, sizeof *made->ranks);
    if (!made->units || !made->ranks) {
        dispatch_free(made);
        return error_memory(err);
    }
    for (uint64_t i = 0; i < count; i++) made->units[i].failed_on = -1;
    for (int i = 0; i < ranks; i++) made->ranks[i] = (struct rank){.heard = -1, .alive = true};
    *dispatch = made;
    return 0;
}

void dispatch_free(struct dispatch *dispatch) {
    if (!dispatch) return;
    free(dispatch->units);
    free(dispatch->ranks);
    free(dispatch);
}

static int alive_besides(const struct dispatch *dispatch, int rank) {
    for (int i = 0; i < dispatch->size; i++)
        if (i != rank && dispatch->ranks[i].alive) return 1;
    return 0;
}

/* The first unit to do that this rank may have: a second try goes to another rank while there is one. */
static bool take(struct dispatch *dispatch, int rank, uint64_t *unit) {
    while (dispatch->next < dispatch->count && dispatch->units[dispatch->next].state != TODO) dispatch->next++;
    for (uint64_t i = dispatch->next; i < dispatch->count; i++) {
        struct unit *candidate = &dispatch->units[i];
        if (candidate->state != TODO || (candidate->failed_on == rank && alive_besides(dispatch, rank))) continue;
        candidate->state = HELD;
        candidate->holder = rank;
        *unit = i;
        return true;
    }
    return false;
}

static void put_back(struct dispatch *dispatch, uint64_t unit) {
    dispatch->units[unit].state = TODO;
    if (unit < dispatch->next) dispatch->next = unit;
}

static void release(struct dispatch *dispatch, int rank) {
    for (uint64_t i = 0; i < dispatch->count; i++)
        if (dispatch->units[i].state == HELD && dispatch->units[i].holder == rank) put_back(dispatch, i);
}

static void lose(struct dispatch *dispatch, int rank) {
    dispatch->ranks[rank].alive = dispatch->ranks[rank].waiting = false;
    release(dispatch, rank);
}

static void finish(struct dispatch *dispatch, uint64_t unit) {
    if (dispatch->units[unit].state == DONE) return;
    if (dispatch->units[unit].state == QUARANTINED) dispatch->quarantined--; /* it worked after all */
    else dispatch->finished++;
    dispatch->units[unit].state = DONE;
}

/* A failure counts only from the rank that holds the unit; others' are late news. */
static void fail(struct dispatch *dispatch, uint64_t unit, int rank) {
    struct unit *failed = &dispatch->units[unit];
    if (failed->state != HELD || failed->holder != rank) return;
    if (failed->failures++ == 0) {
        failed->failed_on = rank;
        put_back(dispatch, unit);
        return;
    }
    failed->state = QUARANTINED;
    dispatch->quarantined++;
    dispatch->finished++;
}

/* Answers whoever waits, as far as there is something to say. */
static size_t answer(struct dispatch *dispatch, struct dispatch_reply *replies) {
    size_t count = 0;
    for (int rank = 0; rank < dispatch->size; rank++) {
        uint64_t unit = 0;
        if (!dispatch->ranks[rank].waiting) continue;
        enum dispatch_reply_kind kind = REPLY_STOP;
        if (!dispatch_finished(dispatch)) {
            if (!take(dispatch, rank, &unit)) continue;
            kind = REPLY_UNIT;
        }
        dispatch->ranks[rank].waiting = false;
        replies[count++] = (struct dispatch_reply){kind, rank, unit};
    }
    return count;
}

size_t dispatch_step(struct dispatch *dispatch, const struct dispatch_event *event, struct dispatch_reply *replies) {
    struct rank *rank = &dispatch->ranks[event->rank];
    if (event->kind != EVENT_TICK && event->kind != EVENT_GONE) {
        rank->alive = true;
        rank->heard = event->now;
    }
    switch (event->kind) {
        case EVENT_REQUEST: rank->waiting = true; break;
        case EVENT_DONE: finish(dispatch, event->unit); break;
        case EVENT_FAILED: fail(dispatch, event->unit, event->rank); break;
        case EVENT_GONE: lose(dispatch, event->rank); break;
        case EVENT_TICK:
            for (int i = 0; i < dispatch->size; i++) {
                if (dispatch->ranks[i].heard < 0) dispatch->ranks[i].heard = event->now;
                if (dispatch->ranks[i].alive && event->now - dispatch->ranks[i].heard > dispatch->lease) lose(dispatch, i);
            }
            break;
        case EVENT_ALIVE: break;
    }
    return answer(dispatch, replies);
}

bool dispatch_finished(const struct dispatch *dispatch) {
    return dispatch->finished == dispatch->count;
}

uint64_t dispatch_done(const struct dispatch *dispatch) {
    return dispatch->finished - dispatch->quarantined;
}

int dispatch_alive(const struct dispatch *dispatch, int rank) {
    return dispatch->ranks[rank].alive;
}

uint64_t dispatch_quarantined(const struct dispatch *dispatch, uint64_t i, uint64_t *unit) {
    for (uint64_t k = 0; unit && k < dispatch->count; k++)
        if (dispatch->units[k].state == QUARANTINED && i-- == 0) {
            *unit = k;
            break;
        }
    return dispatch->quarantined;
}
