/* A folder of a test program's own, and the path of one file in it. */
#ifndef UNIT_SCRATCH_H
#define UNIT_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/qtaylor_test_XXXXXX", path[64];

static inline int scratch_make(const char *file) {
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return 0;
}

static inline int scratch_remove(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

#endif
