/* Whole files and folders, written so that a crash at any moment leaves the old content or the new one. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* Is this errno that of a file that is not there (ENOENT, ENOTDIR)? No other error says so: a server that does not answer,
 * or a folder that may not be searched, may well have it. */
bool file_absent(int number);
/* *there: stat finds something. Every error but absence is one. */
int file_look(const char *path, struct stat *info, bool *there, struct error *err);
int file_exists(const char *path, bool *there, struct error *err);
int folder_has(const char *folder, const char *name, bool *there, struct error *err);

/* open, of a regular file alone: a FIFO, a device or a folder in its place is an error and is not waited for. -1: *err is set. */
int file_open(const char *path, int flags, struct error *err);
/* Can a regular file be opened for reading there? Before libraries open it. */
int file_check(const char *path, struct error *err);
/* Reads a whole regular file. *data is new (caller frees) and NUL-terminated behind *size bytes. */
int file_read(const char *path, char **data, size_t *size, struct error *err);
/* The same; 0 with *data NULL: there is none. */
int file_read_if_there(const char *path, char **data, size_t *size, struct error *err);

/* May path be written? Only regular files (folders) are replaced: a link, FIFO or device is somebody's. For early; drafts
 * look for themselves. */
int file_check_place(const char *path, bool folder, struct error *err);

/* Temporary in the same folder -> write -> fsync -> close -> rename -> fsync of the folder. The temporary's
 * name is unique to the attempt (".NAME.tmp-HOST-PID-COUNT") and is removed when anything fails. A failed fsync leaves
 * nobody knows what: it is never repeated, but after an EIO all is written once more, into a new file. */
int file_write_atomic(const char *path, const void *data, size_t size, struct error *err);

/* The same in steps, for what is too large to hold, and for folders. */
struct draft { /* on its way; {0}: none */
    char *path, *parent;
    char *temporary; /* where its bytes, or the folder's files, go meanwhile */
};
/* Makes an empty file (or folder) under the temporary name. */
int draft_begin(struct draft *draft, const char *path, bool folder, struct error *err);
/* Gives it its name once it is whole and on disk. A folder replaces no other but an empty one. Abandons it when that
 * fails. */
int draft_commit(struct draft *draft, struct error *err);
/* Removes the temporary; does nothing after draft_commit. */
void draft_abandon(struct draft *draft);
/* A file inside a draft, which makes it atomic: neither synced nor renamed. */
int file_write(const char *path, const void *data, size_t size, struct error *err);

/* Removes temporaries that drafts and file_write_atomic left in `folder` when its process was killed. `judge` (NULL: knows nobody)
 * says who lives; of the unknown, those of processes of this host that do not run are cleared, and those of other hosts
 * once they are an hour old. A missing folder is not an error. */
enum file_owner { OWNER_UNKNOWN, OWNER_ALIVE, OWNER_DEAD };
typedef enum file_owner file_judge(const void *context, const char *host, long pid);
int file_remove_stale(const char *folder, file_judge *judge, const void *context, struct error *err);
/* Only those of one path. */
int draft_remove_stale(const char *path, struct error *err);

/* A condition under which a new file may stand, and which other processes can change at any moment. Asked before the file
 * takes its name (replaced: that path, which may be missing) and again right behind (replaced: where the older file lies
 * now, NULL: there was none): when it fails then, the older file is put back. So of two processes that each change the condition
 * before they write, none replaces what the other wrote. A file system that can't exchange two names asks only before. */
struct file_guard {
    int (*check)(const void *context, const char *replaced, struct error *err);
    const void *context;
};
/* file_write_atomic under a condition; guard NULL: under none. */
int file_write_guarded(const char *path, const void *data, size_t size, const struct file_guard *guard, struct error *err);

/* mkdir -p. */
int folder_make(const char *path, struct error *err);
/* rm -r; what is not there is not an error. */
int tree_remove(const char *path, struct error *err);

/* New string: the absolute form of path, which need not exist yet; NULL when out of memory. */
char *path_absolute(const char *path);

#endif
