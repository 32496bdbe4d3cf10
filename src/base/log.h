/* Messages: one line to stderr, and one JSON line to the rank's own log file once it is open. Thread-safe, but for
 * log_rank, log_open and log_close. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/error.h"

#include <jansson.h>
#include <stdarg.h>

void log_rank(int rank, int size); /* names the rank in each stderr line when size > 1 */
int log_leads(void);               /* is this rank 0? What every rank finds is told once */
/* From now on stderr's lines go out by a thread, so that nobody waits for a terminal or a pipe. While too
 * many wait, further ones are dropped. */
int log_background(struct error *err);
int log_flush(void); /* waits for stderr to take what there is, but not for ever; 0, or errno as outlet_flush has it */
int log_open(const char *path, struct error *err); /* from now on appends JSON lines to path, and no more elsewhere */
void log_close(void);                              /* says in it when stderr did not take all */

/* From now on each message begins with this text (190 bytes of it) and ": ", for what is done a second time with
 * something else. */
void log_about(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_about_all(void); /* no more */
/* From now on a warning that was told, be it about something else, is not told again; `things` (borrowed) is what many
 * of it are called. NULL: no more, and says of how many others each was true. */
void log_once(const char *things);
/* From now on each warning's message is also appended to `list`, which stays the caller's; NULL: no more. */
void log_warnings_to(json_t *list);

void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* To stderr only, as it is, and not while much other text waits: a line that the next one replaces. */
void log_show(const char *text);
/* To the file only: a complete JSON object's members, without braces, as in "\"shard\": 12"; 999 bytes at most. */
void log_event(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
