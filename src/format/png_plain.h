/* The PNGs that samples come as, quickly: 8 bits of grey or RGB, not interlaced, of no chunks but IHDR, IDAT and IEND.
 * Inflating them by zlib and undoing their filters by spng took two thirds of an FID through a small network. */
#ifndef FORMAT_PNG_PLAIN_H
#define FORMAT_PNG_PLAIN_H

#include "format/image.h"

#include <stdbool.h>

/* The pixels of such a PNG of the shape [height,width,channels], whole and undamaged. Any other, and no memory: false,
 * out undefined, and png_decode's slower way has to say what it is. */
bool png_plain_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out);

#endif
