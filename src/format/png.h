/* PNG files in memory <-> 8-bit pixels. Grey of 1, 2, 4 or 8 bits has one channel, RGB and palette have three; 16 bits
 * and transparency are errors, since each way to drop them gives other pixels. */
#ifndef FORMAT_PNG_H
#define FORMAT_PNG_H

#include "format/image.h"

/* As image_look and image_decode. */
int png_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err);
int png_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
               struct error *err);
/* pixels [height,width,channels], 1 or 3 channels -> *data, new. The same pixels give the same bytes. */
int png_encode(const uint8_t *pixels, const struct image_shape *shape, char **data, size_t *size, struct error *err);

#endif
