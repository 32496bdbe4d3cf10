/* A zip archive, opened for reading. */
#include "format/zip_file.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int zip_check_names(zip_t *zip, const char *path, struct error *err) {
    zip_int64_t count = zip_get_num_entries(zip, 0);
    const char **names = malloc(((size_t)count + 1) * sizeof *names);
    size_t known = 0;
    int rc = names ? 0 : error_memory(err);
    for (zip_int64_t i = 0; rc == 0 && i < count; i++)
        if ((names[known] = zip_get_name(zip, (zip_uint64_t)i, 0))) known++;
    if (known > 1) qsort(names, known, sizeof *names, by_name);
    for (size_t i = 1; rc == 0 && i < known; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            rc = error_set(err, CODE_DATA,
                           "%s holds %s twice, and readers differ in which of them they take: make it again", path,
                           names[i]);
    free(names);
    return rc;
}

int zip_of_file(zip_t **zip, uint64_t *bytes, const char *path, const char *expected, struct error *err) {
    struct stat info;
    int code = ZIP_ER_OPEN, fd = file_open(path, O_RDONLY, err);
    *zip = NULL;
    if (fd < 0) return -1;
    if (fstat(fd, &info) == 0) *zip = zip_fdopen(fd, 0, &code); /* closes fd when it succeeds */
    if (*zip) {
        *bytes = (uint64_t)info.st_size;
        if (zip_check_names(*zip, path, err) == 0) return 0;
        zip_discard(*zip);
        *zip = NULL;
        return -1;
    }
    zip_error_t reason;
    zip_error_init_with_code(&reason, code);
    bool none = code == ZIP_ER_NOZIP || code == ZIP_ER_INCONS || code == ZIP_ER_EOF;
    error_set(err,
              code == ZIP_ER_MEMORY ? CODE_INTERNAL
              : none                ? CODE_DATA
                                    : CODE_IO,
              "cannot open %s: expected %s, found: %s", path, expected, zip_error_strerror(&reason));
    zip_error_fini(&reason);
    close(fd);
    return -1;
}
