/* A zip archive for reading, by one thread at a time. */
#ifndef FORMAT_ZIP_FILE_H
#define FORMAT_ZIP_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <zip.h>

/* Opens a regular file as an archive; *bytes: of the file. `expected` ends the message about one that is none
 * ("expected ...", CODE_DATA), and one that holds a name twice is CODE_DATA too; a file that cannot be opened or read
 * is CODE_IO. To be closed by zip_discard. */
int zip_of_file(zip_t **zip, uint64_t *bytes, const char *path, const char *expected, struct error *err);
/* CODE_DATA: two members have one name, of which some readers take the first and some the last. */
int zip_check_names(zip_t *zip, const char *path, struct error *err);
/* The next bytes of an open member, until there are `size` or it ends, where its checksum is compared. Their number;
 * -1: zip_file_strerror says why. */
zip_int64_t zip_take(zip_file_t *member, void *out, zip_uint64_t size);
/* A whole member, its checksum compared: *data new, [*size]. `where` names it in messages. Damage, and a member that
 * announces more than `most` bytes, are CODE_DATA. */
int zip_read_member(zip_t *zip, zip_uint64_t index, uint64_t most, const char *where, char **data, size_t *size,
                    struct error *err);

#endif
