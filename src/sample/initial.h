/* A job's file of starts: float32 [seeds,C,H,W], in the order of the seed list, taken as they are. */
#ifndef SAMPLE_INITIAL_H
#define SAMPLE_INITIAL_H

#include "base/error.h"
#include "format/npy.h"
#include "job/card.h"
#include "job/seeds.h"

#include <stdint.h>

/* Type and shape. */
int initial_fits(const struct npy *npy, const char *path, uint64_t seeds, const struct card *card, struct error *err);
/* Reads the whole file: a value that is not finite is CODE_DATA. Warns when their spread is not that of the noise which
 * a sampler starts from, `scale`. */
int initial_look(const char *path, const struct seeds *seeds, const struct card *card, double scale, struct error *err);

#endif
