/* Rank 0: gives out units, notices lost ranks, ends the work. */
#include "cluster/coordinator.h"

#include "base/log.h"

#include <stdlib.h>

struct coordinator {
    struct comm *comm;
    const struct task *task;
    uint64_t run;
    double lease, pulsed;
    struct dispatch *dispatch;
    struct dispatch_reply *replies; /* [ranks] */
    struct tally *tallies;          /* [units]: of those done that a unit needs */
    bool *left;                     /* [ranks]: LEFT came, and no GONE */
    bool *missed;                   /* [ranks]: said to be lost, in the log */
    bool stopping, ended;
    enum code code; /* stopping: why */
};

/* A unit was quarantined: is it worth to try the others? */
static bool gives_up(struct coordinator *coordinator, uint64_t unit) {
    const struct task *task = coordinator->task;
    if (!task->give_up || !task->give_up(task->context, unit)) return false;
    dispatch_give_up(coordinator->dispatch, unit);
    return true;
}

int coordinator_new(struct coordinator **coordinator, struct comm *comm, uint64_t run, uint64_t count,
                    const uint64_t *needs, const struct task *task, double lease, struct error *err) {
    struct coordinator *made = calloc(1, sizeof *made);
    size_t size = (size_t)comm_size(comm);
    if (!made) return error_memory(err);
    *made = (struct coordinator){.comm = comm, .task = task, .run = run, .lease = lease};
    made->replies = calloc(size, sizeof *made->replies);
    made->tallies = calloc(count + 1, sizeof *made->tallies);
    made->left = calloc(size, sizeof *made->left);
    made->missed = calloc(size, sizeof *made->missed);
    int rc = made->replies && made->tallies && made->left && made->missed ? 0 : error_memory(err);
    if (rc == 0) rc = dispatch_new(&made->dispatch, count, needs, (int)size, lease, err);
    if (rc == 0) dispatch_order(made->dispatch, task->ahead);
    uint64_t told = rc == 0 && task->failures ? count : 0;
    for (uint64_t i = 0; i < told; i++) dispatch_failed_before(made->dispatch, i, task->failures[i]);
    for (uint64_t i = 0; i < told; i++) /* once all are known: what is skipped has no failures to add */
        if (dispatch_is_quarantined(made->dispatch, i)) gives_up(made, i);
    if (rc == 0) *coordinator = made;
    else coordinator_free(made);
    return rc;
}

void coordinator_free(struct coordinator *coordinator) {
    if (!coordinator) return;
    dispatch_free(coordinator->dispatch);
    free(coordinator->missed);
    free(coordinator->left);
    free(coordinator->tallies);
    free(coordinator->replies);
    free(coordinator);
}

/* A rank that can't be reached is the lease's business. */
static void tell_rank(struct coordinator *coordinator, int rank, struct message message) {
    struct error ignored;
    message.run = coordinator->run;
    comm_send(coordinator->comm, rank, &message, sizeof message, &ignored);
}

static void stop_all(struct coordinator *coordinator, enum code code) {
    if (coordinator->stopping) return;
    coordinator->stopping = true;
    coordinator->code = code;
    for (int rank = 0; rank < comm_size(coordinator->comm); rank++)
        tell_rank(coordinator, rank, (struct message){.kind = MESSAGE_STOP, .code = (int32_t)code});
}

static void step(struct coordinator *coordinator, const struct dispatch_event *event) {
    size_t count = dispatch_step(coordinator->dispatch, event, coordinator->replies);
    for (size_t i = 0; i < count && !coordinator->stopping; i++) {
        const struct dispatch_reply *reply = &coordinator->replies[i];
        if (reply->kind == REPLY_STOP) stop_all(coordinator, CODE_OK); /* who did not ask is at a unit done elsewhere */
        else
            tell_rank(coordinator, reply->rank,
                      (struct message){
                          .kind = MESSAGE_UNIT, .unit = reply->unit, .tally = coordinator->tallies[reply->unit]});
    }
}

