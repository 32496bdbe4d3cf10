#include "cluster/cluster.h"

#include "base/clock.h"
#include "base/log.h"
#include "cluster/dispatch.h"
#include "cluster/queue.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const double SLEEP = 0.001, PROGRESS = 0.1, HEARTBEAT = 1;

enum message_kind { MESSAGE_REQUEST, MESSAGE_DONE, MESSAGE_FAILED, MESSAGE_ALIVE, MESSAGE_HALT, MESSAGE_UNIT, MESSAGE_STOP };
struct message {
    enum message_kind kind;
    enum code code; /* HALT, STOP: CODE_OK all done; CODE_AGAIN interrupted; else a rank's fatal error */
    int lost;       /* STOP: ranks that died */
    uint64_t unit;  /* an index into units[] */
};

struct node { /* the communication thread's state; nobody else touches it */
    struct comm *comm;
    struct queue *queue;
    const struct task *task;
    const uint64_t *units;
    double lease, last_alive, last_progress, heard; /* heard: when the coordinator last said something */
    volatile sig_atomic_t *stop;
    bool asked, halted, stopped;
    enum code code;
    int lost;
    struct dispatch *dispatch; /* rank 0 */
    struct dispatch_reply *replies;
    bool *told;                /* rank 0: STOP was sent */
};

static void receive(struct node *node, int from, const struct message *message);

/* A message to oneself is a function call. A rank that can't be reached is the lease's business. */
static void send(struct node *node, int rank, const struct message *message) {
    struct error ignored;
    if (rank == comm_rank(node->comm)) receive(node, rank, message);
    else comm_send(node->comm, rank, message, sizeof *message, &ignored);
}

static int lost_ranks(const struct node *node) {
    int lost = 0;
    for (int i = 0; i < comm_size(node->comm); i++) lost += !dispatch_alive(node->dispatch, i);
    return lost;
}

static void send_stop(struct node *node, int rank, enum code code) {
    struct message message = {.kind = MESSAGE_STOP, .code = code, .lost = lost_ranks(node)};
    node->told[rank] = true;
    send(node, rank, &message);
}

/* Rank 0: one event into the dispatcher, its replies out. */
static void step(struct node *node, enum dispatch_event_kind kind, int rank, uint64_t unit) {
    struct dispatch_event event = {kind, rank, unit, clock_seconds()};
    size_t count = dispatch_step(node->dispatch, &event, node->replies);
    struct dispatch_reply replies[count + 1]; /* sending to oneself may step again */
    memcpy(replies, node->replies, count * sizeof *replies);
    for (size_t i = 0; i < count; i++) {
        struct message message = {.kind = MESSAGE_UNIT, .unit = replies[i].unit};
        if (replies[i].kind == REPLY_UNIT) send(node, replies[i].rank, &message);
        else if (replies[i].kind == REPLY_STOP) send_stop(node, replies[i].rank, CODE_OK);
    }
}

/* Rank 0: everybody stops now. */
static void halt(struct node *node, enum code code) {
    if (node->halted) return;
    node->halted = true;
    for (int rank = comm_size(node->comm); rank-- > 0;) send_stop(node, rank, code);
}

static void receive_as_coordinator(struct node *node, int from, const struct message *message) {
    switch (message->kind) {
        case MESSAGE_REQUEST: step(node, EVENT_REQUEST, from, 0); break;
        case MESSAGE_DONE: step(node, EVENT_DONE, from, message->unit); break;
        case MESSAGE_FAILED: step(node, EVENT_FAILED, from, message->unit); break;
        case MESSAGE_HALT: halt(node, message->code); break;
        default: step(node, EVENT_ALIVE, from, 0);
    }
}

static void receive(struct node *node, int from, const struct message *message) {
    if (from == 0) node->heard = clock_seconds();
    if (message->kind == MESSAGE_UNIT) {
        node->asked = false;
        queue_push(node->queue, message->unit);
    } else if (message->kind == MESSAGE_STOP) {
        node->stopped = true;
        node->code = message->code;
        node->lost = message->lost;
        if (message->code != CODE_OK) *node->stop = 1; /* executors look at it between two ops */
        queue_end(node->queue, message->code != CODE_OK);
    } else if (node->dispatch) {
        receive_as_coordinator(node, from, message);
    }
}

static void send_to_coordinator(struct node *node, enum message_kind kind, uint64_t unit, enum code code) {
    struct message message = {.kind = kind, .unit = unit, .code = code};
    send(node, 0, &message);
}

static void tell_news(struct node *node) {
    struct news news;
    while (!node->stopped && queue_news(node->queue, &news)) {
        if (news.kind == NEWS_FATAL) {
            struct error failure;
            queue_failure(node->queue, &failure);
            if (node->halted) return;
            send_to_coordinator(node, MESSAGE_HALT, 0, failure.code);
            node->halted = true;
            return;
        }
        send_to_coordinator(node, news.kind == NEWS_DONE ? MESSAGE_DONE : MESSAGE_FAILED, news.unit, CODE_OK);
    }
}

