/* What this program was built with and runs on: for --version, run.json and the first agreement of the ranks. */
#ifndef CLUSTER_BUILD_H
#define CLUSTER_BUILD_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

enum { RUN_FORMAT = 1, SWEEP_FORMAT = 1 }; /* of run.json and of sweep.json: the member "format" */

/* New object for run.json and --version --json: git commit, compiler, flags, MPI, libtorch, OpenMP and every library;
 * NULL when out of memory. */
json_t *build_versions(void);
/* What tells this build from another in a few words: version, commit, libtorch, compiler and flags (a digest). */
void build_describe(char *text, size_t capacity);

/* The version, "0.1.0", and its day, "2026-11-28": the file VERSION. */
const char *build_version(void);
const char *build_date(void);

/* A file of another format may mean other things by the same names. path: where `document` was read, for the message.
 * CODE_DATA: it is not of `format`. */
int build_check_format(const json_t *document, int format, const char *path, struct error *err);

#endif
