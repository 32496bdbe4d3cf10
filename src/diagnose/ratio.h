/* Root mean squares over paths, and how sure they are. */
#ifndef DIAGNOSE_RATIO_H
#define DIAGNOSE_RATIO_H

#include <stddef.h>

struct ratio {
    double value, error; /* error: one standard error over paths (delta method), NAN for a single path */
};

/* sqrt(sum of a / sum of b), a and b squares of the same paths; b NULL: all ones. 0/0 is 0. */
struct ratio root_ratio(const double *a, const double *b, size_t count);

#endif
