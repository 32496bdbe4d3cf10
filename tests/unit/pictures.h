/* Pictures written with spng, libzip and by hand, in a folder of their own, and what must be true of reading them. */
#ifndef UNIT_PICTURES_H
#define UNIT_PICTURES_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/draft.h"
#include "base/files.h"
#include "format/npy.h"
#include "base/text.h"
#include "format/image_names.h"
#include "format/images.h"
#include "format/png.h"

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

static inline int setup(void **state) {
    (void)state;
    folder = strdup("/tmp/test_images_XXXXXX");
    return folder && mkdtemp(folder) ? 0 : -1;
}

static inline int remove_entry(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static inline int teardown(void **state) {
    (void)state;
    int rc = nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(folder);
    return rc;
}

/* Byte j of image i, as smooth as deflate needs to find something. */
static inline uint8_t pixel(size_t i, size_t j) {
    return (uint8_t)(40 * i + j / 3 * 5 % 97);
}

struct bytes {
    char *data;
    size_t size;
};

struct look {                                 /* of a PNG */
    int type, depth, height, width, channels; /* channels: samples a pixel in the file */
    bool interlaced, transparent;             /* transparent: a tRNS chunk */
};

/* Samples, one a byte, packed into the bits that spng wants (of 16 bits, 8 stay 0). */
static inline struct bytes encode(const struct look *look, const uint8_t *samples) {
    struct spng_ihdr header = {.width = (uint32_t)look->width,
                               .height = (uint32_t)look->height,
                               .bit_depth = (uint8_t)look->depth,
                               .color_type = (uint8_t)look->type,
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
static inline struct bytes picture(size_t i, int channels) {
    uint8_t samples[MOST];
    for (size_t j = 0; j < sizeof samples; j++) samples[j] = pixel(i, j);
    return encode(&(struct look){channels == 1 ? GREY : RGB, 8, H, W, channels, false, false}, samples);
}

static inline char *inside(const char *name) {
    char *path = text_new("%s/%s", folder, name);
    assert_non_null(path);
    return path;
}

static inline void put(const char *name, const void *data, size_t size) {
    char *path = inside(name), *above = path_folder(path);
    struct error err;
    assert_int_equal(folder_make(above, &err), 0);
    assert_int_equal(file_write_atomic(path, data, size, &err), 0);
    free(above);
    free(path);
}

static inline void put_picture(const char *name, size_t i, int channels) {
    struct bytes png = picture(i, channels);
    put(name, png.data, png.size);
    free(png.data);
}

static inline zip_t *zip_new(const char *name) {
    char *path = inside(name);
    int code;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(zip);
    free(path);
    return zip;
}

/* A member, its data new and from now on the archive's. */
static inline void zip_put(zip_t *zip, const char *name, struct bytes bytes, bool deflated) {
    zip_source_t *source = zip_source_buffer(zip, bytes.data, bytes.size, 1);
    assert_non_null(source);
    zip_int64_t index = zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8);
    assert_true(index >= 0);
    assert_int_equal(zip_set_file_compression(zip, (zip_uint64_t)index, deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0),
                     0);
}

static inline struct bytes text(const char *words) {
    return (struct bytes){strdup(words), strlen(words)};
}

/* A sample file: arr_0 of this header, with `change` bytes more or fewer than that announces, and ADM's labels. */
static inline void npz_new(const char *name, const char *array, struct npy npy, bool deflated, int change) {
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
static inline enum code read_all(const char *name, size_t piece, size_t *count, int shape[3], uint8_t **out,
                                 struct error *err) {
    struct images *images;
    char *path = *name == '/' ? strdup(name) : inside(name);
    int rc = images_open(&images, path, IMAGES_NATURAL, err);
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
static inline void assert_images(const char *name, size_t count, int channels) {
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
static inline void assert_refused(const char *name, enum code code, const char *where, const char *what) {
    struct error err = {0};
    size_t count;
    int shape[3];
    uint8_t *pixels;
    if (read_all(name, 2, &count, shape, &pixels, &err) == CODE_OK) fail_msg("%s was read: expected %s", name, what);
    if (err.code != code || !strstr(err.message, where) || !strstr(err.message, what))
        fail_msg("expected code %d and \"%s\", \"%s\", found code %d: %s", code, where, what, err.code, err.message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
