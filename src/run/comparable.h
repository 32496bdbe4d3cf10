/* Whether metrics may stand in one table: they are of one reference, one feature network, one validation
 * set, the same texts and one count of samples. */
#ifndef RUN_COMPARABLE_H
#define RUN_COMPARABLE_H

#include "run/cells.h"

/* *yes: the metrics in a folder's metrics.json are what this job's cells are evaluated with; or it has none, or these
 * cells are not all evaluated, and with the same. CODE_IO, CODE_DATA: it cannot be read. */
int comparable_with(const struct cells *cells, const char *dir, bool *yes, struct error *err);

#endif
