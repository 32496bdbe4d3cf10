/* What diagnose measured, as tables and a chart. */
#ifndef CMD_DIAGNOSE_PRINT_H
#define CMD_DIAGNOSE_PRINT_H

#include "base/error.h"

#include <jansson.h>

/* found: of diagnose (diagnose/diagnose.h), with "fits" of tune_gains (tune/tune.h) where there are some. To standard
 * output. */
int diagnose_print(const json_t *found, struct error *err);

#endif
