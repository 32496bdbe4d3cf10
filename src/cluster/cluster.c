#include "cluster/cluster.h"

#include "base/clock.h"
#include "base/log.h"
#include "cluster/coordinator.h"
#include "cluster/message.h"
#include "cluster/queue.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const double SLEEP = 0.001, LONG_SLEEP = 0.002; /* s between two looks at the messages; long: all is quiet */
enum { QUIET_TURNS = 100 };
static const double PROGRESS = 0.1;                    /* s */
static const double FLUSH = 1;                         /* s */

struct node { /* a rank's communication thread; nobody else touches it */
    struct comm *comm;
    struct queue *queue;
    const struct task *task;
    struct coordinator *coordinator; /* rank 0 */
    uint64_t run;
    double lease;
    volatile sig_atomic_t *stop;
    double looked, heard, told;      /* when it last looked for messages, heard rank 0, said that it lives */
    double shown;                    /* progress */
    int quiet;                       /* turns without a message */
    bool asked;                      /* REQUEST is unanswered */
    bool halted;                     /* HALT was sent */
    bool stopping, left, over;       /* STOP came, LEFT was sent, END came */
    bool gone;                       /* rank 0 is */
    enum code code;                  /* stopping: why */
    int lost;
};

static void tell(struct node *node, struct message message) {
    struct error ignored; /* a coordinator that can't be reached falls silent, and that is noticed */
    message.run = node->run;
    comm_send(node->comm, 0, &message, sizeof message, &ignored);
}

static void halt(struct node *node, enum code code) {
    if (node->halted || node->stopping) return;
    node->halted = true;
    tell(node, (struct message){.kind = MESSAGE_HALT, .code = (int32_t)code});
}

static void begin_to_stop(struct node *node, enum code code) {
    if (node->stopping) return;
    node->stopping = true;
    node->code = code;
    if (code != CODE_OK) *node->stop = 1; /* executors look at it between two ops */
    queue_close(node->queue);
}

static void take_unit(struct node *node, const struct message *message) {
    struct error err;
    node->asked = false;
    if (!node->stopping && queue_push(node->queue, message->unit, &message->tally, &err) != 0) queue_break(node->queue, &err);
}

static void hear(struct node *node, int from, const struct message *message) {
    if (message->run != node->run) return;
    if (from == 0) node->heard = clock_seconds();
    switch (message->kind) {
        case MESSAGE_UNIT: take_unit(node, message); break;
        case MESSAGE_STOP: begin_to_stop(node, (enum code)message->code); break;
        case MESSAGE_END:
            node->lost = message->lost;
            node->over = true;
            break;
        case MESSAGE_PULSE: break;
        default:
            if (node->coordinator && coordinator_hear(node->coordinator, from, message, clock_seconds()) &&
                node->task->unit_done)
                node->task->unit_done(node->task->context, message->unit, &message->tally);
    }
}

static void hear_all(struct node *node) {
    struct message message;
    char bytes[COMM_MESSAGE];
    size_t size;
    int from;
    node->quiet++;
    while (comm_receive(node->comm, bytes, &size, &from)) {
        if (size != sizeof message) continue;
        memcpy(&message, bytes, sizeof message);
        hear(node, from, &message);
        node->quiet = 0;
    }
}

static void tell_news(struct node *node) {
    struct news news;
    struct error failure;
    if (queue_failure(node->queue, &failure)) halt(node, failure.code);
    while (queue_news(node->queue, &news)) {
        if (news.kind == NEWS_DROPPED) halt(node, CODE_AGAIN); /* an executor saw *stop before this thread did */
        else tell(node, (struct message){.kind = news.kind == NEWS_DONE ? MESSAGE_DONE : MESSAGE_FAILED,
                                         .unit = news.unit, .tally = news.tally});
    }
}

static void ask_for_more(struct node *node) {
    if (node->asked || node->halted || node->stopping || !queue_wants_more(node->queue)) return;
    node->asked = true;
    tell(node, (struct message){.kind = MESSAGE_REQUEST});
}

static void keep_alive(struct node *node, double now) {
    if (now - node->told < message_pause(node->lease)) return;
    node->told = now;
    tell(node, (struct message){.kind = MESSAGE_ALIVE});
}

