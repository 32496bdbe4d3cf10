/* Which label each sample gets. */
#ifndef SAMPLE_LABELS_H
#define SAMPLE_LABELS_H

#include "job/job.h"

/* The labels of a LABELS_FILE (.npy int64 [N], or text with one number a line), new, [count]. sha256: that the
 * file must have; NULL: any. Wrong count, wrong type and labels outside [0, classes) are errors. */
int labels_read(int64_t **labels, const char *path, const char *sha256, uint64_t count, int64_t classes,
                struct error *err);

/* The label of the sample at a position in the seed list; -1 where the model takes none, and where that of LABELS_EDM
 * cannot be drawn here (no such GPU, no memory), which executor_start refuses. file: LABELS_FILE's. */
int64_t labels_at(const struct job *job, const struct card *card, const int64_t *file, uint64_t position);

#endif
