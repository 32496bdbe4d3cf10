/* Images out of folders, zip archives and sample npz files that are written here with spng and libzip. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/npy.h"
#include "base/text.h"
#include "eval/images.h"
#include "eval/png.h"

#include <ftw.h>
#include <spng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

enum { H = 5, W = 7, MOST = 3 * H * W }; /* of the test images; odd, so that packed rows end within a byte */
enum { GREY = SPNG_COLOR_TYPE_GRAYSCALE, RGB = SPNG_COLOR_TYPE_TRUECOLOR, PALETTE = SPNG_COLOR_TYPE_INDEXED };

static char *folder; /* a fresh one for each test */

static int setup(void **state) {
    (void)state;
    folder = strdup("/tmp/test_images_XXXXXX");
    return folder && mkdtemp(folder) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    int rc = nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(folder);
    return rc;
}

/* Byte j of image i, as smooth as deflate needs to find something. */
static uint8_t pixel(size_t i, size_t j) {
    return (uint8_t)(40 * i + j / 3 * 5 % 97);
}

struct bytes {
    char *data;
    size_t size;
};

struct look { /* of a PNG */
    int type, depth, height, width, channels; /* channels: samples a pixel in the file */
    bool interlaced, transparent;             /* transparent: a tRNS chunk */
};

/* Samples, one a byte, packed into the bits that spng wants (of 16 bits, 8 stay 0). */
static struct bytes encode(const struct look *look, const uint8_t *samples) {
    struct spng_ihdr header = {.width = (uint32_t)look->width, .height = (uint32_t)look->height,
                               .bit_depth = (uint8_t)look->depth, .color_type = (uint8_t)look->type,
                               .interlace_method = look->interlaced};
    struct spng_plte palette = {.n_entries = 1u << look->depth};
    for (size_t i = 0; i < 256; i++)
        palette.entries[i] = (struct spng_plte_entry){pixel(i, 0), pixel(i, 30), (uint8_t)(255 - i), 255};
    struct spng_trns trns = {.gray = 1, .red = 1, .n_type3_entries = 1};
    size_t line = (size_t)look->width * (size_t)look->channels * (size_t)look->depth;
    size_t stride = (line + 7) / 8, size = (size_t)look->height * stride;
    uint8_t *packed = calloc(size, 1);
    assert_non_null(packed);
    for (size_t i = 0, samples_a_line = line / (size_t)look->depth; i < samples_a_line * (size_t)look->height; i++) {
        size_t bit = i % samples_a_line * (size_t)look->depth, at = i / samples_a_line * stride + bit / 8;
        packed[at] |= (uint8_t)(look->depth > 8 ? samples[i] : samples[i] << (8 - (size_t)look->depth - bit % 8));
    }
    int code = 0;
    struct bytes png = {0};
    spng_ctx *context = spng_ctx_new(SPNG_CTX_ENCODER);
    assert_non_null(context);
    assert_int_equal(spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1), 0);
    assert_int_equal(spng_set_ihdr(context, &header), 0);
    if (look->type == PALETTE) assert_int_equal(spng_set_plte(context, &palette), 0);
    if (look->transparent) assert_int_equal(spng_set_trns(context, &trns), 0);
    assert_int_equal(spng_encode_image(context, packed, size, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    png.data = spng_get_png_buffer(context, &png.size, &code);
    assert_non_null(png.data);
    spng_ctx_free(context);
    free(packed);
    return png;
}

/* Image i of the test: H x W x channels of pixel(i, j). */
static struct bytes picture(size_t i, int channels) {
    uint8_t samples[MOST];
    for (size_t j = 0; j < sizeof samples; j++) samples[j] = pixel(i, j);
    return encode(&(struct look){channels == 1 ? GREY : RGB, 8, H, W, channels, false, false}, samples);
}

static char *inside(const char *name) {
    char *path = text_new("%s/%s", folder, name);
    assert_non_null(path);
    return path;
}

static void put(const char *name, const void *data, size_t size) {
    char *path = inside(name), *above = path_folder(path);
    struct error err;
    assert_int_equal(folder_make(above, &err), 0);
    assert_int_equal(file_write_atomic(path, data, size, &err), 0);
    free(above);
    free(path);
}

static void put_picture(const char *name, size_t i, int channels) {
    struct bytes png = picture(i, channels);
    put(name, png.data, png.size);
    free(png.data);
}

static zip_t *zip_new(const char *name) {
    char *path = inside(name);
    int code;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(zip);
    free(path);
    return zip;
}

/* A member, its data new and from now on the archive's. */
static void zip_put(zip_t *zip, const char *name, struct bytes bytes, bool deflated) {
    zip_source_t *source = zip_source_buffer(zip, bytes.data, bytes.size, 1);
    assert_non_null(source);
    zip_int64_t index = zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8);
    assert_true(index >= 0);
    assert_int_equal(
        zip_set_file_compression(zip, (zip_uint64_t)index, deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0), 0);
}

