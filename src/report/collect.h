/* What a report needs of a run directory or a sweep's: read, never changed. */
#ifndef REPORT_COLLECT_H
#define REPORT_COLLECT_H

#include "base/error.h"
#include "report/page.h"

#include <jansson.h>

/* *json: DIR/FOLDER/FILE, new, or NULL: there is no such file. format: what a document is to be of; 0: it says none.
 * The names of cells in it were checked (results_check_names). */
int collect_read(json_t **json, const char *dir, const char *folder, const char *file, int format, struct error *err);
/* *data (new): see report/data.h. A sweep is a folder with results.json or sweep.json; one that was not finished gives
 * the cells that are. Reads metrics.json and run.json of every cell, no features: it takes no time. */
int collect_data(json_t **data, const char *dir, struct error *err);
/* A strip of the first samples of each cell, the same positions of the seed list side by side, small enough for a page;
 * of a single run, its grid.png. What can't be shown is said in the note, and no error. */
int collect_pictures(struct page_pictures *pictures, const json_t *data, struct error *err);

#endif
