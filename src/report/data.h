/* A report's data: one JSON object, which `report --json` prints and pages, plots and tables are made of.
 *
 *   {"kind": "sweep" or "run", "name", "dir",
 *    "columns": [...], "cells": [{"cell", ...}]     as in results.json
 *    "keys": ["solver", ...]                        of the sweep, by their last words
 *    "missing": ["cell", ...]                       of the sweep, not finished yet
 *    "left_out": ["cell", ...]                      of another reference than the first...: see data_leave_out_others
 *    "stale": ["cell", ...]                         made or evaluated again since: see data_stale
 *    "unlisted": ["cell", ...]                      of the sweep, finished, but without a row
 *    "changed": ["cell", ...]                       whose metrics are not those that its metrics.json was sealed with
 *    "series": [{"name", "cells": [numbers]}]       a line of the plots each: cells that differ by their budget alone
 *    "metrics": ["fid", ...]                        the columns that can be plotted
 *    "best": [...]                                  see data_best
 *    "race": race.json, where the sweep was one
 *    "metric": "fid"                                the column to show unless another is asked for: a FID's where
 *                                                   there is one, without its bias where that is known
 *    "pareto": ["cell", ...]                        of that over time
 *    "subject": {"model": [...], "feature network": [...], "reference": [...]}, "date": "..."   see about.h
 *    "environment": {"host": [...], ...}            every value there is, over all cells
 *    "commands": ["..."], "job": "text of the job file"} */
#ifndef REPORT_DATA_H
#define REPORT_DATA_H

#include "base/error.h"
#include "base/text.h"

#include <jansson.h>
#include <stdbool.h>

/* Words of warnings, behind their numbers. */
#define DATA_MISSING "cells of this sweep are not finished: run it again"
#define DATA_LEFT_OUT "cells of another reference or feature network are left out: run the sweep again"
#define DATA_STALE "cells were made or evaluated anew: run the sweep again to have their numbers"
#define DATA_UNLISTED \
    "cells are finished, but the results have no row of them: run the sweep again with their values listed (rows of " \
    "another reference, feature network, validation set, texts or count are left out)"
#define DATA_CHANGED \
    "of these metrics.json were changed since they were written (metrics_sha256): run again to compute them anew"

/* The column of a cell as a number; NAN where there is none. */
double data_number(const json_t *cell, const char *column);
/* Milliseconds a sample: a worker's in the solver's program where results.json tells them (model_seconds), else of the
 * whole. NAN: unknown. */
double data_time(const json_t *cell);
/* "metric" of data; "fid" where nothing can be plotted. New. */
json_t *data_metric(const json_t *data);
/* The cells on the Pareto front of that over time. New; NULL: an error. */
json_t *data_pareto(const json_t *data, struct error *err);
/* How many samples a cell's metrics are of. NAN: unknown. */
double data_evaluated(const json_t *cell);
/* The fewest and the most of these over all cells; true: of some cell they are not all samples. */
bool data_counts(const json_t *data, double *fewest, double *most);
/* Has a cell's metrics.json other numbers, or samples, than its row of the results? */
bool data_stale(const json_t *cell, const json_t *metrics);
/* New: what data_best takes of a cell's run.json and metrics.json. */
json_t *data_evidence(const json_t *document, const json_t *metrics);
/* Leaves out the cells whose metrics are of another reference, network... than the first's, unless the sweep is over
 * those; logs that, and that there are stale ones. 0, or -1: out of memory. */
int data_leave_out_others(json_t *data, const json_t *evidence);
/* New: "series" of data's keys and cells. */
json_t *data_series(const json_t *data);
/* New: for each FID, and each other distance whose differences can be paired, a record for each NFE there is, in order.
 * Every series takes part with its cell of the largest NFE at or below that, except cells that have the samples of
 * another one ("same_as"); where a cell has the number without its bias, those are compared.
 *   {"metric": the column, "nfe", "best": {"cell", "series", "nfe", "samples" that it was evaluated with, "fid",
 *    "fid_corrected" where they were compared by that}, "second": the same or null, "fid_delta", "fid_delta_error",
 * "fid_delta_low", "fid_delta_high": corrected FID(best) - FID(second), paired by seeds, as `compare --versus` has it;
 * "ahead": does the best lead by more than two errors, "p": two-sided, by Student's t, "p_holm": the same corrected for
 * the number of comparisons in the whole list} or {..., "unpaired": why}
 * evidence: cell -> {"fid", "fid_without" and others that have "..._without", "evaluated": how many samples these are
 * of, "seeds", "reference", "network", "validation", "text", "gone": the file that it lacks}. */
json_t *data_best(const json_t *data, const json_t *evidence);
/* A record of data_best in words: "taylor (corrected FID 0.1234)", and "ahead of ddim (corrected FID 0.2345):
 * difference 0.111 +- 0.0123, more than twice its error, p = 0.01". second stays empty where there is none. */
void best_words(const json_t *record, const char *plus_minus, struct text *best, struct text *second);
/* For a terminal, 80 columns: the plot of `metric` over NFE, the table of the cells by it, and the best of each NFE. */
int data_print(const json_t *data, const char *metric, struct text *out, struct error *err);

#endif