/* Before the event is, so that the unit that waits for this one goes out with the whole tally. */
static void note_tally(struct coordinator *coordinator, const struct message *message) {
    uint64_t by;
    if (!dispatch_needed(coordinator->dispatch, message->unit, &by)) return;
    for (int i = 0; i < TALLY; i++) coordinator->tallies[by].values[i] += message->tally.values[i];
}

bool coordinator_hear(struct coordinator *coordinator, int from, const struct message *message, double now) {
    static const enum dispatch_event_kind events[] = {
        [MESSAGE_REQUEST] = EVENT_REQUEST, [MESSAGE_DONE] = EVENT_DONE,  [MESSAGE_FAILED] = EVENT_FAILED,
        [MESSAGE_ALIVE] = EVENT_ALIVE,     [MESSAGE_HALT] = EVENT_ALIVE, [MESSAGE_LEFT] = EVENT_ALIVE,
    };
    if (message->kind == MESSAGE_HALT) stop_all(coordinator, (enum code)message->code);
    if (message->kind == MESSAGE_LEFT || message->kind == MESSAGE_GONE)
        coordinator->left[from] = message->kind == MESSAGE_LEFT;
    if (message->kind == MESSAGE_GONE) return false; /* no sign of life */
    struct dispatch_event event = {.kind = events[message->kind], .rank = from, .unit = message->unit, .now = now};
    bool news = message->kind == MESSAGE_DONE && !dispatch_is_done(coordinator->dispatch, message->unit);
    if (news) note_tally(coordinator, message);
    bool could = message->kind == MESSAGE_FAILED && !dispatch_is_quarantined(coordinator->dispatch, message->unit);
    step(coordinator, &event);
    event.kind = EVENT_ALIVE; /* to tell those who wait */
    if (could && dispatch_is_quarantined(coordinator->dispatch, message->unit) && gives_up(coordinator, message->unit))
        step(coordinator, &event);
    return news;
}

static void pulse(struct coordinator *coordinator, double now) {
    if (now - coordinator->pulsed < message_pause(coordinator->lease)) return;
    coordinator->pulsed = now;
    step(coordinator, &(struct dispatch_event){.kind = EVENT_TICK, .now = now});
    for (int rank = 0; rank < comm_size(coordinator->comm); rank++) {
        bool alive = dispatch_alive(coordinator->dispatch, rank);
        if (alive) tell_rank(coordinator, rank, (struct message){.kind = MESSAGE_PULSE});
        if (alive != coordinator->missed[rank]) continue;
        coordinator->missed[rank] = !alive;
        if (alive) log_warn("rank %d is back", rank);
        else log_warn("rank %d has been silent for %g s: its units go to others", rank, coordinator->lease);
    }
}

/* All ranks must agree on how many are lost, for it decides whether they may meet in MPI again. */
static void end_together(struct coordinator *coordinator, double now) {
    int size = comm_size(coordinator->comm), lost = 0;
    if (!coordinator->stopping || coordinator->ended) return;
    for (int rank = 0; rank < size; rank++) {
        double silence = dispatch_silence(coordinator->dispatch, rank, now);
        if (silence > message_patience(coordinator->lease, coordinator->code)) lost++; /* even one that had LEFT */
        else if (!coordinator->left[rank]) return;
    }
    coordinator->ended = true;
    for (int rank = 0; rank < size; rank++)
        tell_rank(coordinator, rank, (struct message){.kind = MESSAGE_END, .lost = lost});
}

void coordinator_turn(struct coordinator *coordinator, double now) {
    pulse(coordinator, now);
    end_together(coordinator, now);
}

const struct dispatch *coordinator_dispatch(const struct coordinator *coordinator) {
    return coordinator->dispatch;
}

int coordinator_alive(const struct coordinator *coordinator) {
    int alive = 0;
    for (int rank = 0; rank < comm_size(coordinator->comm); rank++)
        alive += dispatch_alive(coordinator->dispatch, rank);
    return alive;
}
