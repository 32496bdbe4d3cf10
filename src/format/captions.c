/* Captions, one line a row of conditions. */
#include "format/captions.h"

#include "base/files.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int captions_read(struct captions *captions, const char *path, uint64_t rows, struct error *err) {
    size_t size;
    uint64_t found = 0;
    *captions = (struct captions){0};
    if (file_read(path, &captions->text, &size, err) != 0) return -1;
    sha256_bytes(captions->text, size, captions->sha256);
    captions->lines = calloc(rows + 1, sizeof *captions->lines);
    int rc = captions->lines ? 0 : error_memory(err);
    if (rc == 0 && memchr(captions->text, '\0', size))
        rc = error_set(err, CODE_DATA, "%s: expected text, found a zero byte: save it as UTF-8", path);
    for (char *rest = captions->text, *line; rc == 0 && (line = strsep(&rest, "\n"));) {
        if (!rest && !*line) break; /* behind the last newline */
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r') line[length - 1] = '\0';
        if (found < rows) captions->lines[found] = line;
        found++;
        if (!text_is_utf8(line, strlen(line)))
            rc = error_set(err, CODE_DATA, "%s:%" PRIu64 ": expected UTF-8", path, found);
    }
    if (rc == 0 && found != rows)
        rc = error_set(err, CODE_DATA, "%s: expected a line for each of the %" PRIu64 " rows, found %" PRIu64, path,
                       rows, found);
    if (rc != 0) captions_release(captions);
    return rc;
}

void captions_release(struct captions *captions) {
    free(captions->text);
    free(captions->lines);
    *captions = (struct captions){0};
}
