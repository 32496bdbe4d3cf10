/* A zip archive for reading. */
#ifndef FORMAT_ZIP_FILE_H
#define FORMAT_ZIP_FILE_H

#include "base/error.h"

#include <stdint.h>
#include <zip.h>

/* Opens a regular file as an archive; *bytes: of the file. `expected` ends the message about one that is none
 * ("expected ...", CODE_DATA), and one that holds a name twice is CODE_DATA too; a file that cannot be opened or read
 * is CODE_IO. To be closed by zip_discard. */
int zip_of_file(zip_t **zip, uint64_t *bytes, const char *path, const char *expected, struct error *err);
/* CODE_DATA: two members have one name; some readers take the first and some the last. */
int zip_check_names(zip_t *zip, const char *path, struct error *err);

#endif
