/* Time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <time.h>

double timespec_seconds(struct timespec time); /* in s */
double clock_seconds(void);                    /* monotonic, in s; for durations only */
void clock_sleep(double seconds);              /* less where a signal came */
void clock_stamp(char out[32]);                /* now, in UTC: 2026-01-31T12:00:00Z */

#endif
