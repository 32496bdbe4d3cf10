/* A record of what crashed. SEGV, BUS, FPE, ILL and ABRT append one JSON line to a file that was opened before, and then
 * do what they did before: core dumps, a launcher's and a library's own handlers stay as they are. KILL, TERM and
 * signals from outside leave no line. */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#include "base/error.h"

/* From now on lines go to fd (O_APPEND; stays the caller's), -1: nowhere. The first call installs the handlers. */
void crash_record(int fd);
/* An alternate stack for this thread, so that a stack overflow leaves its line too. */
int crash_thread_start(struct error *err);
void crash_thread_end(void);
/* What this thread is at: members of a JSON object, 1000 bytes at most; the line adds "reason". "": nothing that a crash
 * would be blamed on. */
void crash_note(const char *members);

#endif
