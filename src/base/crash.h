/* What a crash says. SEGV, BUS, FPE, ILL and ABRT write one line to stderr, append one JSON line to a file that was
 * opened before, and then do what they did before: core dumps, a launcher's and a library's own handlers stay as
 * they are. KILL, TERM and signals from outside leave no line. */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#include "base/error.h"

/* Installs the handlers. build: what the line calls this program; NULL: as before. */
void crash_catch(const char *build);
/* Takes them away for a while: a library that installs its own (MPI) does so only where there are none. */
void crash_let(void);
/* From now on JSON lines go to fd (O_APPEND; stays the caller's), -1: nowhere. */
void crash_record(int fd);
/* An alternate stack for this thread, so that a stack overflow leaves its line too. */
int crash_thread_start(struct error *err); /* again: nothing */
void crash_thread_end(void);
/* What this thread is at: members of a JSON object, 1000 bytes at most; the line adds "reason". "": nothing that a
 * crash would be blamed on. */
void crash_note(const char *members);

#endif
