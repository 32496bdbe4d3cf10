/* How a number was made, as a block for the appendix of a paper. */
#ifndef REPORT_PROTOCOL_H
#define REPORT_PROTOCOL_H

#include "base/error.h"
#include "base/text.h"

enum protocol_form { PROTOCOL_TEXT, PROTOCOL_MARKDOWN, PROTOCOL_LATEX };
extern const char *const protocol_form_names[]; /* end with NULL */

/* Adds the block of the run in a folder: what its run.json and metrics.json say, nothing that they do not. Markdown is
 * a table, LaTeX a tabular that needs no package. CODE_USAGE: a sweep, whose cells have a block each; CODE_DATA: no
 * run; CODE_AGAIN: the run is not finished. */
int protocol_print(const char *dir, enum protocol_form form, struct text *out, struct error *err);

#endif
