/* Sheets of small images as PNGs. */
#include "report/picture.h"

#include "base/draft.h"
#include "format/png.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = PICTURE_GAP, WIDTH = 640 }; /* pixels */

/* Copies one image, each pixel enlarged zoom x zoom, to where its upper left corner is in a sheet of `stride` bytes a
 * line. */
static void paste(uint8_t *corner, size_t stride, const uint8_t *image, int height, int width, int channels, int zoom) {
    for (int y = 0; y < height * zoom; y++)
        for (int x = 0; x < width * zoom; x++)
            memcpy(corner + (size_t)y * stride + (size_t)x * (size_t)channels,
                   image + ((size_t)(y / zoom) * (size_t)width + (size_t)(x / zoom)) * (size_t)channels,
                   (size_t)channels);
}

int picture_sheet(char **png, size_t *png_size, const uint8_t *const *images, int rows, int columns, int height,
                  int width, int channels, int zoom, struct error *err) {
    if (rows < 1 || columns < 1 || height < 1 || width < 1 || (channels != 1 && channels != 3))
        return error_set(err, CODE_DATA, "expected images of 1 or 3 channels, found %d x %d images of %d x %d x %d",
                         rows, columns, height, width, channels);
    if (zoom == 0) zoom = (WIDTH / columns - GAP) / width;
    if (zoom < 1) zoom = 1;
    size_t cell_height = (size_t)height * (size_t)zoom + GAP, cell_width = (size_t)width * (size_t)zoom + GAP;
    size_t sheet_height = (size_t)rows * cell_height - GAP, sheet_width = (size_t)columns * cell_width - GAP;
    size_t stride = sheet_width * (size_t)channels;
    uint8_t *sheet = calloc(sheet_height, stride);
    if (!sheet) return error_memory(err);
    for (size_t row = 0; row < (size_t)rows; row++)
        for (size_t column = 0; column < (size_t)columns; column++) {
            const uint8_t *image = images[row * (size_t)columns + column];
            uint8_t *corner = sheet + row * cell_height * stride + column * cell_width * (size_t)channels;
            if (image) paste(corner, stride, image, height, width, channels, zoom);
        }
    int rc = png_encode(sheet, &(struct image_shape){(int)sheet_height, (int)sheet_width, channels}, png, png_size,
                        err);
    free(sheet);
    return rc;
}

int picture_grid(const char *path, const uint8_t *const *images, int rows, int columns, int height, int width,
                 int channels, int zoom, const struct file_guard *guard, struct error *err) {
    char *png;
    size_t size;
    if (picture_sheet(&png, &size, images, rows, columns, height, width, channels, zoom, err) != 0)
        return error_prefix(err, "%s", path);
    int rc = file_write_guarded(path, png, size, guard, err);
    free(png);
    return rc;
}

void picture_shrink(const uint8_t *image, int height, int width, int channels, int by, uint8_t *out) {
    for (int y = 0; y < height; y += by)
        for (int x = 0; x < width; x += by)
            for (int c = 0; c < channels; c++) {
                int sum = 0, count = 0;
                for (int dy = 0; dy < by && y + dy < height; dy++)
                    for (int dx = 0; dx < by && x + dx < width; dx++, count++)
                        sum += image[((size_t)(y + dy) * (size_t)width + (size_t)(x + dx)) * (size_t)channels +
                                     (size_t)c];
                *out++ = (uint8_t)((sum + count / 2) / count);
            }
}
