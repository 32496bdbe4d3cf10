/* grid.png: a sheet of samples. */
#ifndef REPORT_PICTURE_H
#define REPORT_PICTURE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* rows x columns of images [H,W,C] uint8 (C 1 or 3), images[row*columns + column], a NULL one is left black; each pixel
 * enlarged `zoom` times (0: so that the sheet is near 640 pixels wide), with a gap of 2 pixels. Atomic. */
int picture_grid(const char *path, const uint8_t *const *images, int rows, int columns, int height, int width,
                 int channels, int zoom, struct error *err);

#endif
