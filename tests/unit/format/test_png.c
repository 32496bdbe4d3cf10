/* PNGs of each kind, those that are refused, and damaged ones. */
#include "pictures.h"

#include "format/png_plain.h"

#include <libdeflate.h>

/* Closed forms: grey v of d bits is 255 v / (2^d - 1); an index is its entry of encode()'s palette. */
static void pngs_of_each_depth_are_8_bit(void **state) {
    (void)state;
    for (int type = GREY; type <= PALETTE; type++)
        for (int depth = type == RGB ? 8 : 1; depth <= 8 && type != 1; depth *= 2)
            for (int interlaced = 0; interlaced <= 1; interlaced++) {
                int in = type == RGB ? 3 : 1, channels = type == GREY ? 1 : 3, most = (1 << depth) - 1;
                uint8_t samples[MOST], found[MOST], expected;
                for (size_t i = 0; i < MOST; i++) samples[i] = (uint8_t)((31 * i + 7) & (size_t)most);
                const struct look look = {type, depth, H, W, in, interlaced, false};
                struct bytes png = encode(&look, samples);
                struct image_shape shape;
                struct error err = {0};
                if (png_look(&shape, png.data, png.size, "x.png", &err) != 0 ||
                    png_decode(png.data, png.size, &shape, found, "x.png", &err) != 0)
                    fail_msg("type %d of %d bits: %s", type, depth, err.message);
                assert_int_equal(shape.channels, channels);
                for (int i = 0; i < H * W * channels; i++) {
                    if (type == PALETTE) {
                        uint8_t index = samples[i / 3];
                        const uint8_t entry[3] = {pixel(index, 0), pixel(index, 30), (uint8_t)(255 - index)};
                        expected = entry[i % 3];
                    } else expected = (uint8_t)(samples[i] * 255 / most);
                    assert_int_equal(found[i], expected);
                }
                free(png.data);
            }
}

