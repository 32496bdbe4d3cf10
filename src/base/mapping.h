/* Files that stay in use for long as the kernel's own pages of them, which all processes of a machine share: of a large
 * file no process has a copy. So nobody may change one meanwhile, and mappings_check says whether somebody did.
 * Thread-safe. */
#ifndef BASE_MAPPING_H
#define BASE_MAPPING_H

#include "base/error.h"
#include "base/hash.h"

#include <stddef.h>

struct mapping {
    const char *data; /* [size]; what is written to it (by a library that takes no const) stays in this process */
    size_t size;
    char sha256[SHA256_HEX]; /* of data */
};

/* *mapping new: a whole regular file. One that is small, or that was written so short a time ago that a change now
 * would not show in its times, is read instead: that copy nobody changes. CODE_IO. */
int mapping_open(struct mapping **mapping, const char *path, struct error *err);
void mapping_close(struct mapping *mapping); /* accepts NULL */

/* Is every file that is mapped still what it was, and was each that is closed until then? One that was written
 * to is CODE_IO; that it was renamed, linked or removed changes none of its bytes. Cheap. */
int mappings_check(struct error *err);
/* The path of the mapped file that this address is of, or NULL. For a signal's handler. */
const char *mapping_at(const void *address);

#endif