/* Silence counts only while this rank was listening: it may have been suspended itself. */
static void look_for_coordinator(struct node *node, double now) {
    enum code code = node->stopping ? node->code : node->halted ? CODE_AGAIN : CODE_OK;
    if (now - node->looked > node->lease / 2) node->heard = now;
    node->looked = now;
    if (node->gone || now - node->heard <= 2 * message_patience(node->lease, code)) return;
    log_warn("rank 0 has been silent for %.0f s", now - node->heard);
    node->gone = true;
    node->lost = 1;
    begin_to_stop(node, CODE_AGAIN);
}

static void show_progress(struct node *node, double now) {
    if (!node->coordinator || !node->task->progress || now - node->shown < PROGRESS) return;
    node->shown = now;
    node->task->progress(node->task->context, coordinator_alive(node->coordinator));
}

/* One round of the communication thread. */
static void turn(struct node *node) {
    hear_all(node);
    bool empty = node->stopping && queue_left(node->queue); /* looked at before the last news is told */
    tell_news(node);
    if (empty && !node->left) {
        node->left = true;
        if (!node->gone) tell(node, (struct message){.kind = MESSAGE_LEFT});
    }
    if (*node->stop) halt(node, CODE_AGAIN);
    ask_for_more(node);
    double now = clock_seconds();
    keep_alive(node, now);
    look_for_coordinator(node, now);
    if (node->coordinator) coordinator_turn(node->coordinator, now);
    show_progress(node, now);
}

static void communicate(struct node *node) {
    node->heard = node->looked = clock_seconds();
    while (!node->over && !(node->gone && node->left)) {
        turn(node);
        if (node->quiet > 0) clock_sleep(node->quiet > QUIET_TURNS ? LONG_SLEEP : SLEEP);
    }
    if (node->gone) tell(node, (struct message){.kind = MESSAGE_GONE}); /* if it was only suspended, or out of reach */
    if (node->coordinator) comm_flush(node->comm, FLUSH); /* END to all, even if this process leaves at once */
}

static void work_together(struct node *node, int workers) {
    int started = 0;
    struct error err;
    omp_set_dynamic(0);
    /* Thread 0 is the one that started MPI: MPI_THREAD_FUNNELED is enough. */
#pragma omp parallel num_threads(workers + 1)
    {
#pragma omp single
        started = omp_get_num_threads();
        if (omp_get_thread_num() == 0) {
            if (started != workers + 1) {
                error_set(&err, CODE_INTERNAL, "OpenMP gave %d of %d threads (workers and one for communication): "
                          "raise OMP_THREAD_LIMIT or lower workers", started, workers + 1);
                queue_break(node->queue, &err);
            }
            communicate(node);
        } else if (started == workers + 1) {
            queue_work(node->queue, omp_get_thread_num() - 1);
        }
    }
}

static int sum_up(struct node *node, struct outcome *outcome, struct error *err) {
    bool broken = queue_failure(node->queue, &outcome->first_failure);
    outcome->interrupted = node->code != CODE_OK || node->gone;
    outcome->ranks_lost = node->lost;
    if (node->coordinator) {
        const struct dispatch *dispatch = coordinator_dispatch(node->coordinator);
        outcome->quarantined = dispatch_quarantined(dispatch, NULL);
        outcome->quarantine = calloc(outcome->quarantined + 1, sizeof *outcome->quarantine);
        if (!outcome->quarantine) return error_memory(err);
        dispatch_quarantined(dispatch, outcome->quarantine);
    }
    if (broken) {
        *err = outcome->first_failure;
        return -1;
    }
    if (node->gone)
        return error_set(err, CODE_AGAIN, "the coordinator (rank 0) is gone; what is whole is on disk: run again to "
                         "continue");
    if (node->code == CODE_OK || node->code == CODE_AGAIN) return 0;
    *err = (struct error){.code = node->code}; /* the rank that broke has the word */
    return -1;
}

int cluster_run(struct comm *comm, uint64_t count, const uint64_t *needs, const struct task *task, int workers,
                double lease, volatile sig_atomic_t *stop, struct outcome *outcome, struct error *err) {
    static uint64_t runs; /* the call is collective: the same number on every rank */
    struct node node = {.comm = comm, .task = task, .run = ++runs, .lease = lease, .stop = stop};
    *outcome = (struct outcome){0};
    int rc = queue_new(&node.queue, task, workers, err);
    if (rc == 0 && comm_rank(comm) == 0) rc = 
        coordinator_new(&node.coordinator, comm, node.run, count, needs, task, lease, err);
    if (rc == 0) {
        work_together(&node, workers);
        rc = sum_up(&node, outcome, err);
    }
    coordinator_free(node.coordinator);
    queue_free(node.queue);
    return rc;
}
