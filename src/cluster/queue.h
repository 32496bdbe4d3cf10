/* A rank's own queue: units that came to it, their batches, and what became of them. Workers take from it, the
 * communication thread fills it and collects the news. Thread-safe; not collective. */
#ifndef CLUSTER_QUEUE_H
#define CLUSTER_QUEUE_H

#include "cluster/cluster.h"

#include <stdbool.h>
#include <stdint.h>

struct queue;

enum news_kind {
    NEWS_DONE,    /* committed */
    NEWS_FAILED,  /* not made, for a reason of its own */
    NEWS_DROPPED, /* not made: interrupted, or the queue was closed */
};
struct news {
    enum news_kind kind;
    uint64_t unit;
    struct tally tally; /* NEWS_DONE */
};

/* *queue new; task is borrowed. */
int queue_new(struct queue **queue, const struct task *task, int workers, struct error *err);
void queue_free(struct queue *queue); /* no worker may be in queue_work */

/* Communication thread. */
/* One that is here already: nothing happens. needed: see task.unit_open. */
int queue_push(struct queue *queue, uint64_t unit, const struct tally *needed, struct error *err);
bool queue_wants_more(struct queue *queue);              /* fewer batches wait than there are workers */
bool queue_news(struct queue *queue, struct news *news); /* true: one piece of news, told once */
/* No more units come; unfinished ones are given up, whole ones still committed. Then the workers leave. */
void queue_close(struct queue *queue);
bool queue_left(struct queue *queue); /* every worker has left queue_work */
/* The first failure (code CODE_OK: none). True when this rank cannot go on: a worker did not start, or CODE_IO
 * from a unit; *failure is that one then. */
bool queue_failure(struct queue *queue, struct error *failure);
void queue_break(struct queue *queue, const struct error *why); /* no worker will come to queue_work */

/* A worker's life: start, batches, end. */
void queue_work(struct queue *queue, int worker);

#endif
