/* One side of a comparison out of a file: features, statistics or images, told apart by what the file holds. */
#ifndef EVAL_SIDE_READ_H
#define EVAL_SIDE_READ_H

#include "eval/extract.h"
#include "eval/side.h"

/* What `path` holds: features (.npy [N,D]; .npz with `features`, or `arr_0` [N,D]), statistics (.npz with `mu` and
 * `sigma`, and perhaps ADM's `mu_s` and `sigma_s`), images (see images.h; they need `how`), or an .npz of several of
 * these, where `mu` and `sigma` are then the statistics. how NULL: images are passed over, and alone an error.
 * *sides: [how->count], one where how is NULL; of several networks they must be images: else CODE_DATA. */
int side_read(struct side *sides, const char *path, const struct extraction *how, struct error *err);
struct side_contents {
    bool statistics, spatial, features, images; /* what side_read finds */
    bool files, floats;                         /* the images are files; an array of floats */
    bool doubtful;                              /* images beside the features, which stand for them without a network */
};
int side_look(struct side_contents *contents, const char *path, struct error *err);
/* Does `path` hold images, and no statistics, which would be read in their place? */
int side_holds_images(bool *images, const char *path, struct error *err);

#endif
