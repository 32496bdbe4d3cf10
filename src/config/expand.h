/* The one rule for ~ and $ in the paths of a job: "~/" at the start is the home folder, $NAME and ${NAME} come from the
 * environment (rank 0's, where the job is read), $$ is a dollar. */
#ifndef CONFIG_EXPAND_H
#define CONFIG_EXPAND_H

#include "base/error.h"

#include <jansson.h>

/* *expanded: new. A variable that is not set or empty, ~user and a dollar alone are errors (CODE_DATA), which name no
 * key. */
int path_expand(char **expanded, const char *path, struct error *err);
/* The text that path_expand turns into `path`, whatever ~ and $ are in it: new, or NULL when out of memory. */
char *path_literal(const char *path);
/* So that a job may hold them: the absolute paths below a resolved job's value, which stand for themselves. -1: out of
 * memory. */
int paths_write_literal(json_t *value);

#endif
