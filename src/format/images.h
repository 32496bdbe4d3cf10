/* Images in any of the forms the field keeps them in, read in order: a folder of PNG, JPEG and WebP files (searched
 * recursively, EDM's tree of 000000/000123.png included) or a zip archive of them, both sorted by name, numbers as
 * numbers or not (an image in another format beside them is an error, see image_names.h), or an array uint8 [N,H,W,C]
 * or float32 [N,C,H,W] (.npy, or ADM's .npz: `arr_0`, stored or deflated; read as a stream, so that it may be larger
 * than memory). Grey images become C = 1, those in colour (palettes too) 3; transparency is an error. */
#ifndef FORMAT_IMAGES_H
#define FORMAT_IMAGES_H

#include "base/error.h"
#include "base/hash.h"
#include "format/image_names.h"

#include <stdbool.h>
#include <stddef.h>

struct images; /* open for reading, by one thread at a time */

/* *images new. Finds the images and looks at the first. No image, an unknown form: CODE_DATA; no such path: CODE_IO. */
int images_open(struct images **images, const char *path, enum image_order order, struct error *err);
void images_close(struct images *images); /* accepts NULL */
size_t images_count(const struct images *images);
/* Their files' names; NULL: they have none. Borrowed. */
const struct image_names *images_names(const struct images *images);
/* How tools/prepare_images.py prepared them, as the archive says: dataset.json's "recipe" beside image files, the
 * member `recipe` of an .npz; "": it does not say, or what is no name. CODE_DATA: damaged. */
enum { RECIPE_SIZE = 32 };
int images_recipe(const struct images *images, char recipe[RECIPE_SIZE], struct error *err);
/* Of what they are read from: an archive's or array's bytes; of a folder the names, sizes and times of its images, so
 * that large ones need not be read. CODE_IO. */
int images_digest(const struct images *images, char hex[SHA256_HEX], struct error *err);
/* Pixels, pixels, and 1 or 3; of floats any number. */
void images_shape(const struct images *images, int *height, int *width, int *channels);
bool images_floats(const struct images *images); /* float32 [C,H,W]; else uint8 [H,W,C] */
/* The next `rows` images (no more than are left) into out [rows,H,W,C] or [rows,C,H,W]. One of another shape, or
 * damaged, is CODE_DATA naming it. */
int images_read(struct images *images, size_t rows, void *out, struct error *err);

#endif
