/* grid.png: a sheet of samples. */
#ifndef REPORT_PICTURE_H
#define REPORT_PICTURE_H

#include "base/draft.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Two pixels lie between the images of a sheet. */
enum { PICTURE_GAP = 2 };

/* rows x columns of images [H,W,C] uint8 (C 1 or 3), images[row*columns + column], a NULL one is left black; each pixel
 * enlarged `zoom` times (0: so that the sheet is near 640 pixels wide), with a gap of PICTURE_GAP. Atomic. */
int picture_grid(const char *path, const uint8_t *const *images, int rows, int columns, int height, int width,
                 int channels, int zoom, const struct file_guard *guard, struct error *err);
/* The same as a PNG in memory (new). */
int picture_sheet(char **png, size_t *size, const uint8_t *const *images, int rows, int columns, int height, int width,
                  int channels, int zoom, struct error *err);
/* An image [H,W,C] made smaller by a whole number, into out [ceil(H/by),ceil(W/by),C]: means over by x by pixels, at
 * the edges over those that are there. */
void picture_shrink(const uint8_t *image, int height, int width, int channels, int by, uint8_t *out);

#endif
