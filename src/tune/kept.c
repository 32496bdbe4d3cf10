/* What a tuning has computed, on disk: FOLDER/KEY.bin, the digest of the rest, the key, and doubles as this machine has
 * them. */
#include "tune/kept.h"

#include "base/draft.h"
#include "base/files.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD = 2 * SHA256_HEX };

static char *path_of(const char *folder, const char *key) {
    return text_new("%s/%.40s.bin", folder, key);
}

int kept_read(const char *folder, const char key[SHA256_HEX], double *values, size_t count, bool *found,
              struct error *err) {
    char *path = path_of(folder, key), *data = NULL, digest[SHA256_HEX];
    size_t size = 0;
    int rc = path ? file_read_if_there(path, &data, &size, err) : error_memory(err);
    *found = false;
    if (rc == 0 && data && size == HEAD + count * sizeof *values) {
        sha256_bytes(data + SHA256_HEX, size - SHA256_HEX, digest);
        *found = memcmp(digest, data, SHA256_HEX) == 0 && memcmp(key, data + SHA256_HEX, SHA256_HEX) == 0;
    }
    if (*found) memcpy(values, data + HEAD, count * sizeof *values);
    free(data);
    free(path);
    return rc;
}

int kept_write(const char *folder, const char key[SHA256_HEX], const double *values, size_t count, struct error *err) {
    size_t size = HEAD + count * sizeof *values;
    char *path = path_of(folder, key), *data = malloc(size);
    int rc = path && data ? 0 : error_memory(err);
    if (rc == 0) {
        memcpy(data + SHA256_HEX, key, SHA256_HEX);
        memcpy(data + HEAD, values, count * sizeof *values);
        sha256_bytes(data + SHA256_HEX, size - SHA256_HEX, data);
        rc = file_write_atomic(path, data, size, err);
    }
    free(data);
    free(path);
    return rc;
}
