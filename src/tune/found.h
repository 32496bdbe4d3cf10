/* What a tuning found (tune/tune.h): files, and the table that is printed. */
#ifndef TUNE_FOUND_H
#define TUNE_FOUND_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

/* The tables that win, and compare.yaml, into the folder (made where it is missing); those of the NFEs at which none
 * does are removed. document: the run document of the job. force: as in folder.h. CODE_IO, CODE_DATA. */
int tune_found_write(const char *folder, const json_t *found, const json_t *document, bool force, struct error *err);
/* To standard output; folder: where the files are. */
void tune_found_print(const json_t *found, const json_t *document, const char *folder);

#endif
