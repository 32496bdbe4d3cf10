/* Which label each sample gets. */
#ifndef JOB_LABELS_H
#define JOB_LABELS_H

#include "job/job.h"

/* The labels of a LABELS_FILE (.npy int64 [N], or text with one number a line), new, [seeds->count]. sha256: that the
 * file must have; NULL: any. Wrong count, wrong type and labels outside [0, classes) are errors. */
int labels_read(int64_t **labels, const char *path, const char *sha256, uint64_t count, int64_t classes,
                struct error *err);

#endif
