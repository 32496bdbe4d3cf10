/* Temporaries (draft.h) whose process was killed before it could rename or remove them. */
#ifndef BASE_STALE_H
#define BASE_STALE_H

#include "base/error.h"

/* Does the process pid of this host live, as far as `context` knows? */
enum file_owner { OWNER_UNKNOWN, OWNER_ALIVE, OWNER_DEAD };
typedef enum file_owner stale_judge(const void *context, const char *host, long pid);

/* Removes a folder's temporaries of dead processes. On this host those that do not run this program are dead, unless
 * `judge` says ALIVE. On other hosts the judge decides; when it is NULL or does not know, a temporary is removed
 * once it is an hour old. A missing folder is not an error. CODE_IO. */
int stale_remove(const char *folder, stale_judge *judge, const void *context, struct error *err);
/* Only those of one path, with no judge. */
int stale_remove_path(const char *path, struct error *err);

#endif