static void other_pngs_are_refused(void **state) {
    (void)state;
    static const struct {
        struct look look;
        const char *message;
    } cases[] = {
        {{SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 8, H, W, 2, false, false}, "found an alpha channel"},
        {{SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 8, H, W, 4, false, false}, "found an alpha channel"},
        {{GREY, 8, H, W, 1, false, true}, "found transparent colours"},
        {{RGB, 8, H, W, 3, false, true}, "found transparent colours"},
        {{PALETTE, 8, H, W, 1, false, true}, "found transparent colours"},
        {{GREY, 16, H, W, 1, false, false}, "at most 8 bits a channel, found 16"},
        {{RGB, 16, H, W, 3, false, false}, "at most 8 bits a channel, found 16"},
        {{RGB, 8, H + 1, W, 3, false, false}, "found 6 x 7 x 3"},
        {{RGB, 8, H, W - 1, 3, false, false}, "found 5 x 6 x 3"},
        {{GREY, 8, H, W, 1, false, false}, "expected an image of 5 x 7 x 3"},
        {{GREY, 8, H, W, 1, false, false}, "found 5 x 7 x 1"},
        {{RGB, 8, W, H, 3, false, false}, "found 7 x 5 x 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const uint8_t black[4 * (H + 1) * (W + 1)];
        struct bytes odd = encode(&cases[i].look, black);
        if (i < 7) { /* the first of all */
            put("first/0.png", odd.data, odd.size);
            put_picture("first/1.png", 1, 3);
            assert_refused("first", CODE_DATA, "/first/0.png: ", cases[i].message);
        }
        put_picture("middle/0/1.png", 1, 3);
        put("middle/0/2.png", odd.data, odd.size);
        put_picture("middle/0/3.png", 3, 3);
        assert_refused("middle", CODE_DATA, "/middle/0/2.png: ", cases[i].message);
        zip_t *zip = zip_new("middle.zip");
        zip_put(zip, "0/1.png", picture(1, 3), true);
        zip_put(zip, "0/3.png", picture(3, 3), true);
        zip_put(zip, "0/2.png", odd, true);
        assert_int_equal(zip_close(zip), 0);
        assert_refused("middle.zip", CODE_DATA, "/middle.zip: 0/2.png: ", cases[i].message);
    }
}

static void damaged_pngs_are_refused(void **state) {
    (void)state;
    const struct image_shape shape = {H, W, 3};
    struct bytes png = picture(1, 3);
    struct error err;
    uint8_t out[MOST];
    size_t needed = png.size - 4; /* spng does not look at the checksum of the end mark, which has no content */
    for (size_t size = 0; size < needed; size++) { /* exact memory, so that reading on would be seen */
        char *cut = malloc(size ? size : 1);
        assert_non_null(cut);
        memcpy(cut, png.data, size);
        err = (struct error){0};
        if (png_decode(cut, size, &shape, out, "x.png", &err) == 0) fail_msg("%zu of %zu bytes do", size, png.size);
        assert_int_equal(err.code, CODE_DATA);
        assert_non_null(strstr(err.message, "x.png"));
        free(cut);
    }
    for (size_t bit = 0; bit < 8 * needed; bit++) {
        png.data[bit / 8] ^= (char)(1 << bit % 8);
        if (png_decode(png.data, png.size, &shape, out, "x.png", &err) == 0) fail_msg("bit %zu may differ", bit);
        assert_int_equal(err.code, CODE_DATA);
        png.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    put("folder/1.png", png.data, png.size);
    put("folder/2.png", png.data, png.size - 20);
    assert_refused("folder", CODE_DATA, "/folder/2.png ", "cannot read");
    put("folder/1.png", png.data, 0);
    assert_refused("folder", CODE_DATA, "/folder/1.png ", "cannot read");
    zip_t *zip = zip_new("images.zip");
    zip_put(zip, "1.png", picture(1, 3), true);
    zip_put(zip, "2.png", text("no image"), true);
    assert_int_equal(zip_close(zip), 0);
    assert_refused("images.zip", CODE_DATA, "/images.zip: 2.png ", "cannot read");
    free(png.data);
}

/* By spng alone, which png_decode asks for all but plain PNGs. */
static bool by_spng(const struct bytes *png, int format, uint8_t *out, size_t size) {
    spng_ctx *context = spng_ctx_new(0);
    assert_non_null(context);
    bool done = spng_set_png_buffer(context, png->data, png->size) == 0 &&
                spng_decode_image(context, out, size, format, 0) == 0 && spng_decode_chunks(context) == 0;
    spng_ctx_free(context);
    return done;
}

static void put_number(uint8_t *at, size_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void add_chunk(struct bytes *png, const char *kind, const uint8_t *content, size_t length) {
    uint8_t *at = (uint8_t *)png->data + png->size;
    put_number(at, length);
    memcpy(at + 4, kind, 4);
    if (length) memcpy(at + 8, content, length);
    put_number(at + 8 + length, libdeflate_crc32(0, at + 4, 4 + length));
    png->size += 12 + length;
}

/* A PNG by hand: lines of random bytes behind `filter` (5: each line another), deflated at `level`, in IDATs of
 * `piece` bytes. */
static struct bytes plain_png(int channels, size_t height, size_t width, int filter, int level, size_t piece) {
    size_t bytes = width * (size_t)channels, size = height * (1 + bytes);
    uint8_t header[13] = {[8] = 8, [9] = channels == 1 ? 0 : 2}, *lines = malloc(size), *packed = malloc(2 * size + 99);
    struct bytes png = {malloc(30 * size + 9999), 8};
    struct libdeflate_compressor *deflate = libdeflate_alloc_compressor(level);
    assert_true(lines && packed && png.data && deflate);
    for (size_t i = 0; i < size; i++) lines[i] = (uint8_t)(rand() >> 7);
    for (size_t y = 0; y < height; y++) lines[y * (1 + bytes)] = (uint8_t)(filter == 5 ? y % 5 : (size_t)filter);
    size_t length = libdeflate_zlib_compress(deflate, lines, size, packed, 2 * size + 99);
    assert_true(length > 0);
    memcpy(png.data, "\x89PNG\r\n\x1a\n", 8);
    put_number(header, width);
    put_number(header + 4, height);
    add_chunk(&png, "IHDR", header, sizeof header);
    for (size_t at = 0; at < length; at += piece)
        add_chunk(&png, "IDAT", packed + at, length - at < piece ? length - at : piece);
    add_chunk(&png, "IEND", NULL, 0);
    libdeflate_free_compressor(deflate);
    free(packed);
    free(lines);
    return png;
}

/* Lines of random bytes meet every case of a filter, Paeth's ties too. */
static void plain_pngs_are_spngs(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {3, 2}, {17, 31}, {64, 64}};
    for (int channels = 1; channels <= 3; channels += 2)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int filter = 0; filter <= 5; filter++)
                for (int level = 0; level <= 9; level += 3) {
                    size_t height = sizes[s][0], width = sizes[s][1], size = height * width * (size_t)channels;
                    const struct image_shape shape = {(int)height, (int)width, channels};
                    struct bytes png = plain_png(channels, height, width, filter, level, level == 3 ? 7 : 1 << 20);
                    uint8_t *found = malloc(size), *expected = malloc(size); /* exact: writing beyond would be seen */
                    assert_true(found && expected);
                    assert_true(by_spng(&png, channels == 1 ? SPNG_FMT_G8 : SPNG_FMT_RGB8, expected, size));
                    assert_true(png_plain_decode(png.data, png.size, &shape, found));
                    assert_memory_equal(found, expected, size);
                    free(found);
                    free(expected);
                    free(png.data);
                }
}

/* With any bit of it changed, with right checksums too, what is read quickly is what spng reads. */
static void plain_pngs_that_are_changed_are_spngs(void **state) {
    (void)state;
    const struct image_shape shape = {H, W, 3};
    uint8_t found[MOST], expected[MOST];
    for (int filter = 0; filter <= 5; filter++) {
        struct bytes png = plain_png(3, H, W, filter, 6, 50);
        for (size_t bit = 0; bit < 16 * png.size; bit++) {
            struct bytes odd = {malloc(png.size), png.size};
            assert_non_null(odd.data);
            memcpy(odd.data, png.data, png.size);
            odd.data[bit / 2 / 8] ^= (char)(1 << bit / 2 % 8);
            uint8_t *at = (uint8_t *)odd.data + 8, *end = (uint8_t *)odd.data + odd.size;
            for (size_t length; bit % 2 && end - at >= 12; at += 12 + length) {
                length = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
                if (length > (size_t)(end - at) - 12) break;
                put_number(at + 8 + length, libdeflate_crc32(0, at + 4, 4 + length));
            }
            if (png_plain_decode(odd.data, odd.size, &shape, found)) {
                if (!by_spng(&odd, SPNG_FMT_RGB8, expected, sizeof expected)) fail_msg("bit %zu: spng refuses", bit);
                assert_memory_equal(found, expected, sizeof expected);
            }
            free(odd.data);
        }
        free(png.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(pngs_of_each_depth_are_8_bit),
        TEST(other_pngs_are_refused),
        TEST(damaged_pngs_are_refused),
        TEST(plain_pngs_are_spngs),
        TEST(plain_pngs_that_are_changed_are_spngs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
