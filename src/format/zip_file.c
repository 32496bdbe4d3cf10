/* A zip archive, opened for reading. */
#include "format/zip_file.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int zip_of_file(zip_t **zip, uint64_t *bytes, const char *path, const char *expected, struct error *err) {
    struct stat info;
    int code = ZIP_ER_OPEN, fd = file_open(path, O_RDONLY, err);
    *zip = NULL;
    if (fd < 0) return -1;
    if (fstat(fd, &info) == 0) *zip = zip_fdopen(fd, 0, &code); /* closes fd when it succeeds */
    if (*zip) {
        *bytes = (uint64_t)info.st_size;
        return 0;
    }
    zip_error_t reason;
    zip_error_init_with_code(&reason, code);
    bool none = code == ZIP_ER_NOZIP || code == ZIP_ER_INCONS || code == ZIP_ER_EOF;
    error_set(err, code == ZIP_ER_MEMORY ? CODE_INTERNAL : none ? CODE_DATA : CODE_IO, "cannot open %s: expected %s, found: %s",
              path, expected, zip_error_strerror(&reason));
    zip_error_fini(&reason);
    close(fd);
    return -1;
}
