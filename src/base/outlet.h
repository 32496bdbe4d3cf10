/* Standard error or output by way of a thread of its own: a stopped terminal, a full pipe or a reader that sleeps
 * holds up that thread and nobody else. Thread-safe. */
#ifndef BASE_OUTLET_H
#define BASE_OUTLET_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct outlet;

/* For the rest of the process's life: its thread may be in a write that never returns. */
int outlet_new(struct outlet **outlet, int fd, struct error *err);
/* Says `data` after all that was put before. false: dropped, since more than `most` bytes would wait, nobody can
 * read any more, or memory ran out. */
bool outlet_put(struct outlet *outlet, const char *data, size_t size, size_t most);
/* Waits until all was taken: `seconds` without progress at most, and not at all where that was in vain before. 0, or
 * errno of what failed: ETIMEDOUT where it still waits. */
int outlet_flush(struct outlet *outlet, int seconds);
const char *outlet_why(int failure); /* in words; not 0 */

/* For signal handlers: what a terminal or a pipe takes without a wait, else nothing. */
void outlet_now(int fd, const char *data, size_t size);

#endif
