/* The captions of a job's conditions: a text with one line for each of their rows. */
#ifndef FORMAT_CAPTIONS_H
#define FORMAT_CAPTIONS_H

#include "base/error.h"
#include "base/hash.h"

#include <stdint.h>

struct captions {
    char *text, **lines; /* [rows] of it, without their ends */
    char sha256[SHA256_HEX];
};

/* *captions new. Another number of lines than rows, and text that is not UTF-8 or has zero bytes, are CODE_DATA; a file
 * that cannot be read is CODE_IO. */
int captions_read(struct captions *captions, const char *path, uint64_t rows, struct error *err);
void captions_release(struct captions *captions);

#endif
