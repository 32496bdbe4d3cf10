/* compare --same: whether two runs are one set of samples. */
#ifndef CMD_COMPARE_SAME_H
#define CMD_COMPARE_SAME_H

#include "base/error.h"

#include <stdbool.h>

/* Prints the verdict on the runs in the folders a and b and on what their further decoders made (one that only one of
 * them has: different), and what differs in their jobs. 0: the same bytes;
 * CODE_ROUNDED and CODE_DIFFERENT, with an empty message: the same within rounding, and different; else an error. */
int compare_same(const char *a, const char *b, bool json, struct error *err);

#endif
