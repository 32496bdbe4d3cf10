/* A zip archive, opened for reading. */
#include "format/zip_file.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
    /* What is wrong with the bytes has more codes in every newer libzip; what the system did not do has a type. */
    error_set(err,
              code == ZIP_ER_MEMORY                          ? CODE_INTERNAL
              : zip_error_system_type(&reason) == ZIP_ET_SYS ? CODE_IO
                                                             : CODE_DATA,
              "cannot open %s: expected %s, found: %s", path, expected, zip_error_strerror(&reason));
    zip_error_fini(&reason);
    close(fd);
    return -1;
}

zip_int64_t zip_take(zip_file_t *member, void *out, zip_uint64_t size) {
    zip_uint64_t used = 0;
    for (zip_int64_t got; used < size; used += (zip_uint64_t)got)
        if ((got = zip_fread(member, (char *)out + used, size - used)) <= 0) return got < 0 ? -1 : (zip_int64_t)used;
    return (zip_int64_t)used;
}

int zip_read_member(zip_t *zip, zip_uint64_t index, uint64_t most, const char *where, char **data, size_t *size,
                    struct error *err) {
    zip_stat_t stat;
    char *bytes = NULL;
    *data = NULL;
    zip_file_t *file = zip_fopen_index(zip, index, 0);
    if (!file || zip_stat_index(zip, index, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE)) {
        error_set(err, CODE_DATA, "cannot read %s: %s", where, zip_strerror(zip));
    } else if (stat.size > most) {
        error_set(err, CODE_DATA,
                  "cannot read %s: expected at most %" PRIu64 " bytes, found that it announces %" PRIu64
                  ": the archive is damaged, or this is another kind of file",
                  where, most, (uint64_t)stat.size);
    } else if (!(bytes = malloc(stat.size + 1))) {
        error_memory(err);
    } else {
        zip_int64_t got = zip_take(file, bytes, stat.size + 1); /* one more: to its end */
        if (got == (zip_int64_t)stat.size) {
            *data = bytes;
            *size = (size_t)stat.size;
            bytes = NULL;
        } else {
            error_set(err, CODE_DATA, "cannot read %s: the archive is damaged (%s)", where,
                      got < 0 ? zip_file_strerror(file) : "wrong size");
        }
    }
    free(bytes);
    if (file) zip_fclose(file);
    return *data ? 0 : -1;
}
