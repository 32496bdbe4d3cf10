/* TERM, INT and USR1: a launcher, a time limit, a preemption or a person wants the job to end. */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* From now on the three signals set the flag. A second INT or TERM, a second or two after the first, ends the
 * process at once with status 75, whatever it is at: a model call that never returns, say. What is still at work 8 s
 * later (loading a model, reading files, a metric, waiting for other ranks) is left at once with status 75: files
 * are whole or not there at any moment. */
void signals_catch(void);
volatile sig_atomic_t *signals_flag(void); /* 1: stop */
/* on: what is at work ends within moments of the flag by itself, and may take longer for the sake of whole shards. Not
 * so the parts of it that are exposed (several threads may be in one). */
void signals_shelter(bool on);
void signals_expose(bool on);

#endif