static struct bytes text(const char *words) {
    return (struct bytes){strdup(words), strlen(words)};
}

/* A sample file: arr_0 of this header, with `change` bytes more or fewer than that announces, and ADM's labels. */
static void npz_new(const char *name, const char *array, struct npy npy, bool deflated, int change) {
    size_t size = npy_bytes(&npy), row = size ? size / npy.shape[0] : 1;
    struct bytes bytes = {malloc(NPY_HEADER + size + 1), (size_t)((int)(NPY_HEADER + size) + change)};
    assert_non_null(bytes.data);
    npy_header(&npy, bytes.data);
    for (size_t i = 0; i <= size; i++) bytes.data[NPY_HEADER + i] = (char)pixel(i / row, i % row);
    zip_t *zip = zip_new(name);
    zip_put(zip, array, bytes, deflated);
    struct bytes labels = {calloc(NPY_HEADER + 8, 1), NPY_HEADER + 8};
    npy_header(&(struct npy){NPY_INT64, 8, 1, {1}}, labels.data);
    zip_put(zip, "arr_1.npy", labels, deflated);
    assert_int_equal(zip_close(zip), 0);
}

/* Opens and reads all, `piece` images at a time; the error's code, or CODE_OK and the pixels in *out (new). */
static enum code read_all(const char *name, size_t piece, size_t *count, int shape[3], uint8_t **out,
                          struct error *err) {
    struct images *images;
    char *path = *name == '/' ? strdup(name) : inside(name);
    int rc = images_open(&images, path, err);
    free(path);
    *out = NULL;
    if (rc != 0) return err->code;
    *count = images_count(images);
    images_shape(images, &shape[0], &shape[1], &shape[2]);
    size_t row = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2];
    *out = malloc(*count * row);
    assert_non_null(*out);
    for (size_t i = 0, rows; rc == 0 && i < *count; i += rows) {
        rows = piece < *count - i ? piece : *count - i;
        uint8_t *exact = malloc(rows * row); /* so that writing beyond would be seen */
        assert_non_null(exact);
        rc = images_read(images, rows, exact, err);
        if (rc == 0) memcpy(*out + i * row, exact, rows * row);
        free(exact);
    }
    images_close(images);
    if (rc == 0) return CODE_OK;
    free(*out);
    *out = NULL;
    return err->code;
}

/* `name` holds `count` images, pixel(0), pixel(1), ..., in this order, however they are read. */
static void assert_images(const char *name, size_t count, int channels) {
    for (size_t piece = 1; piece <= count + 1; piece++) {
        struct error err = {0};
        size_t found;
        int shape[3];
        uint8_t *pixels;
        if (read_all(name, piece, &found, shape, &pixels, &err) != CODE_OK) fail_msg("%s", err.message);
        assert_int_equal(found, count);
        assert_int_equal(shape[0], H);
        assert_int_equal(shape[1], W);
        assert_int_equal(shape[2], channels);
        size_t row = (size_t)(H * W * channels);
        for (size_t i = 0; i < count * row; i++) assert_int_equal(pixels[i], pixel(i / row, i % row));
        free(pixels);
    }
}

/* Opening or reading fails with this code; the message says both. */
static void assert_refused(const char *name, enum code code, const char *where, const char *what) {
    struct error err = {0};
    size_t count;
    int shape[3];
    uint8_t *pixels;
    if (read_all(name, 2, &count, shape, &pixels, &err) == CODE_OK) fail_msg("%s was read: expected %s", name, what);
    if (err.code != code || !strstr(err.message, where) || !strstr(err.message, what))
        fail_msg("expected code %d and \"%s\", \"%s\", found code %d: %s", code, where, what, err.code, err.message);
}

