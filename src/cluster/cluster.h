/* Runs a task's units over all ranks and workers: on each rank one thread speaks MPI (and on rank 0 coordinates),
 * `workers` OpenMP threads compute batches out of a small local queue of one or two units, so that none idles while a
 * unit ends. The worker that finishes a unit's last batch commits it. */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include "base/error.h"
#include "cluster/comm.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Numbers that a task notes while it makes a unit (times, counts). The coordinator sums the values over the units that
 * another unit needs, and hands the sums to whoever makes that one. code is the unit's own outcome (an enum code), and
 * not summed. */
enum { TALLY = 7 };
struct tally {
    double values[TALLY];
    int32_t code;
};

/* What the units are; functions are called in worker threads (worker: 0..workers-1) unless said otherwise. */
struct task {
    void *context;
    /* Once a worker before its first batch, and once at the end (also after a failed start, which stops all ranks). */
    int (*worker_start)(void *context, int worker, struct error *err);
    void (*worker_end)(void *context, int worker);
    /* A unit came to this rank: its number of batches into *batches. needed: of the units it needs, summed. Called by
     * one worker. */
    int (*unit_open)(void *context, uint64_t unit, const struct tally *needed, uint64_t *batches, struct error *err);
    /* err->code CODE_AGAIN: interrupted. Batches of one unit run at the same time. */
    int (*batch)(void *context, int worker, uint64_t unit, uint64_t batch, struct error *err);
    /* All batches are there: write it. tally: zeros before. Called by one worker. */
    int (*unit_commit)(void *context, int worker, uint64_t unit, struct tally *tally, struct error *err);
    /* The unit is over on this rank, committed or not: release its buffers. Once after each unit_open, also a failed
     * one. */
    void (*unit_close)(void *context, uint64_t unit);
    /* The unit could not be made here, and why (not: it was interrupted). After unit_close; NULL: nobody asks. */
    void (*unit_failed)(void *context, uint64_t unit, const struct error *why);
    /* Rank 0's communication thread: once for each unit that some rank has committed, and about ten times a second. */
    void (*unit_done)(void *context, uint64_t unit, const struct tally *tally);
    /* The same thread: the unit failed twice, here or in earlier jobs; true: those that the same unit needs are given
     * up, too. NULL: never. */
    bool (*give_up)(void *context, uint64_t unit);
    void (*progress)(void *context, int ranks_alive);
    /* Rank 0: how often each unit failed in earlier jobs, [count] (NULL: never), and how many other jobs are at work on
     * the same units that began before (they go through them in other orders, and unit_open finds what they made). */
    const unsigned char *failures;
    int ahead;
};

struct outcome {
    uint64_t quarantined; /* rank 0: units that failed, or lost their rank, twice */
    uint64_t *quarantine; /* rank 0: [quarantined], new; caller frees */
    int interrupted;      /* a stop was asked for, or a rank broke: the set is not complete */
    int ranks_lost;       /* the same on every rank that lives. Not 0: call nothing collective any more, leave with
                             comm_flush and _exit */
    struct error first_failure; /* this rank's first failed unit; code CODE_OK when none */
};

/* Collective, called by the thread that started MPI; ranks may enter it up to a lease apart, and leave it at about the
 * same time. Makes units 0..count-1 in the order of dispatch.h (needs: see dispatch_new; the same on every rank). A
 * unit that cannot be made is no error of this call: see `outcome`. -1: the work stopped on every rank, because a
 * worker could not start, a unit failed with CODE_IO (disk full), memory ran out, or rank 0 is gone (CODE_AGAIN). The
 * rank where it happened has the message, the others its code and an empty one. *stop (set by signal handlers) stops
 * all ranks within moments: it becomes 1 on each of them, so that batches that look at it give up (CODE_AGAIN); units
 * whose batches are all there are committed. lease: seconds without a sign of life (one is sent every second, or fifth
 * of a lease) after which a rank's units are given to others. */
int cluster_run(struct comm *comm, uint64_t count, const uint64_t *needs, const struct task *task, int workers,
                double lease, volatile sig_atomic_t *stop, struct outcome *outcome, struct error *err);

#endif
