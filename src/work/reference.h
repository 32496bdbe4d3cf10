/* The references of the cells, each read and factored once on this rank. */
#ifndef WORK_REFERENCE_H
#define WORK_REFERENCE_H

#include "base/error.h"
#include "eval/side.h"
#include "run/run.h"

#include <stdbool.h>

struct references;

int references_new(struct references **references, struct error *err);
void references_free(struct references *references); /* accepts NULL */
/* Not collective; any worker may call it, and waits while another one reads. files: what a network of the run's is
 * evaluated with, borrowed until references_free; NULL: it has none. factor: with side_factor done. Errors of
 * evaluation_reference and side_factor. */
int references_all(struct references *references, const struct run *run, size_t network, bool factor,
                   const struct side *files[EVALUATED_FILES], struct error *err);

#endif
