/* The same latents under another decoder: a run of its own, in another folder. */
#ifndef RUN_REDECODE_H
#define RUN_REDECODE_H

#include "base/error.h"

#include "job/job.h"

#include <jansson.h>

/* *document (new): that of the run in run_dir, but for the decoder and the folder; "latents_of" names the folder of
 * latents that it goes on with. decoder: one without a name stands in the older one's place, with its batch; one with a
 * name has its own, and its folder lies in the run's, decoded/NAME. CODE_DATA: the run keeps no latents, or the decoder
 * does not fit. */
int redecode_document(json_t **document, const char *run_dir, const struct other_decoder *decoder, const char *dir,
                      struct error *err);
/* Rank 0, once the run's folder is there: its latents/ becomes a link to those that its document goes on with, unless
 * it has some already. dir: the run directory. */
int redecode_link(const json_t *document, const char *dir, struct error *err);

#endif
