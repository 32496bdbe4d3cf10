/* Attempts: the jobs at work on one folder (a run's or a sweep's), several at a time if they like. Rank 0 of each keeps
 * a record there, log/attempt-0002.json, made exclusively and rewritten every 10 s:
 *   {"attempt": 2, "host", "pid", "slurm": "123.0" or null, "ranks": alive, "rate": samples/s, "eta_seconds": until
 *    all is made if it had to make it alone (null: unknown), "started", "beat", "ended" (null: not yet), "code": its
 * exit status, "nonce", "processes": [["node1", 4711], ... of each rank]} They decide the order of the work, whose
 * temporaries are cleared, and what `status` shows; samples are right without them. */
#ifndef RUN_ATTEMPT_H
#define RUN_ATTEMPT_H

#include "base/error.h"
#include "base/stale.h"
#include "cluster/comm.h"

#include <jansson.h>
#include <stdbool.h>

/* ---- one's own ---- */

struct attempt;

struct turn { /* of an attempt, known to all its ranks */
    int number;
    int ahead; /* the number of live attempts that began before this one */
};

/* Collective. Begins an attempt on DIR, whose log folder is made here, kept alive by a thread of rank 0, and checks
 * that every rank sees the same folder. *attempt is NULL at other ranks. */
int attempt_begin(struct attempt **attempt, struct turn *turn, struct comm *comm, const char *dir, struct error *err);
int attempt_ahead(const struct attempt *attempt);
/* Removes the temporaries of the dead from a folder (stale_remove); and, after all folders, the records of attempts
 * that are over. */
int attempt_clear(const struct attempt *attempt, const char *folder, struct error *err);
void attempt_forget(const struct attempt *attempt);
/* For the next beat. rate: samples/s; eta: s, 0 or less: unknown. NULL: nothing happens. */
void attempt_tell(struct attempt *attempt, double rate, double eta, int ranks);
/* Marks it ended with this status; NULL: nothing happens. */
void attempt_end(struct attempt *attempt, int status);

/* ---- everybody's ---- */

struct attempts {
    json_t *records; /* [{"attempt": ..., "silent": s since the last beat, "alive": bool}], by number */
};

/* now: a time to which the records' are compared, of the clock of their file system; 0: this machine's. A missing
 * folder holds no attempts. */
int attempts_read(struct attempts *attempts, const char *dir, double now, struct error *err);
void attempts_release(struct attempts *attempts);
/* Is any but this process's alive there? */
int attempts_busy(const char *dir, bool *busy, struct error *err);
/* The highest number there; 0: none. Of two looks between which an attempt began, the second one tells more. */
int attempts_last(const char *dir, int *number, struct error *err);
stale_judge attempts_judge; /* of struct attempts */

#endif
