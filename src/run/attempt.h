/* The attempt of this job (attempts.h says what that is): beginning, beating and ending it. */
#ifndef RUN_ATTEMPT_H
#define RUN_ATTEMPT_H

#include "base/error.h"
#include "cluster/comm.h"

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

#endif
