/* metrics.json and run.json: what came out, and what made it. */
#ifndef REPORT_SUMMARY_H
#define REPORT_SUMMARY_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

/* New object for run.json and --version --json: git commit, compiler, flags, MPI, libtorch, OpenMP and every
 * library. */
json_t *summary_versions(void);
/* What tells this build from another in a few words: version, commit, libtorch, compiler and flags (a digest). */
void summary_build(char *text, size_t capacity);
/* Writes a JSON value as an indented file, atomically; takes no reference. */
int summary_write(const char *path, const json_t *json, struct error *err);
/* New value. */
int summary_read(json_t **json, const char *path, struct error *err);

#endif
