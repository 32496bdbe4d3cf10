/* A rank's own queue: units that came to it, their batches, and what became of them. Workers take from it, the
 * communication thread fills it and collects the news. One lock guards all of it; no callback runs under the lock. */
#ifndef CLUSTER_QUEUE_H
#define CLUSTER_QUEUE_H

#include "cluster/cluster.h"

#include <stdbool.h>
#include <stdint.h>

struct queue;

enum news_kind { NEWS_DONE, NEWS_FAILED, NEWS_FATAL };
struct news {
    enum news_kind kind;
    uint64_t unit;
};

/* Units are indices into units[] everywhere here; the task's callbacks get units[index]. */
int queue_new(struct queue **queue, const struct task *task, const uint64_t *units, int workers, struct error *err);
void queue_free(struct queue *queue); /* no worker may be in queue_work */

/* Communication thread. */
void queue_push(struct queue *queue, uint64_t unit);
bool queue_wants_more(struct queue *queue);                  /* fewer batches wait than there are workers */
bool queue_news(struct queue *queue, struct news *news);     /* true: one piece of news */
/* No more units come. drop: unfinished ones are given up (whole ones are still committed). */
void queue_end(struct queue *queue, bool drop);
bool queue_left(struct queue *queue);                        /* every worker has left queue_work */
void queue_failure(struct queue *queue, struct error *first); /* code CODE_OK when nothing failed */
double queue_started(struct queue *queue);                   /* clock_seconds of the first batch; 0: none yet */

/* A worker's life: start, batches, end. */
void queue_work(struct queue *queue, int worker);

#endif
