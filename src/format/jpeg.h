/* JPEG files in memory -> 8-bit pixels, by libjpeg-turbo with its defaults (exact integer DCT, smooth upsampling of
 * colours), which are Pillow's. Grey has one channel, colours three; CMYK and 12 bits are errors, as each way to turn
 * them into RGB gives other pixels. So is a file that is cut off or whose data do not fit its codes; a JPEG has no
 * checksum, so other damage cannot be seen. */
#ifndef FORMAT_JPEG_H
#define FORMAT_JPEG_H

#include "format/image.h"

/* As image_look and image_decode. */
int jpeg_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err);
int jpeg_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
                struct error *err);

#endif
