/* Where a job's text comes from: a file, or a pipe ("-", /dev/stdin, <(...)). */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include "base/error.h"

#include <stddef.h>

struct source {
    char *text; /* NUL-terminated behind size bytes */
    size_t size;
    const char *name; /* borrowed; what messages and a nameless job call it: the path, of a pipe "job" */
    char *folder; /* that its paths are relative to: the file's, of a pipe (and of /dev/...) the working directory */
};

/* A pipe gives its text once, so the first one that is read is kept for those who read it again (by one thread at a
 * time). What cannot be read is CODE_IO, more than 64 MiB CODE_DATA, a signal during the wait for a pipe CODE_AGAIN. */
int source_read(struct source *source, const char *path, struct error *err);
void source_release(struct source *source);

#endif
