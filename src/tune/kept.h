/* What a tuning has computed, on disk, so that one that was stopped goes on with it: a file a piece of work, named by
 * the digest of all that it follows from, so that nobody is ever given another's. Nothing here is collective; several
 * threads and processes may read and write at a time. */
#ifndef TUNE_KEPT_H
#define TUNE_KEPT_H

#include "base/error.h"
#include "base/hash.h"

#include <stdbool.h>
#include <stddef.h>

/* values[count] of this key. *found: false where there is no such file, or a damaged one, which is as good as none.
 * CODE_IO. */
int kept_read(const char *folder, const char key[SHA256_HEX], double *values, size_t count, bool *found,
              struct error *err);
/* Appears whole or not at all. CODE_IO. */
int kept_write(const char *folder, const char key[SHA256_HEX], const double *values, size_t count, struct error *err);

#endif
