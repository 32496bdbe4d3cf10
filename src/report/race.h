/* The race of a sweep's cells (race.json, see work/pace.h) in a report: who left when, and how much was saved. */
#ifndef REPORT_RACE_H
#define REPORT_RACE_H

#include "base/text.h"

#include <jansson.h>

/* data: see report/data.h, with "race" */
void race_print(const json_t *data, struct text *out);  /* for a terminal */
void race_markup(const json_t *data, struct text *out); /* a section of the page */
/* Adds, behind `before`, the risk that the best cell was left behind; race: race.json. */
void race_risk(const json_t *race, const char *before, struct text *out);

#endif
