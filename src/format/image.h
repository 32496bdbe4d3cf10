/* An image file in memory -> 8-bit pixels: PNG, JPEG or WebP, told apart by their first bytes, whatever the name says.
 * The pixels are Pillow's. A JPEG's orientation (EXIF) is not applied, as Pillow does not apply it either. */
#ifndef FORMAT_IMAGE_H
#define FORMAT_IMAGE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { IMAGE_MOST_SIDE = 65535 }; /* pixels; more is a damaged file */

struct image_shape {
    int height, width, channels; /* pixels, pixels, and 1 or 3 */
};

/* Looks at what is before the pixels. `name` is for messages. No image of a kind that is read: CODE_DATA. Like the
 * others here, several threads may call it at a time. */
int image_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err);
/* Decodes an image of the shape [height,width,channels] into out; one of another shape, or damaged, is CODE_DATA. */
int image_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
                 struct error *err);
/* Is it compressed with a loss? "JPEG", "WebP"; NULL: no (WebP need not be), or no image of a kind that is read. */
const char *image_lossy(const char *data, size_t size);
/* For the decoders: an image of the shape `found` among those of the shape `expected`; CODE_DATA where they differ. */
int image_expect(const struct image_shape *expected, const struct image_shape *found, const char *name,
                 struct error *err);

#endif
