/* Zip archives, written as a stream: members are stored, not deflated, dated 1980 (the same members give the same
 * bytes), with zip64 records where an archive or a member passes 4 GiB or 65,535 members. */
#ifndef FORMAT_ARCHIVE_H
#define FORMAT_ARCHIVE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* What an archive is made of. Members are asked for in their order, each from its first byte to its last. */
struct archive {
    size_t members;
    /* New: a member's name. */
    char *(*name)(void *context, size_t member);
    /* A member's size; the first question about it. */
    int (*size)(void *context, size_t member, uint64_t *size, struct error *err);
    /* One or more of its bytes from `offset` on: *size of them, borrowed until the next call. */
    int (*bytes)(void *context, size_t member, uint64_t offset, const char **bytes, size_t *size, struct error *err);
    void *context;
};

/* Atomic: an error (CODE_IO, or what a function above gave) leaves what was at `path`. Memory grows by a member's name
 * and directory entry, not by its bytes. */
int archive_write(const char *path, const struct archive *archive, struct error *err);

#endif