static void folders_are_read_in_order(void **state) {
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) { /* written in another order than read */
        const char *const flat[] = {"10.png", "2.PNG", "B.png", "a.Png", "a b.png"};
        const size_t place[] = {0, 1, 2, 4, 3};
        for (size_t i = 0; i < 5; i++) {
            char *name = text_new("flat%d/%s", channels, flat[i]);
            put_picture(name, place[i], channels);
            free(name);
        }
    }
    assert_images("flat1", 5, 1);
    assert_images("flat3", 5, 3);
    assert_images("flat3/", 5, 3);
    assert_images("flat3//", 5, 3);
    put_picture("tree/000001/img00001000.png", 3, 3); /* EDM's */
    put_picture("tree/000000/img00000001.png", 1, 3);
    put_picture("tree/000000/img00000000.png", 0, 3);
    put_picture("tree/000000/img00000999.png", 2, 3);
    put_picture("tree/last.png", 4, 3);
    assert_images("tree", 5, 3);
}

static void what_is_no_png_is_passed_over(void **state) {
    (void)state;
    static const char *const others[] = {"dataset.json", "a.jpg",         ".hidden.png",   "0/.hidden.png", "png",
                                         "a.png.txt",    ".cache/a.png", "0/.cache/a.png", "x.png/notes",   "0/b.webp"};
    put_picture("folder/0/one.png", 0, 1);
    put_picture("folder/x.png/two.png", 1, 1);
    zip_t *zip = zip_new("images.zip");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *name = text_new("folder/%s", others[i]);
        put(name, "no image", 8);
        free(name);
        zip_put(zip, others[i], text("no image"), false);
    }
    zip_put(zip, "x.png/two.png", picture(1, 1), false);
    zip_put(zip, "0/one.png", picture(0, 1), true);
    zip_put(zip, "__MACOSX/0/._one.png", text("no image"), false);
    assert_true(zip_dir_add(zip, "0", 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
    assert_images("images.zip", 2, 1);
}


static void link_new(const char *to, const char *name) {
    char *path = inside(name);
    assert_int_equal(symlink(to, path), 0);
    free(path);
}

static void links_are_followed(void **state) {
    (void)state;
    put_picture("elsewhere/0.png", 0, 3);
    put_picture("elsewhere/deeper/1.png", 1, 3);
    put_picture("folder/2.png", 2, 3);
    link_new("../elsewhere/0.png", "folder/0.png");
    link_new("../elsewhere/deeper", "folder/1");
    link_new("folder", "link");
    assert_images("folder", 3, 3);
    assert_images("link", 3, 3);
    link_new("../nowhere.txt", "folder/3.txt");
    assert_images("folder", 3, 3);
    link_new("../nowhere.png", "folder/3.png");
    assert_refused("folder", CODE_IO, "folder/3.png", "a link to a file that is not there");
    link_new("..", "elsewhere/deeper/up");
    assert_refused("elsewhere", CODE_IO, "elsewhere/deeper/up", "a link to a folder that it is in");
}

static void zips_are_read_in_order(void **state) {
    (void)state;
    for (int deflated = 0; deflated <= 1; deflated++)
        for (int channels = 1; channels <= 3; channels += 2) {
            zip_t *zip = zip_new("images.zip");
            zip_put(zip, "00001/img00001000.png", picture(3, channels), deflated);
            zip_put(zip, "00000/img00000001.PNG", picture(1, channels), deflated);
            zip_put(zip, "dataset.json", text("{\"labels\": null}"), deflated);
            zip_put(zip, "00000/img00000999.png", picture(2, channels), deflated);
            zip_put(zip, "./a.png", picture(0, channels), deflated); /* as `zip -r images.zip .` names them */
            assert_int_equal(zip_close(zip), 0);
            assert_images("images.zip", 4, channels);
        }
}

static void samples_are_read(void **state) {
    (void)state;
    for (int deflated = 0; deflated <= 1; deflated++)
        for (size_t channels = 1; channels <= 3; channels += 2) {
            npz_new("samples.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {6, H, W, channels}}, deflated, 0);
            assert_images("samples.npz", 6, (int)channels);
        }
    /* More than the header is looked for in, and than libzip holds at once. */
    enum { LONG = 3000 };
    for (int deflated = 0; deflated <= 1; deflated++)
        for (size_t piece = 1; piece <= LONG; piece = 7 * piece + 1) {
            npz_new("long.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {LONG, H, W, 3}}, deflated, 0);
            struct error err;
            size_t count;
            int shape[3];
            uint8_t *pixels;
            assert_int_equal(read_all("long.npz", piece, &count, shape, &pixels, &err), CODE_OK);
            assert_int_equal(count, LONG);
            for (size_t i = 0; i < LONG * MOST; i++)
                if (pixels[i] != pixel(i / MOST, i % MOST)) fail_msg("piece %zu: byte %zu differs", piece, i);
            free(pixels);
        }
}

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
                struct png_shape shape;
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
                    } else
                        expected = (uint8_t)(samples[i] * 255 / most);
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
    const struct png_shape shape = {H, W, 3};
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

/* Where the first member's data begin and end in the archive, by the format's description. */
static void first_member(const struct bytes *file, size_t *begin, size_t *end) {
    const unsigned char *u = (const unsigned char *)file->data;
    assert_memory_equal(file->data, "PK\3\4", 4);
    size_t compressed = u[18] | (size_t)u[19] << 8 | (size_t)u[20] << 16;
    *begin = 30 + (u[26] | (size_t)u[27] << 8) + (u[28] | (size_t)u[29] << 8);
    *end = *begin + compressed;
    assert_true(compressed > 50 && *end < file->size);
}

static void flip(struct bytes *file, size_t at, const char *name, const char *where) {
    file->data[at] ^= 0x10;
    put(name, file->data, file->size);
    assert_refused(name, CODE_DATA, where, "");
    file->data[at] ^= 0x10;
}

static void damaged_archives_are_refused(void **state) {
    (void)state;
    for (int deflated = 0; deflated <= 1; deflated++) {
        struct bytes file;
        struct error err;
        size_t begin, end;
        npz_new("samples.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {6, H, W, 3}}, deflated, 0);
        char *path = inside("samples.npz");
        assert_int_equal(file_read(path, &file.data, &file.size, &err), 0);
        first_member(&file, &begin, &end);
        for (size_t at = begin; at < end - 2; at += 3) flip(&file, at, "flipped.npz", "flipped.npz: arr_0.npy");
        put("cut.npz", file.data, file.size / 2);
        assert_refused("cut.npz", CODE_DATA, "cut.npz", "cannot open");
        free(file.data);
        free(path);
    }
    zip_t *zip = zip_new("images.zip");
    zip_put(zip, "1.png", picture(1, 3), false);
    zip_put(zip, "0.png", picture(0, 3), false);
    assert_int_equal(zip_close(zip), 0);
    struct bytes file;
    struct error err;
    size_t begin, end;
    char *path = inside("images.zip");
    assert_int_equal(file_read(path, &file.data, &file.size, &err), 0);
    first_member(&file, &begin, &end);
    for (size_t at = begin; at < end; at += 11) flip(&file, at, "flipped.zip", "flipped.zip: 1.png");
    free(file.data);
    free(path);
}

/* In a stored array only the checksum tells of a changed pixel: whoever reads to the last image hears of it. */
static void the_checksum_is_compared_at_the_end(void **state) {
    (void)state;
    struct bytes file;
    struct error err;
    struct images *images;
    size_t begin, end;
    enum { LONG = 3000 }; /* more than is looked at when a file is opened */
    static uint8_t pixels[LONG * MOST];
    npz_new("samples.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {LONG, H, W, 3}}, false, 0);
    char *path = inside("samples.npz");
    assert_int_equal(file_read(path, &file.data, &file.size, &err), 0);
    first_member(&file, &begin, &end);
    file.data[begin + NPY_HEADER + 1] ^= 1;
    put("samples.npz", file.data, file.size);
    assert_int_equal(images_open(&images, path, &err), 0);
    assert_int_equal(images_read(images, LONG - 1, pixels, &err), 0);
    assert_int_equal(pixels[1], pixel(0, 1) ^ 1);
    assert_int_equal(images_read(images, 1, pixels, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "samples.npz: arr_0.npy: the archive is damaged (CRC error)"));
    images_close(images);
    free(file.data);
    free(path);
}

static void other_arrays_are_refused(void **state) {
    (void)state;
    static const struct {
        struct npy npy;
        int change; /* bytes behind the header more or fewer than it announces */
        const char *message;
    } cases[] = {
        {{NPY_FLOAT32, 4, 4, {2, H, W, 3}}, 0, "expected images |u1 [N,H,W,C], found <f4 of 4 dimensions"},
        {{NPY_UINT8, 1, 3, {2, H, W}}, 0, "found |u1 of 3 dimensions"},
        {{NPY_UINT8, 1, 4, {2, H, W, 4}}, 0, "found shape (2, 5, 7, 4)"},
        {{NPY_UINT8, 1, 4, {2, 3, H, W}}, 0, "1 or 3 channels, found shape (2, 3, 5, 7)"},
        {{NPY_UINT8, 1, 4, {2, 1, 65536, 1}}, 0, "at most 65535 pixels a side"},
        {{NPY_UINT8, 1, 4, {0, H, W, 3}}, 0, "expected one or more images"},
        {{NPY_UINT8, 1, 4, {2, 0, W, 3}}, 0, "found shape (2, 0, 7, 3)"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, 1, "announces 210 bytes of elements, found 211"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, -1, "announces 210 bytes of elements, found 209"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, -211, "its header is cut short"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, -209 - NPY_HEADER, "it does not start as one"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int deflated = 0; deflated <= 1; deflated++) {
            npz_new("x.npz", "arr_0.npy", cases[i].npy, deflated, cases[i].change);
            assert_refused("x.npz", CODE_DATA, "/x.npz: arr_0.npy: ", cases[i].message);
        }
    npz_new("x.npz", "samples.npy", cases[0].npy, false, 0);
    assert_refused("x.npz", CODE_DATA, "/x.npz: ", "expected .png images or an array named `arr_0`, found none");
}

static void what_holds_no_images_is_refused(void **state) {
    (void)state;
    put("text.png", "no archive", 10);
    assert_refused("text.png", CODE_DATA, "/text.png: ", "a folder of PNGs, a zip archive of PNGs or an .npz file");
    assert_refused("nowhere", CODE_IO, "/nowhere: ", "No such file");
    assert_refused("text.png/0.png", CODE_IO, "/text.png/0.png: ", "Not a directory");
    put("empty/readme.txt", "", 0);
    assert_refused("empty", CODE_DATA, "/empty: ", "expected .png images, found none");
    put("empty/.hidden.jpg", "", 0);
    assert_refused("empty", CODE_DATA, "/empty: ", "expected .png images, found none");
    static const char *const others[] = {"1.jpg", "1.JPEG", "1.webp"};
    for (size_t i = 0; i < 3; i++) {
        char *name = text_new("others%zu/0/%s", i, others[i]), *above = text_new("others%zu", i);
        put(name, "", 0);
        assert_refused(above, CODE_DATA, "only PNGs are read", others[i]);
        zip_t *zip = zip_new("others.zip");
        zip_put(zip, others[i], text("no image"), false);
        assert_int_equal(zip_close(zip), 0);
        assert_refused("others.zip", CODE_DATA, "only PNGs are read", others[i]);
        free(name);
        free(above);
    }
}

static void no_more_than_there_are_can_be_read(void **state) {
    (void)state;
    struct images *images;
    struct error err;
    uint8_t pixels[3 * MOST];
    char *path = inside("folder");
    put_picture("folder/0.png", 0, 3);
    put_picture("folder/1.png", 1, 3);
    assert_int_equal(images_open(&images, path, &err), 0);
    assert_int_equal(images_read(images, 3, pixels, &err), -1);
    assert_int_equal(err.code, CODE_INTERNAL);
    assert_int_equal(images_read(images, 2, pixels, &err), 0);
    assert_int_equal(images_read(images, 0, pixels, &err), 0);
    assert_int_equal(images_read(images, 1, pixels, &err), -1);
    images_close(images);
    images_close(NULL);
    free(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(folders_are_read_in_order),    TEST(what_is_no_png_is_passed_over),
        TEST(links_are_followed),           TEST(zips_are_read_in_order),
        TEST(samples_are_read),             TEST(pngs_of_each_depth_are_8_bit),
        TEST(other_pngs_are_refused),       TEST(damaged_pngs_are_refused),
        TEST(damaged_archives_are_refused), TEST(the_checksum_is_compared_at_the_end),
        TEST(other_arrays_are_refused),     TEST(what_holds_no_images_is_refused),
        TEST(no_more_than_there_are_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
