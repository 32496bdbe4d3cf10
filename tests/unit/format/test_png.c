/* PNGs of each kind, those that are refused, and damaged ones. */
#include "pictures.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(pngs_of_each_depth_are_8_bit),
        TEST(other_pngs_are_refused),
        TEST(damaged_pngs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
