/* A job's file of starts: float32 [seeds,C,H,W], in the order of the seed list, taken as they are. */
#ifndef RUN_INITIAL_H
#define RUN_INITIAL_H

#include "base/error.h"
#include "format/npy.h"
#include "job/card.h"

#include <stdint.h>

/* Type and shape. */
int initial_fits(const struct npy *npy, const char *path, uint64_t seeds, const struct card *card, struct error *err);
/* Looks at the header and the first values of a file that may be large. Warns when their spread is not that of the noise
 * which a sampler starts from, `scale`. */
int initial_look(const char *path, uint64_t seeds, const struct card *card, double scale, struct error *err);

#endif
