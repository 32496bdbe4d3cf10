/* Whose a tuning's folder is: FOLDER/tune.json says of which model, and under which of a job's keys, its tables are. */
#ifndef TUNE_FOLDER_H
#define TUNE_FOLDER_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

/* A folder with tables or a compare.yaml of another job, or of nobody knows which, is CODE_DATA; force: it is not.
 * document: the run document of the job. Changes nothing. */
int tune_folder_check(const char *folder, const json_t *document, bool force, struct error *err);
/* The same, and makes the folder this job's: of another's, those files are removed, and that is told (log). CODE_IO. */
int tune_folder_take(const char *folder, const json_t *document, bool force, struct error *err);
/* Removes the table of an NFE where there is one, and tells why. CODE_IO. */
int tune_folder_drop(const char *folder, int nfe, const char *why, struct error *err);

#endif
