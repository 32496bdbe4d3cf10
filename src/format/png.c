/* PNG files in memory, to pixels and back. */
#include "format/png.h"

#include "format/png_plain.h"

#include <spng.h>

enum { MOST_CHUNK = 64 << 20 }; /* bytes of text, profiles and the like */

static int damaged(struct error *err, const char *name, int code) {
    return error_set(err, CODE_DATA, "cannot read %s as a PNG: %s", name, spng_strerror(code));
}

/* Transparency can be a channel or, in a tRNS chunk, a colour or the palette's. */
static int refuse_transparency(spng_ctx *context, const struct spng_ihdr *header, const char *name, struct error *err) {
    const char *found = "an alpha channel";
    if (header->color_type != SPNG_COLOR_TYPE_GRAYSCALE_ALPHA &&
        header->color_type != SPNG_COLOR_TYPE_TRUECOLOR_ALPHA) {
        struct spng_trns trns;
        int code = spng_get_trns(context, &trns);
        if (code == SPNG_ECHUNKAVAIL) return 0;
        if (code != 0) return damaged(err, name, code);
        found = "transparent colours (tRNS)";
    }
    return error_set(err, CODE_DATA, "%s: expected a PNG without transparency, found %s: flatten it first", name,
                     found);
}

/* A decoder that has read what is before the pixels: *context new, whatever is returned (spng_ctx_free takes NULL). */
static int decoder_new(spng_ctx **context, struct image_shape *shape, const char *data, size_t size, const char *name,
                       struct error *err) {
    int code;
    struct spng_ihdr header;
    *context = spng_ctx_new(0);
    if (!*context) return error_memory(err);
    if ((code = spng_set_image_limits(*context, IMAGE_MOST_SIDE, IMAGE_MOST_SIDE)) != 0 ||
        (code = spng_set_chunk_limits(*context, MOST_CHUNK, MOST_CHUNK)) != 0 ||
        (code = spng_set_png_buffer(*context, data, size)) != 0 || (code = spng_get_ihdr(*context, &header)) != 0)
        return damaged(err, name, code);
    if (header.bit_depth > 8)
        return error_set(err, CODE_DATA, "%s: expected a PNG of at most 8 bits a channel, found %d: convert it first",
                         name, header.bit_depth);
    *shape = (struct image_shape){.height = (int)header.height,
                                  .width = (int)header.width,
                                  .channels = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE ? 1 : 3};
    return refuse_transparency(*context, &header, name, err);
}

int png_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err) {
    spng_ctx *context;
    int rc = decoder_new(&context, shape, data, size, name, err);
    spng_ctx_free(context);
    return rc;
}

int png_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
               struct error *err) {
    if (png_plain_decode(data, size, shape, out)) return 0;
    spng_ctx *context;
    struct image_shape found;
    int code, rc = decoder_new(&context, &found, data, size, name, err);
    if (rc == 0) rc = image_expect(shape, &found, name, err);
    size_t bytes = (size_t)shape->height * (size_t)shape->width * (size_t)shape->channels;
    int format = shape->channels == 1 ? SPNG_FMT_G8 : SPNG_FMT_RGB8;
    if (rc == 0 && ((code = spng_decode_image(context, out, bytes, format, 0)) != 0 ||
                    (code = spng_decode_chunks(context)) != 0)) /* to the end: for the last pixels' checksum */
        rc = damaged(err, name, code);
    spng_ctx_free(context);
    return rc;
}

int png_encode(const uint8_t *pixels, const struct image_shape *shape, char **data, size_t *size, struct error *err) {
    int code = 0;
    size_t bytes = (size_t)shape->height * (size_t)shape->width * (size_t)shape->channels;
    struct spng_ihdr header = {.width = (uint32_t)shape->width,
                               .height = (uint32_t)shape->height,
                               .bit_depth = 8,
                               .color_type = shape->channels == 1 ? SPNG_COLOR_TYPE_GRAYSCALE
                                                                  : SPNG_COLOR_TYPE_TRUECOLOR};
    spng_ctx *context = spng_ctx_new(SPNG_CTX_ENCODER);
    *data = NULL;
    if (!context) return error_memory(err);
    if ((code = spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1)) == 0 &&
        (code = spng_set_ihdr(context, &header)) == 0 &&
        (code = spng_encode_image(context, pixels, bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE)) == 0)
        *data = spng_get_png_buffer(context, size, &code);
    spng_ctx_free(context);
    return *data ? 0 : error_set(err, CODE_INTERNAL, "cannot encode a PNG: %s", spng_strerror(code));
}
