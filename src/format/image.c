/* Which decoder reads an image. */
#include "format/image.h"

#include "format/jpeg.h"
#include "format/png.h"
#include "format/webp.h"

#include <stdbool.h>
#include <string.h>

static bool is_png(const char *data, size_t size) {
    return size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0;
}

static bool is_jpeg(const char *data, size_t size) {
    return size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0;
}

static bool is_webp(const char *data, size_t size) {
    return size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0;
}

static const struct decoder {
    bool (*is)(const char *data, size_t size);
    int (*look)(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err);
    int (*decode)(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
                  struct error *err);
} decoders[] = {
    {is_png, png_look, png_decode},
    {is_jpeg, jpeg_look, jpeg_decode},
    {is_webp, webp_look, webp_decode},
};

/* NULL: *err is set. */
static const struct decoder *decoder_of(const char *data, size_t size, const char *name, struct error *err) {
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++)
        if (decoders[i].is(data, size)) return &decoders[i];
    error_set(err, CODE_DATA, "cannot read %s as an image: expected a PNG, JPEG or WebP file, found %s", name,
              size == 0 ? "an empty one" : "other first bytes");
    return NULL;
}

int image_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err) {
    const struct decoder *decoder = decoder_of(data, size, name, err);
    return decoder ? decoder->look(shape, data, size, name, err) : -1;
}

int image_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
                 struct error *err) {
    const struct decoder *decoder = decoder_of(data, size, name, err);
    return decoder ? decoder->decode(data, size, shape, out, name, err) : -1;
}

const char *image_lossy(const char *data, size_t size) {
    return is_jpeg(data, size) ? "JPEG" : is_webp(data, size) && webp_lossy(data, size) ? "WebP" : NULL;
}

int image_expect(const struct image_shape *expected, const struct image_shape *found, const char *name,
                 struct error *err) {
    if (found->height == expected->height && found->width == expected->width && found->channels == expected->channels)
        return 0;
    return error_set(
        err, CODE_DATA,
        "%s: expected an image of %d x %d x %d (height x width x channels) as the first one is, found %d x %d x %d: "
        "tools/prepare_images.py makes images of one size and kind of them",
        name, expected->height, expected->width, expected->channels, found->height, found->width, found->channels);
}
