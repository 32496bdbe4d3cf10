#include "cluster/queue.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Locking: every field below is read and written under `lock`, except `task`, `units` and `workers`, which never change. A slot
 * whose `busy` is set (being opened, committed or closed) belongs to the worker that set it. */
struct slot {
    uint64_t unit, batches, next, done;
    int running;                /* batches being computed */
    bool open, busy, failed, dropped;
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t change;
    const struct task *task;
    const uint64_t *units;      /* the task's own names of the units */
    int workers, left;
    struct slot **slots;        /* in order of arrival */
    size_t slots_count, slots_capacity;
    struct news *news;
    size_t news_count, news_capacity;
    bool ended, drop;
    double started;
    struct error failure;       /* the first; a fatal one replaces it */
    bool fatal;
};

int queue_new(struct queue **queue, const struct task *task, const uint64_t *units, int workers, struct error *err) {
    struct queue *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->task = task;
    made->units = units;
    made->workers = workers;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->change, NULL);
    *queue = made;
    return 0;
}

void queue_free(struct queue *queue) {
    if (!queue) return;
    for (size_t i = 0; i < queue->slots_count; i++) free(queue->slots[i]);
    free(queue->slots);
    free(queue->news);
    pthread_cond_destroy(&queue->change);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* Room for one more element; NULL when memory ran out. */
static void *grown(void *data, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return data;
    size_t wanted = *capacity ? 2 * *capacity : 16;
    void *more = realloc(data, wanted * size);
    if (more) *capacity = wanted;
    return more;
}

static void note_failure(struct queue *queue, const struct error *err, bool fatal) {
    if (queue->failure.code == CODE_OK || (fatal && !queue->fatal)) queue->failure = *err;
    queue->fatal |= fatal;
}

static void add_news(struct queue *queue, enum news_kind kind, uint64_t unit) {
    struct news *news = grown(queue->news, queue->news_count, &queue->news_capacity, sizeof *news);
    if (!news) { /* without it the coordinator would wait: stop everything instead */
        struct error err;
        error_memory(&err);
        note_failure(queue, &err, true);
        return;
    }
    queue->news = news;
    news[queue->news_count++] = (struct news){kind, unit};
}

void queue_push(struct queue *queue, uint64_t unit) {
    pthread_mutex_lock(&queue->lock);
    struct slot *slot = calloc(1, sizeof *slot);
    struct slot **slots = grown(queue->slots, queue->slots_count, &queue->slots_capacity, sizeof(struct slot *));
    if (slots) queue->slots = slots;
    if (slot && slots) {
        slot->unit = unit;
        slots[queue->slots_count++] = slot;
    } else {
        free(slot);
        add_news(queue, NEWS_FAILED, unit);
    }
    pthread_cond_broadcast(&queue->change);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_wants_more(struct queue *queue) {
    uint64_t waiting = 0;
    pthread_mutex_lock(&queue->lock);
    for (size_t i = 0; i < queue->slots_count; i++) {
        const struct slot *slot = queue->slots[i];
        if (slot->failed) continue;
        /* Not opened yet: its batches are not known, but it is work. */
        waiting += slot->open ? slot->batches - slot->next : (uint64_t)queue->workers;
    }
    bool wants = !queue->ended && waiting < (uint64_t)queue->workers;
    pthread_mutex_unlock(&queue->lock);
    return wants;
}

bool queue_news(struct queue *queue, struct news *news) {
    pthread_mutex_lock(&queue->lock);
    bool any = queue->news_count > 0;
    if (any) {
        *news = queue->news[0];
        memmove(queue->news, queue->news + 1, --queue->news_count * sizeof *news);
    } else if (queue->fatal && !queue->ended) {
        *news = (struct news){NEWS_FATAL, 0};
        any = true;
    }
    pthread_mutex_unlock(&queue->lock);
    return any;
}

void queue_end(struct queue *queue, bool drop) {
    pthread_mutex_lock(&queue->lock);
    queue->ended = true;
    queue->drop |= drop;
    pthread_cond_broadcast(&queue->change);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_left(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    bool left = queue->left == queue->workers;
    pthread_mutex_unlock(&queue->lock);
    return left;
}

void queue_failure(struct queue *queue, struct error *first) {
    pthread_mutex_lock(&queue->lock);
    *first = queue->failure;
    pthread_mutex_unlock(&queue->lock);
}

double queue_started(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    double started = queue->started;
    pthread_mutex_unlock(&queue->lock);
    return started;
}

/* ---- workers; each of these is entered and left with the lock held, and gives it up around callbacks ---- */

static void forget(struct queue *queue, struct slot *slot) {
    size_t i = 0;
    while (queue->slots[i] != slot) i++;
    memmove(queue->slots + i, queue->slots + i + 1, (queue->slots_count - i - 1) * sizeof(struct slot *));
    queue->slots_count--;
    free(slot);
}

static void fail(struct queue *queue, struct slot *slot, const struct error *err, const char *what) {
    slot->failed = true;
    if (err->code == CODE_AGAIN) { /* interrupted, not at fault */
        slot->dropped = true;
        return;
    }
    log_warn("unit %" PRIu64 ": %s failed: %s", queue->units[slot->unit], what, err->message);
    note_failure(queue, err, false);
}

static void open_slot(struct queue *queue, struct slot *slot) {
    struct error err;
    uint64_t batches = 0;
    slot->busy = true;
    pthread_mutex_unlock(&queue->lock);
    int rc = queue->task->unit_open(queue->task->context, queue->units[slot->unit], &batches, &err);
    pthread_mutex_lock(&queue->lock);
    slot->busy = false;
    slot->open = true;
    slot->batches = rc == 0 ? batches : 0;
    if (rc != 0) fail(queue, slot, &err, "opening");
    pthread_cond_broadcast(&queue->change);
}

static void run_batch(struct queue *queue, struct slot *slot, int worker) {
    struct error err;
    uint64_t batch = slot->next++;
    slot->running++;
    if (queue->started == 0) queue->started = clock_seconds();
    pthread_mutex_unlock(&queue->lock);
    int rc = queue->task->batch(queue->task->context, worker, queue->units[slot->unit], batch, &err);
    pthread_mutex_lock(&queue->lock);
    slot->running--;
    if (rc == 0) slot->done++;
    else if (!slot->failed) fail(queue, slot, &err, "a batch");
    pthread_cond_broadcast(&queue->change);
}

static void end_slot(struct queue *queue, struct slot *slot, int worker) {
    struct error err;
    bool opened = slot->open, whole = opened && !slot->failed && slot->done == slot->batches;
    slot->busy = true;
    pthread_mutex_unlock(&queue->lock);
    int rc = whole ? queue->task->unit_commit(queue->task->context, worker, queue->units[slot->unit], &err) : 0;
    if (opened) queue->task->unit_close(queue->task->context, queue->units[slot->unit]);
    pthread_mutex_lock(&queue->lock);
    if (rc != 0 && err.code == CODE_IO) note_failure(queue, &err, true); /* the disk: nothing else would fare better */
    else if (rc != 0) fail(queue, slot, &err, "committing");
    if (whole && rc == 0) add_news(queue, NEWS_DONE, slot->unit);
    else if (slot->failed && !slot->dropped) add_news(queue, NEWS_FAILED, slot->unit);
    forget(queue, slot);
    pthread_cond_broadcast(&queue->change);
}

/* Does one thing that can be done now; false when there is nothing. Ends before starts, older units before newer. */
static bool one_thing(struct queue *queue, int worker) {
    for (size_t i = 0; i < queue->slots_count; i++) {
        struct slot *slot = queue->slots[i];
        if (slot->busy || slot->running > 0) continue;
        bool whole = slot->open && slot->done == slot->batches;
        if (!whole && !slot->failed && !queue->drop) continue;
        end_slot(queue, slot, worker);
        return true;
    }
    for (size_t i = 0; i < queue->slots_count && !queue->drop; i++) {
        struct slot *slot = queue->slots[i];
        if (slot->busy || slot->failed || (slot->open && slot->next == slot->batches)) continue;
        if (slot->open) run_batch(queue, slot, worker);
        else open_slot(queue, slot);
        return true;
    }
    return false;
}

void queue_work(struct queue *queue, int worker) {
    struct error err;
    int rc = queue->task->worker_start(queue->task->context, worker, &err);
    pthread_mutex_lock(&queue->lock);
    if (rc != 0) note_failure(queue, &err, true);
    while (rc == 0 && !(queue->ended && queue->slots_count == 0))
        if (!one_thing(queue, worker)) pthread_cond_wait(&queue->change, &queue->lock);
    pthread_mutex_unlock(&queue->lock);
    queue->task->worker_end(queue->task->context, worker);
    pthread_mutex_lock(&queue->lock);
    queue->left++;
    pthread_mutex_unlock(&queue->lock);
}
