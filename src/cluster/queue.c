/* The units of one rank and their batches, shared by its worker threads. */
#include "cluster/queue.h"

#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>

/* Locking: one lock guards everything here but what never changes (task, workers, a slot's unit). No callback
 * and no logging happens under it. A slot whose `busy` is set (being opened, or committed and closed) belongs to the
 * worker that set it; others only read it. Slots are freed by the communication thread alone, once they are `over`. */
struct slot {
    struct slot *next;
    uint64_t unit;
    struct tally tally; /* of what it needs; once committed its own */
    uint64_t batches, started, done;
    int running; /* batches being computed */
    bool open, busy;
    bool failed, dropped; /* no further batch is started */
    bool over;            /* closed: `news` is to be told */
    enum news_kind news;
    struct error why; /* failed: the first reason */
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t change;
    const struct task *task;
    int workers, left;
    struct slot *slots; /* in order of arrival */
    bool closed, broken;
    struct error failure; /* the first; one that broke the queue replaces it */
};

int queue_new(struct queue **queue, const struct task *task, int workers, struct error *err) {
    struct queue *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->task = task;
    made->workers = workers;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->change, NULL);
    *queue = made;
    return 0;
}

void queue_free(struct queue *queue) {
    if (!queue) return;
    for (struct slot *slot = queue->slots, *next; slot; slot = next) {
        next = slot->next;
        free(slot);
    }
    pthread_cond_destroy(&queue->change);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* ---- the communication thread ---- */

int queue_push(struct queue *queue, uint64_t unit, const struct tally *needed, struct error *err) {
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot) return error_memory(err);
    slot->unit = unit;
    slot->tally = *needed;
    pthread_mutex_lock(&queue->lock);
    struct slot **at = &queue->slots;
    while (*at && (*at)->unit != unit) at = &(*at)->next;
    if (*at) free(slot); /* given again after a lost lease: the first try still counts */
    else *at = slot;
    pthread_cond_broadcast(&queue->change);
    pthread_mutex_unlock(&queue->lock);
    return 0;
}

static bool given_up(const struct slot *slot) {
    return slot->failed || slot->dropped;
}

bool queue_wants_more(struct queue *queue) {
    uint64_t waiting = 0, workers = (uint64_t)queue->workers;
    pthread_mutex_lock(&queue->lock);
    for (const struct slot *slot = queue->slots; slot; slot = slot->next)
        if (!slot->over && !given_up(slot))
            waiting += slot->open ? slot->batches - slot->started : workers; /* unopened: work of unknown size */
    bool wants = !queue->closed && waiting < workers;
    pthread_mutex_unlock(&queue->lock);
    return wants;
}

bool queue_news(struct queue *queue, struct news *news) {
    pthread_mutex_lock(&queue->lock);
    struct slot **at = &queue->slots;
    while (*at && !(*at)->over) at = &(*at)->next;
    struct slot *slot = *at;
    if (slot) *at = slot->next;
    pthread_mutex_unlock(&queue->lock);
    if (!slot) return false;
    *news = (struct news){slot->news, slot->unit, slot->tally};
    free(slot);
    return true;
}

