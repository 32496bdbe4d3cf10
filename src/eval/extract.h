/* Images through a feature network. */
#ifndef EVAL_EXTRACT_H
#define EVAL_EXTRACT_H

#include "eval/side.h"

/* All images of `path` (images.h) in their order, in batches of 64, by how->workers threads; the features do not depend
 * on their number. Adds to an empty side. */
int extract(struct side *side, const char *path, const struct extraction *how, struct error *err);

#endif
