/* Whole files and folders, written so that a crash at any moment leaves the old content or the new one. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Reads a whole file. *data is new (caller frees) and NUL-terminated behind *size bytes. */
int file_read(const char *path, char **data, size_t *size, struct error *err);
bool file_exists(const char *path);

/* Temporary in the same folder -> write -> fsync -> close -> rename -> fsync of the folder. The temporary's
 * name is unique to the attempt (".NAME.tmp-HOST-PID-COUNT") and is removed when anything fails. */
int file_write_atomic(const char *path, const void *data, size_t size, struct error *err);

/* Removes temporaries that file_write_atomic left in `folder` when its process was killed: those of dead
 * processes of this host, and those of other hosts older than an hour. A missing folder is not an error. */
int file_remove_stale(const char *folder, struct error *err);

/* mkdir -p. */
int folder_make(const char *path, struct error *err);

/* New string: the absolute form of path, which need not exist yet; NULL when out of memory. */
char *path_absolute(const char *path);

#endif
