/* Plain PNGs in memory, to pixels (the PNG specification's 5.3, chunks, and 9.2, filters). */
#include "format/png_plain.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a chunk around its content: length and kind before, a checksum of kind and content behind. */
enum { FRAME = 12 };

struct chunk {
    const uint8_t *kind, *content;
    size_t length;
};

static size_t number(const uint8_t *at) {
    return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

/* The chunk at *at, which goes on to the next; false: cut or damaged. */
static bool take_chunk(struct chunk *chunk, const uint8_t **at, const uint8_t *end) {
    if (end - *at < FRAME || number(*at) > (size_t)(end - *at) - FRAME) return false;
    *chunk = (struct chunk){*at + 4, *at + 8, number(*at)};
    const uint8_t *checksum = chunk->content + chunk->length;
    *at = checksum + 4;
    return libdeflate_crc32(0, chunk->kind, 4 + chunk->length) == number(checksum);
}

static bool is(const struct chunk *chunk, const char *kind) {
    return memcmp(chunk->kind, kind, 4) == 0;
}

/* The header that a plain PNG of this shape has, and no other. */
static bool is_plain(const struct chunk *chunk, const struct image_shape *shape) {
    const uint8_t *at = chunk->content, rest[] = {8 /* bits */, shape->channels == 1 ? 0 : 2, 0, 0, 0};
    return is(chunk, "IHDR") && chunk->length == 8 + sizeof rest && number(at) == (size_t)shape->width &&
           number(at + 4) == (size_t)shape->height && memcmp(at + 8, rest, sizeof rest) == 0;
}

/* The content of all IDAT chunks, into `joined`, which is as large as the file; its bytes, or 0: no plain PNG. */
static size_t join_pixels(uint8_t *joined, const char *data, size_t size, const struct image_shape *shape) {
    static const char signature[8] = "\x89PNG\r\n\x1a\n";
    const uint8_t *at = (const uint8_t *)data + sizeof signature, *end = (const uint8_t *)data + size;
    struct chunk chunk;
    size_t length = 0;
    if (size < sizeof signature || memcmp(data, signature, sizeof signature) != 0) return 0;
    if (!take_chunk(&chunk, &at, end) || !is_plain(&chunk, shape)) return 0;
    while (take_chunk(&chunk, &at, end)) {
        if (is(&chunk, "IEND") && chunk.length == 0) return length;
        if (!is(&chunk, "IDAT")) return 0;
        memcpy(joined + length, chunk.content, chunk.length);
        length += chunk.length;
    }
    return 0;
}

/* Which of left, above and above left is nearest to left + above - above left; of equally near ones the first. As the
 * smaller or larger of the first two where the third lies beyond them or halfway, and without a branch. */
static int nearest(int left, int above, int corner) {
    int low = left < above ? left : above, high = left < above ? above : left;
    int turn = 3 * corner - left - above, found = high <= turn ? low : corner;
    return turn <= low ? high : found;
}

/* A line from its bytes less what the filter foretells; step: bytes of a pixel, above: the line above, or zeros. */
static bool undo_filter(int filter, uint8_t *out, const uint8_t *in, const uint8_t *above, size_t bytes, size_t step) {
    switch (filter) {
        case 0: memcpy(out, in, bytes); return true;
        case 1:
            memcpy(out, in, step);
            for (size_t i = step; i < bytes; i++) out[i] = (uint8_t)(in[i] + out[i - step]);
            return true;
        case 2:
            for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(in[i] + above[i]);
            return true;
        case 3:
            for (size_t i = 0; i < step; i++) out[i] = (uint8_t)(in[i] + above[i] / 2);
            for (size_t i = step; i < bytes; i++) out[i] = (uint8_t)(in[i] + (out[i - step] + above[i]) / 2);
            return true;
        case 4:
            for (size_t i = 0; i < step; i++) out[i] = (uint8_t)(in[i] + above[i]);
            for (size_t i = step; i < bytes; i++)
                out[i] = (uint8_t)(in[i] + nearest(out[i - step], above[i], above[i - step]));
            return true;
        default: return false;
    }
}

bool png_plain_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out) {
    size_t height = (size_t)shape->height, step = (size_t)shape->channels, bytes = (size_t)shape->width * step;
    size_t length;
    struct libdeflate_decompressor *inflate = libdeflate_alloc_decompressor();
    uint8_t *joined = malloc(size ? size : 1), *lines = malloc(height * (1 + bytes)), *zeros = calloc(bytes, 1);
    bool plain = inflate && joined && lines && zeros && (length = join_pixels(joined, data, size, shape)) > 0 &&
                 libdeflate_zlib_decompress(inflate, joined, length, lines, height * (1 + bytes), NULL) ==
                     LIBDEFLATE_SUCCESS;
    for (size_t y = 0; plain && y < height; y++) {
        const uint8_t *line = lines + y * (1 + bytes);
        plain = undo_filter(line[0], out + y * bytes, line + 1, y ? out + (y - 1) * bytes : zeros, bytes, step);
    }
    libdeflate_free_decompressor(inflate);
    free(joined);
    free(lines);
    free(zeros);
    return plain;
}
