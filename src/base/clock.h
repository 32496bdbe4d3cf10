/* Time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <time.h>

double timespec_seconds(struct timespec time);
double clock_seconds(void); /* monotonic, in s; for durations only */
void clock_sleep(double seconds);
void clock_stamp(char out[32]); /* now, as 2026-01-31T12:00:00Z */

#endif
