/* References that are images: each goes through its cells' feature network once, and what comes out stays beside the
 * run, as statistics in DIR/references/NAME.npz. NAME says what it was made of: the images, the network, and which
 * features the metrics need. */
#ifndef WORK_REFERENCE_IMAGES_H
#define WORK_REFERENCE_IMAGES_H

#include "base/error.h"
#include "cluster/comm.h"
#include "run/cells.h"
#include "cluster/place.h"

/* Collective, outside of parallel regions, before references are read. Rank 0 makes what is not there, on its own
 * device with its own workers, while the others wait. Fills the runs' evaluated files' `made` where they are
 * images. Images that can't be read, or are of a size that the network does not take: CODE_DATA. make_them: else
 * nothing is made, what is not there is looked at and told, and `reference_unmade` is set. */
int reference_images_agree(struct comm *comm, struct cells *cells, const struct place *place, bool make_them,
                           struct error *err);
/* Are there images enough at `path`, which `key` of evaluate names, of whole numbers, and, where their pixels are the
 * features, of the samples' shape? Looks at the first alone. CODE_DATA: not. Not collective. */
int reference_images_check(const struct run *run, size_t network, const char *path, const char *key, struct error *err);

#endif
