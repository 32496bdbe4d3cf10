/* PNG files in memory <-> 8-bit pixels. Grey of 1, 2, 4 or 8 bits has one channel, RGB and palette have three; 16 bits
 * and transparency are errors, since each way to drop them gives other pixels. */
#ifndef FORMAT_PNG_H
#define FORMAT_PNG_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { PNG_MOST_SIDE = 65535 }; /* pixels; more is a damaged file */

struct png_shape {
    int height, width, channels;
};

/* Looks at what is before the pixels. `name` is for messages. */
int png_look(struct png_shape *shape, const char *data, size_t size, const char *name, struct error *err);
/* Decodes an image of the shape [height,width,channels] into out; one of another shape is CODE_DATA. */
int png_decode(const char *data, size_t size, const struct png_shape *shape, uint8_t *out, const char *name,
               struct error *err);
/* pixels [height,width,channels], 1 or 3 channels -> *data, new. The same pixels give the same bytes. */
int png_encode(const uint8_t *pixels, const struct png_shape *shape, char **data, size_t *size, struct error *err);

#endif
