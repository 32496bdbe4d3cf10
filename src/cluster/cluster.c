/* The communication thread of each rank, and the worker threads beside it. */
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
static const double PROGRESS = 0.1; /* s */
static const double FLUSH = 1;      /* s */

struct comm_thread { /* a rank's communication thread; nobody else touches it */
    struct comm *comm;
    struct queue *queue;
    const struct task *task;
    struct coordinator *coordinator; /* rank 0 */
    uint64_t run;
    double lease;
    volatile sig_atomic_t *stop;
    double looked, heard, told; /* when it last looked for messages, heard rank 0, said that it lives */
    double shown;               /* progress */
    int quiet;                  /* turns without a message */
    bool asked;                 /* REQUEST is unanswered */
    bool halted;                /* HALT was sent */
    bool stopping, left, over;  /* STOP came, LEFT was sent, END came */
    bool gone;                  /* rank 0 is */
    enum code code;             /* stopping: why */
    int lost;
};

static void tell_coordinator(struct comm_thread *thread, struct message message) {
    struct error ignored; /* a coordinator that can't be reached falls silent, and that is noticed */
    message.run = thread->run;
    comm_send(thread->comm, 0, &message, sizeof message, &ignored);
}

static void halt(struct comm_thread *thread, enum code code) {
    if (thread->halted || thread->stopping) return;
    thread->halted = true;
    tell_coordinator(thread, (struct message){.kind = MESSAGE_HALT, .code = (int32_t)code});
}

static void begin_to_stop(struct comm_thread *thread, enum code code) {
    if (thread->stopping) return;
    thread->stopping = true;
    thread->code = code;
    if (code != CODE_OK) *thread->stop = 1; /* executors look at it between two ops */
    queue_close(thread->queue);
}

static void take_unit(struct comm_thread *thread, const struct message *message) {
    struct error err;
    thread->asked = false;
    if (!thread->stopping && queue_push(thread->queue, message->unit, &message->tally, &err) != 0)
        queue_break(thread->queue, &err);
}

static void handle(struct comm_thread *thread, int from, const struct message *message) {
    if (message->run != thread->run) return;
    if (from == 0) thread->heard = clock_seconds();
    switch (message->kind) {
        case MESSAGE_UNIT: take_unit(thread, message); break;
        case MESSAGE_STOP: begin_to_stop(thread, (enum code)message->code); break;
        case MESSAGE_END:
            thread->lost = message->lost;
            thread->over = true;
            break;
        case MESSAGE_PULSE: break;
        default:
            if (thread->coordinator && coordinator_hear(thread->coordinator, from, message, clock_seconds()) &&
                thread->task->unit_done)
                thread->task->unit_done(thread->task->context, message->unit, &message->tally);
    }
}

static void handle_all(struct comm_thread *thread) {
    struct message message;
    char bytes[COMM_MESSAGE];
    size_t size;
    int from;
    thread->quiet++;
    while (comm_receive(thread->comm, bytes, &size, &from)) {
        if (size != sizeof message) continue;
        memcpy(&message, bytes, sizeof message);
        handle(thread, from, &message);
        thread->quiet = 0;
    }
}

static void tell_news(struct comm_thread *thread) {
    struct news news;
    struct error failure;
    if (queue_failure(thread->queue, &failure)) halt(thread, failure.code);
    while (queue_news(thread->queue, &news)) {
        if (news.kind == NEWS_DROPPED) halt(thread, CODE_AGAIN); /* an executor saw *stop before this thread did */
        else
            tell_coordinator(thread, (struct message){.kind = news.kind == NEWS_DONE ? MESSAGE_DONE : MESSAGE_FAILED,
                                                      .unit = news.unit,
                                                      .tally = news.tally});
    }
}

static void ask_for_more(struct comm_thread *thread) {
    if (thread->asked || thread->halted || thread->stopping || !queue_wants_more(thread->queue)) return;
    thread->asked = true;
    tell_coordinator(thread, (struct message){.kind = MESSAGE_REQUEST});
}

static void keep_alive(struct comm_thread *thread, double now) {
    if (now - thread->told < message_pause(thread->lease)) return;
    thread->told = now;
    tell_coordinator(thread, (struct message){.kind = MESSAGE_ALIVE});
}

