/* What a tuning found (tune/tune.h): files, and the table that is printed. */
#ifndef TUNE_FOUND_H
#define TUNE_FOUND_H

#include "base/error.h"

#include <jansson.h>

/* The tables that win, and compare.yaml, into the folder (made where it is missing). document: the run document of the
 * job. CODE_IO. */
int tune_found_write(const char *folder, const json_t *found, const json_t *document, struct error *err);
/* To standard output; folder: where the files are. */
void tune_found_print(const json_t *found, const char *folder);

#endif
