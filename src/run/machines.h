/* What made a run's samples: run.json's "hosts", the ranks of the last job that had some to make, and "made_with",
 * the kinds of machine (libtorch and the processor's instruction set, or the GPU) of all these jobs. One model gives
 * other last bits on another kind. */
#ifndef RUN_MACHINES_H
#define RUN_MACHINES_H

#include "base/error.h"
#include "run/cells.h"

#include <jansson.h>
#include <stdbool.h>

/* Sets this job's hosts, and adds their machines. *changed (may be NULL): there was one that was not known. */
int machines_add(json_t *document, json_t *hosts, bool *changed, struct error *err);
/* The same for the cells that have samples to make, and in their run.json; warns of a mix. */
int machines_note(struct cells *cells, json_t *hosts, struct error *err);
/* Takes "hosts" and "made_with" over from another document; NULL: forgets them. */
int machines_take(json_t *document, const json_t *other, struct error *err);
/* "A; B", where there are several (new), or NULL. */
char *machines_mixed(const json_t *document);

#endif
