/* results.json and results.csv of a sweep: one row a cell, the same columns in both, in this order: cell, every key of
 * the sweep, solver, nfe (the real one), model_calls, samples, evaluated (where that is another number), the metrics,
 * same_as, and last what depends on the machine: seconds, samples_per_second, model_seconds. */
#ifndef REPORT_RESULTS_H
#define REPORT_RESULTS_H

#include "base/draft.h"
#include "base/error.h"

#include <jansson.h>
#include <stdio.h>

/* cells: all of the sweep's, with their "values" (see cells.h). NULL when out of memory. */
json_t *results_new(const char *dir, const json_t *cells);
/* values: the sweep's keys of this cell. result: its metrics.json. same_as: the cell that has the samples, or NULL. */
int results_add(json_t *results, const char *cell, const json_t *values, const json_t *result, const char *same_as,
                struct error *err);
/* Takes over the row that older results (NULL: none) have of a cell, if they have one. */
int results_keep(json_t *results, const json_t *older, const char *cell, struct error *err);
/* The columns that come behind all metrics. */
int results_end(json_t *results, struct error *err);
/* Are the names in a list of {"cell", "same_as"...} out of the file `path`, which become folders of the sweep's, plain
 * names? Everything that joins one to a folder had it checked here. */
int results_check_names(const json_t *list, const char *path, struct error *err);
/* guard: see base/files.h. */
int results_write_csv(const json_t *results, const char *path, const struct file_guard *guard, struct error *err);
/* A table for the terminal: the sweep's keys, NFE, samples/s and the metrics. */
void results_print(const json_t *results, FILE *out);

#endif
