/* WebP files in memory, to pixels. */
#include "format/webp.h"

#include <webp/decode.h>

static int damaged(struct error *err, const char *name, VP8StatusCode status) {
    if (status == VP8_STATUS_OUT_OF_MEMORY) return error_memory(err);
    return error_set(err, CODE_DATA, "cannot read %s as a WebP: %s", name,
                     status == VP8_STATUS_NOT_ENOUGH_DATA || status == VP8_STATUS_SUSPENDED ? "it is cut off"
                     : status == VP8_STATUS_UNSUPPORTED_FEATURE ? "it has a feature that libwebp does not read"
                                                                : "it is damaged");
}

int webp_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err) {
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures((const uint8_t *)data, size, &features);
    if (status != VP8_STATUS_OK) return damaged(err, name, status);
    if (features.has_animation)
        return error_set(err, CODE_DATA, "%s: expected one image, found an animation: convert it first", name);
    if (features.has_alpha)
        return error_set(err, CODE_DATA,
                         "%s: expected a WebP without transparency, found an alpha channel: flatten it first", name);
    *shape = (struct image_shape){features.height, features.width, 3};
    return 0;
}

bool webp_lossy(const char *data, size_t size) {
    WebPBitstreamFeatures features;
    return WebPGetFeatures((const uint8_t *)data, size, &features) == VP8_STATUS_OK && features.format == 1;
}

int webp_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
                struct error *err) {
    WebPDecoderConfig config;
    struct image_shape found;
    if (webp_look(&found, data, size, name, err) != 0 || image_expect(shape, &found, name, err) != 0) return -1;
    if (!WebPInitDecoderConfig(&config))
        return error_set(err, CODE_INTERNAL, "libwebp is of another version than the one this was built with");
    size_t row = 3 * (size_t)shape->width;
    config.output = (WebPDecBuffer){
        .colorspace = MODE_RGB,
        .width = shape->width,
        .height = shape->height,
        .is_external_memory = 1,
        .u.RGBA = {.rgba = out, .stride = (int)row, .size = row * (size_t)shape->height},
    };
    VP8StatusCode status = WebPDecode((const uint8_t *)data, size, &config);
    WebPFreeDecBuffer(&config.output);
    return status == VP8_STATUS_OK ? 0 : damaged(err, name, status);
}
