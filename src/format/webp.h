/* WebP files in memory -> 8-bit RGB, by libwebp with its defaults, which are Pillow's. Transparency and animations are
 * errors, as each way to make one image of them gives other pixels. */
#ifndef FORMAT_WEBP_H
#define FORMAT_WEBP_H

#include "format/image.h"

#include <stdbool.h>

/* As image_look and image_decode. */
int webp_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err);
int webp_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
                struct error *err);
bool webp_lossy(const char *data, size_t size);

#endif
