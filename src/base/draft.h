/* Files and folders that appear whole: written under a temporary name, synced and then renamed, so that a crash at
 * any moment leaves the old content or the new one. */
#ifndef BASE_DRAFT_H
#define BASE_DRAFT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Temporary in the same folder -> write -> fsync -> close -> rename -> fsync of the folder. The temporary is removed
 * when anything fails. After a failed fsync nobody knows what is on disk, so it is never repeated; after an EIO all
 * is written once more, into a new file. CODE_IO. Thread-safe, as all here. */
int file_write_atomic(const char *path, const void *data, size_t size, struct error *err);

/* A condition under which a new file may stand, and which other processes can change at any moment. `check` is asked
 * twice: before the file takes its name (replaced: that path, which may be missing), and right behind (replaced:
 * where the older file lies now, NULL: there was none). When it fails the second time, the older file is put back.
 * So of two processes that each change the condition before they write, none replaces what the other wrote. Where
 * the file system can't exchange two names, only the first question is asked. */
struct file_guard {
    int (*check)(const void *context, const char *replaced, struct error *err);
    const void *context;
    bool unsynced; /* no fsync: the file is durable after file_system_sync, and until then may be empty after a crash of
                      the machine */
};
/* All that was written to the file system of `path` so far is durable. */
int file_system_sync(const char *path, struct error *err);
/* file_write_atomic under a condition; guard NULL: under none. Errors are those of the check, too. */
int file_write_guarded(const char *path, const void *data, size_t size, const struct file_guard *guard,
                       struct error *err);

/* The same in steps, for what is too large to hold in memory, and for folders. */
struct draft { /* {0}: none */
    char *path, *parent;
    char *temporary; /* where the caller puts its bytes, or the folder's files, meanwhile */
};
/* Makes an empty file (or folder) under the temporary name. */
int draft_begin(struct draft *draft, const char *path, bool folder, struct error *err);
/* Syncs it and gives it its name. A folder replaces no other but an empty one. Abandons it when that fails. */
int draft_commit(struct draft *draft, struct error *err);
/* Removes the temporary; does nothing after draft_commit. */
void draft_abandon(struct draft *draft);

/* A new path in `folder`, unique to this process and call: ".NAME.tmp-HOST-PID-COUNT". NULL: out of memory. */
char *draft_temporary(const char *folder, const char *name);
/* How much of NAME is in it (a printf format), so that host (64), numbers (20) and what libzip adds (7) fit 255
 * bytes. */
#define DRAFT_NAME "%.140s"

#endif
