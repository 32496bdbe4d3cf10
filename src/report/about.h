/* What a report says of its subject: whose samples were compared with what, when, and what its words mean. */
#ifndef REPORT_ABOUT_H
#define REPORT_ABOUT_H

#include "base/error.h"
#include "base/text.h"

#include <jansson.h>

/* Adds what a cell's run.json and metrics.json (may be NULL) say to a report's "subject": {"model": [names], "feature
 * network": [names], "reference": [names with numbers of images]}, each value once. NULL: out of memory. */
void about_add(json_t **subject, const json_t *document, const json_t *metrics);
/* Adds ", of all 2560 samples" where the metrics are of fewer, the first ones. */
void about_all(struct text *out, const json_t *metrics);
/* Adds that the metrics are not those that were written, where they are not. */
void about_change(struct text *out, const json_t *metrics);
/* CODE_AGAIN: a run's metrics.json is not of as many samples as its run.json says. */
int about_check_whole(const json_t *document, const json_t *metrics, const char *dir, struct error *err);
/* Adds the seeds that a run's metrics are of, as in "0-2559": of a run that was stopped early the first of its list,
 * and "0-999 (the first 1000 of 2560 samples)". */
void about_seeds(struct text *out, const json_t *document, const json_t *metrics);
/* Adds after how many seeds it was stopped, and by which rule; nothing where it was not. */
void about_stop(struct text *out, const json_t *document, const json_t *metrics);
/* Adds what a run's table of coefficients is: of a tuned one for which NFE it was fitted, and what chose it. */
void about_table(struct text *out, const json_t *document);
/* When the numbers were written, as "2026-11-29 10:42 UTC": of dir/results.json or dir/metrics.json. New; NULL when out
 * of memory. "" where there is neither. */
char *about_date(const char *dir);
/* A column of results.csv, or a word of the page, in a line; NULL: it speaks for itself. */
const char *about_term(const char *column);

#endif
