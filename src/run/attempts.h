/* Attempts: the jobs at work on one folder (a run's or a sweep's), several at a time if they like. Rank 0 of each keeps
 * a record there, log/attempt-0002.json, made exclusively and rewritten every 10 s:
 *   {"attempt": 2, "host", "pid", "slurm": "123.0" or null, "ranks": alive, "rate": samples/s, "eta_seconds": until
 *    all is made if it had to make it alone (null: unknown), "started", "beat", "ended" (null: not yet), "code": its
 * exit status, "nonce", "processes": [["node1", 4711], ... of each rank]} They decide the order of the work, whose
 * temporaries are cleared, and what `status` shows; samples are right without them. */
#ifndef RUN_ATTEMPTS_H
#define RUN_ATTEMPTS_H

#include "base/error.h"
#include "base/stale.h"

#include <jansson.h>
#include <stdbool.h>

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
stale_judge attempts_judge;                       /* of struct attempts */
char *attempts_path(const char *dir, int number); /* of a record; new, or NULL */

#endif