void queue_close(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_broadcast(&queue->change);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_left(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    bool left = queue->left >= queue->workers; /* more: queue_break, and they came none the less */
    pthread_mutex_unlock(&queue->lock);
    return left;
}

bool queue_failure(struct queue *queue, struct error *failure) {
    pthread_mutex_lock(&queue->lock);
    *failure = queue->failure;
    bool broken = queue->broken;
    pthread_mutex_unlock(&queue->lock);
    return broken;
}

static void note_failure(struct queue *queue, const struct error *err, bool breaks) {
    if (queue->failure.code == CODE_OK || (breaks && !queue->broken)) queue->failure = *err;
    queue->broken |= breaks;
}

void queue_break(struct queue *queue, const struct error *why) {
    pthread_mutex_lock(&queue->lock);
    note_failure(queue, why, true);
    queue->left = queue->workers;
    pthread_mutex_unlock(&queue->lock);
}

/* ---- workers: the functions below are entered and left with the lock held, and give it up around callbacks ---- */

/* Takes the lock again after a callback; what it said decides about the slot. */
static void relock(struct queue *queue, struct slot *slot, int rc, const struct error *err, const char *what) {
    if (rc != 0 && err->code != CODE_AGAIN) log_warn("%s: %s", what, err->message);
    pthread_mutex_lock(&queue->lock);
    if (rc == 0) return;
    if (err->code == CODE_AGAIN) { /* interrupted, not at fault */
        slot->dropped = true;
        return;
    }
    if (err->code == CODE_IO) { /* the disk: no other unit would fare better */
        slot->dropped = true;
        note_failure(queue, err, true);
        return;
    }
    if (!slot->failed) slot->why = *err;
    slot->failed = true;
    note_failure(queue, err, false);
}

static void open_slot(struct queue *queue, struct slot *slot) {
    struct error err = {.code = CODE_INTERNAL};
    uint64_t batches = 0;
    slot->busy = true;
    pthread_mutex_unlock(&queue->lock);
    int rc = queue->task->unit_open(queue->task->context, slot->unit, &slot->tally, &batches, &err);
    relock(queue, slot, rc, &err, "cannot begin a shard or an evaluation");
    slot->batches = rc == 0 ? batches : 0;
    slot->open = true;
    slot->busy = false;
}

static void run_batch(struct queue *queue, struct slot *slot, int worker) {
    struct error err = {.code = CODE_INTERNAL};
    uint64_t batch = slot->started++;
    slot->running++;
    pthread_mutex_unlock(&queue->lock);
    int rc = queue->task->batch(queue->task->context, worker, slot->unit, batch, &err);
    relock(queue, slot, rc, &err, "a batch of a shard or an evaluation failed");
    slot->running--;
    if (rc == 0) slot->done++;
}

static bool is_whole(const struct slot *slot) {
    return slot->open && !given_up(slot) && slot->done == slot->batches;
}

static void end_slot(struct queue *queue, struct slot *slot, int worker) {
    const struct task *task = queue->task;
    struct error err = {.code = CODE_INTERNAL};
    bool opened = slot->open, whole = is_whole(slot);
    slot->busy = true;
    slot->tally = (struct tally){0};
    pthread_mutex_unlock(&queue->lock);
    int rc = whole ? task->unit_commit(task->context, worker, slot->unit, &slot->tally, &err) : 0;
    if (opened) task->unit_close(task->context, slot->unit);
    relock(queue, slot, rc, &err, "cannot write what was made");
    if (slot->failed && task->unit_failed) { /* before the news is told: who hears it finds the reason */
        pthread_mutex_unlock(&queue->lock);
        task->unit_failed(task->context, slot->unit, &slot->why);
        pthread_mutex_lock(&queue->lock);
    }
    slot->news = slot->failed ? NEWS_FAILED : whole && rc == 0 ? NEWS_DONE : NEWS_DROPPED;
    slot->over = true;
}

/* Does one thing that can be done now; false when there is nothing. Ends before starts, older units before newer. */
static bool one_thing(struct queue *queue, int worker) {
    for (struct slot *slot = queue->slots; slot; slot = slot->next) {
        if (slot->over || slot->busy || slot->running > 0) continue;
        if (!is_whole(slot) && !given_up(slot) && !queue->closed) continue;
        end_slot(queue, slot, worker);
        return true;
    }
    for (struct slot *slot = queue->slots; slot && !queue->closed; slot = slot->next) {
        if (slot->over || slot->busy || given_up(slot) || (slot->open && slot->started == slot->batches)) continue;
        if (slot->open) run_batch(queue, slot, worker);
        else open_slot(queue, slot);
        return true;
    }
    return false;
}

static bool is_empty(const struct queue *queue) {
    for (const struct slot *slot = queue->slots; slot; slot = slot->next)
        if (!slot->over) return false;
    return true;
}

void queue_work(struct queue *queue, int worker) {
    const struct task *task = queue->task;
    struct error err = {.code = CODE_INTERNAL};
    int rc = task->worker_start(task->context, worker, &err);
    pthread_mutex_lock(&queue->lock);
    if (rc != 0) note_failure(queue, &err, true);
    while (rc == 0 && !(queue->closed && is_empty(queue))) {
        if (one_thing(queue, worker)) pthread_cond_broadcast(&queue->change);
        else pthread_cond_wait(&queue->change, &queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    task->worker_end(task->context, worker);
    pthread_mutex_lock(&queue->lock);
    queue->left++;
    pthread_mutex_unlock(&queue->lock);
}