/* Silence counts only while this rank was listening: it may have been suspended itself. */
static void look_for_coordinator(struct comm_thread *thread, double now) {
    enum code code = thread->stopping ? thread->code : thread->halted ? CODE_AGAIN : CODE_OK;
    if (now - thread->looked > thread->lease / 2) thread->heard = now;
    thread->looked = now;
    if (thread->gone || now - thread->heard <= 2 * message_patience(thread->lease, code)) return;
    log_warn("rank 0 has been silent for %.0f s", now - thread->heard);
    thread->gone = true;
    thread->lost = 1;
    begin_to_stop(thread, CODE_AGAIN);
}

static void show_progress(struct comm_thread *thread, double now) {
    if (!thread->coordinator || !thread->task->progress || now - thread->shown < PROGRESS) return;
    thread->shown = now;
    thread->task->progress(thread->task->context, coordinator_alive(thread->coordinator));
}

/* One round of the communication thread. */
static void turn(struct comm_thread *thread) {
    handle_all(thread);
    bool empty = thread->stopping && queue_left(thread->queue); /* looked at before the last news is told */
    tell_news(thread);
    if (empty && !thread->left) {
        thread->left = true;
        if (!thread->gone) tell_coordinator(thread, (struct message){.kind = MESSAGE_LEFT});
    }
    if (*thread->stop) halt(thread, CODE_AGAIN);
    ask_for_more(thread);
    double now = clock_seconds();
    keep_alive(thread, now);
    look_for_coordinator(thread, now);
    if (thread->coordinator) coordinator_turn(thread->coordinator, now);
    show_progress(thread, now);
}

static void communicate(struct comm_thread *thread) {
    thread->heard = thread->looked = clock_seconds();
    while (!thread->over && !(thread->gone && thread->left)) {
        turn(thread);
        if (thread->quiet > 0) clock_sleep(thread->quiet > QUIET_TURNS ? LONG_SLEEP : SLEEP);
    }
    /* In case that rank 0 was only suspended, or out of reach. */
    if (thread->gone) tell_coordinator(thread, (struct message){.kind = MESSAGE_GONE});
    if (thread->coordinator) comm_flush(thread->comm, FLUSH); /* END to all, even if this process leaves at once */
}

static void work_together(struct comm_thread *thread, int workers) {
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
                error_set(&err, CODE_INTERNAL,
                          "OpenMP gave %d of %d threads (workers and one for communication): raise OMP_THREAD_LIMIT or "
                          "lower workers",
                          started, workers + 1);
                queue_break(thread->queue, &err);
            }
            communicate(thread);
        } else if (started == workers + 1) {
            queue_work(thread->queue, omp_get_thread_num() - 1);
        }
    }
}

static int sum_up(struct comm_thread *thread, struct outcome *outcome, struct error *err) {
    bool broken = queue_failure(thread->queue, &outcome->first_failure);
    outcome->interrupted = thread->code != CODE_OK || thread->gone;
    outcome->ranks_lost = thread->lost;
    if (thread->coordinator) {
        const struct dispatch *dispatch = coordinator_dispatch(thread->coordinator);
        outcome->quarantined = dispatch_quarantined(dispatch, NULL);
        outcome->quarantine = calloc(outcome->quarantined + 1, sizeof *outcome->quarantine);
        if (!outcome->quarantine) return error_memory(err);
        dispatch_quarantined(dispatch, outcome->quarantine);
    }
    if (broken) {
        *err = outcome->first_failure;
        return -1;
    }
    if (thread->gone)
        return error_set(err, CODE_AGAIN,
                         "the coordinator (rank 0) is gone; what is whole is on disk: run again to continue");
    if (thread->code == CODE_OK || thread->code == CODE_AGAIN) return 0;
    *err = (struct error){.code = thread->code}; /* the rank that broke has the word */
    return -1;
}

int cluster_run(struct comm *comm, uint64_t count, const uint64_t *needs, const struct task *task, int workers,
                double lease, volatile sig_atomic_t *stop, struct outcome *outcome, struct error *err) {
    static uint64_t runs; /* the call is collective: the same number on every rank */
    struct comm_thread thread = {.comm = comm, .task = task, .run = ++runs, .lease = lease, .stop = stop};
    *outcome = (struct outcome){0};
    int rc = queue_new(&thread.queue, task, workers, err);
    if (rc == 0 && comm_rank(comm) == 0)
        rc = coordinator_new(&thread.coordinator, comm, thread.run, count, needs, task, lease, err);
    if (rc == 0) {
        work_together(&thread, workers);
        rc = sum_up(&thread, outcome, err);
    }
    coordinator_free(thread.coordinator);
    queue_free(thread.queue);
    return rc;
}
