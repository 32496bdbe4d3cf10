/* Whole files and folders: open, read, write, remove. What must never be seen half-written goes through draft.h. All
 * of it is thread-safe; unless said otherwise errors are CODE_IO and name the path. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

/* Is this errno that of a file that is not there (ENOENT, ENOTDIR)? No other error says so: a server that does not
 * answer, or a folder that may not be searched, may well have it. */
bool file_absent(int number);
/* *there: is something at path (links are followed)? Any other errno of stat is an error. *info is filled where it
 * is. */
int file_look(const char *path, struct stat *info, bool *there, struct error *err);
int file_exists(const char *path, bool *there, struct error *err);
int folder_has(const char *folder, const char *name, bool *there, struct error *err);

/* Do the two describe one file that nobody changed in between: the same inode, size, mtime and ctime? */
bool file_unchanged(const struct stat *a, const struct stat *b);
/* Can a change after this show in them? Not within one tick of the clock: so not if they are seconds old. */
bool file_settled(const struct stat *info);

/* open, of a regular file alone: a FIFO, a device or a folder in its place is an error and is not waited for. -1:
 * *err is set. */
int file_open(const char *path, int flags, struct error *err);
/* The same for reading, as a stream (caller: fclose). NULL: *err is set. */
FILE *file_stream(const char *path, struct error *err);
/* Exactly `size` bytes of an open file, from byte `offset` on. It ends before: CODE_DATA. name: of it, for messages. */
int file_read_at(int fd, void *out, size_t size, size_t offset, const char *name, struct error *err);
/* Reads a whole regular file. *data is new (caller frees; NULL on failure) and NUL-terminated behind *size bytes. */
int file_read(const char *path, char **data, size_t *size, struct error *err);
/* The same; 0 with *data NULL: there is none. */
int file_read_if_there(const char *path, char **data, size_t *size, struct error *err);

/* May a file (folder) be written at path? Only regular files (folders) are replaced: a link, FIFO or device belongs to
 * somebody. For an early answer: draft_begin asks as well. */
int file_check_place(const char *path, bool folder, struct error *err);

/* Writes in place, neither synced nor renamed: for a draft's temporary. */
int file_write(const char *path, const void *data, size_t size, struct error *err);

/* mkdir -p: a folder that is there already is fine. */
int folder_make(const char *path, struct error *err);
/* rm -r; what is not there is not an error. */
int tree_remove(const char *path, struct error *err);

/* New string: the absolute form of path, which need not exist yet; NULL when out of memory. */
char *path_absolute(const char *path);

#endif