static void keep_alive(struct node *node, double now) {
    double pause = node->lease / 5 < HEARTBEAT ? node->lease / 5 : HEARTBEAT;
    if (now - node->last_alive < pause) return;
    node->last_alive = now;
    struct message message = {.kind = MESSAGE_ALIVE};
    if (!node->dispatch) {
        send(node, 0, &message);
        return;
    }
    step(node, EVENT_ALIVE, 0, 0);
    step(node, EVENT_TICK, 0, 0);
    for (int rank = 1; rank < comm_size(node->comm); rank++)
        if (dispatch_alive(node->dispatch, rank)) send(node, rank, &message);
}

/* Rank 0 stays until every rank that lives was told to stop. */
static bool others_told(const struct node *node) {
    for (int rank = 1; node->dispatch && rank < comm_size(node->comm); rank++)
        if (!node->told[rank] && dispatch_alive(node->dispatch, rank)) return false;
    return true;
}

static void show_progress(struct node *node, double now) {
    if (!node->dispatch || !node->task->progress || now - node->last_progress < PROGRESS) return;
    int alive = comm_size(node->comm) - lost_ranks(node);
    node->last_progress = now;
    node->task->progress(node->task->context, dispatch_done(node->dispatch), alive);
}

/* One round of the communication thread; false when it is over. */
static bool turn(struct node *node) {
    struct message message;
    size_t size;
    int from;
    bool heard = false;
    double now = clock_seconds();
    while (comm_receive(node->comm, &message, &size, &from)) {
        if (size == sizeof message) receive(node, from, &message);
        heard = true;
    }
    tell_news(node);
    if (*node->stop && !node->halted && !node->stopped) {
        send_to_coordinator(node, MESSAGE_HALT, 0, CODE_AGAIN);
        node->halted = true;
    }
    if (!node->asked && !node->stopped && !node->halted && queue_wants_more(node->queue)) {
        node->asked = true;
        send_to_coordinator(node, MESSAGE_REQUEST, 0, CODE_OK);
    }
    keep_alive(node, now);
    show_progress(node, now);
    if (!node->dispatch && !node->stopped && now - node->heard > 2 * node->lease) {
        struct message gone = {.kind = MESSAGE_STOP, .code = CODE_AGAIN, .lost = 1};
        log_warn("rank 0 has been silent for %.0f s", now - node->heard);
        receive(node, 0, &gone);
    }
    if (!heard) clock_sleep(SLEEP);
    return !(node->stopped && others_told(node) && queue_left(node->queue));
}

static void communicate(struct node *node) {
    node->heard = clock_seconds();
    while (turn(node)) {}
}

static int sum_up(struct node *node, struct outcome *outcome, struct error *err) {
    struct error failure;
    queue_failure(node->queue, &failure);
    double started = queue_started(node->queue);
    outcome->seconds = started > 0 ? clock_seconds() - started : 0;
    outcome->first_failure = failure;
    outcome->interrupted = node->code == CODE_AGAIN;
    outcome->ranks_lost = node->lost;
    if (node->dispatch) {
        uint64_t unit;
        outcome->done = dispatch_done(node->dispatch);
        outcome->quarantined = dispatch_quarantined(node->dispatch, 0, NULL);
        outcome->quarantine = calloc(outcome->quarantined + 1, sizeof *outcome->quarantine);
        if (!outcome->quarantine) return error_memory(err);
        for (uint64_t i = 0; i < outcome->quarantined; i++) {
            dispatch_quarantined(node->dispatch, i, &unit);
            outcome->quarantine[i] = node->units[unit];
        }
    }
    if (node->code == CODE_OK || node->code == CODE_AGAIN) return 0;
    *err = failure.code == node->code ? failure : (struct error){.code = node->code}; /* the failed rank has the word */
    return -1;
}

static int work_together(struct node *node, int workers, struct error *err) {
    int started = 0;
    omp_set_dynamic(0);
    /* Thread 0 is the one that started MPI: MPI_THREAD_FUNNELED is enough. */
#pragma omp parallel num_threads(workers + 1)
    {
#pragma omp single
        started = omp_get_num_threads();
        if (started == workers + 1) {
            if (omp_get_thread_num() == 0) communicate(node);
            else queue_work(node->queue, omp_get_thread_num() - 1);
        }
    }
    if (started == workers + 1) return 0;
    return error_set(err, CODE_INTERNAL, "OpenMP gave %d of %d threads; is OMP_THREAD_LIMIT set?", started, workers + 1);
}

int cluster_run(struct comm *comm, const uint64_t *units, uint64_t count, const struct task *task, int workers,
                double lease, volatile sig_atomic_t *stop, struct outcome *outcome, struct error *err) {
    struct node node = {.comm = comm, .task = task, .units = units, .lease = lease, .stop = stop};
    int size = comm_size(comm), rc = -1;
    *outcome = (struct outcome){0};
    if (queue_new(&node.queue, task, units, workers, err) != 0) return -1;
    if (comm_rank(comm) == 0) {
        node.replies = calloc((size_t)size, sizeof *node.replies);
        node.told = calloc((size_t)size, sizeof *node.told);
        if (!node.replies || !node.told) error_memory(err);
        else rc = dispatch_new(&node.dispatch, count, size, lease, err);
    } else {
        rc = 0;
    }
    if (rc == 0 && (rc = work_together(&node, workers, err)) == 0) rc = sum_up(&node, outcome, err);
    dispatch_free(node.dispatch);
    free(node.told);
    free(node.replies);
    queue_free(node.queue);
    return rc;
}
