/* JPEG files in memory, to pixels. */
#include "format/jpeg.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h> /* before jpeglib.h, which needs it */

#include <jerror.h>
#include <jpeglib.h>

enum {
    MOST_SCANS = 1000, /* of a progressive file: encoders make some ten, and each goes over all of the image */
};

struct decoding {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    const char *name; /* of the file, borrowed */
    struct error *err;
};

/* Does not return to libjpeg. */
static void give_up(struct decoding *decoding) {
    longjmp(decoding->failed, 1);
}

static void fail(j_common_ptr codec) {
    struct decoding *decoding = codec->client_data;
    char message[JMSG_LENGTH_MAX];
    codec->err->format_message(codec, message);
    if (codec->err->msg_code == JERR_OUT_OF_MEMORY) error_memory(decoding->err);
    else error_set(decoding->err, CODE_DATA, "cannot read %s as a JPEG: %s", decoding->name, message);
    give_up(decoding);
}

/* Warnings have level -1, and libjpeg goes on with pixels that it makes up. Not so where it is unsure of a header
 * alone, and where bytes are left over between two markers, of which some cameras' files have a few. */
static void warn(j_common_ptr codec, int level) {
    int code = codec->err->msg_code;
    if (level < 0 && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM && code != JWRN_EXTRANEOUS_DATA) fail(codec);
}

static void watch_scans(j_common_ptr codec) {
    struct decoding *decoding = codec->client_data;
    if (decoding->codec.input_scan_number <= MOST_SCANS) return;
    error_set(decoding->err, CODE_DATA, "cannot read %s: a JPEG of more than %d scans", decoding->name, MOST_SCANS);
    give_up(decoding);
}

static const char *colours(J_COLOR_SPACE space) {
    switch (space) {
        case JCS_CMYK: return "CMYK";
        case JCS_YCCK: return "CMYK (as YCCK)";
        default: return "other colours";
    }
}

/* All that libjpeg does, as it comes back from errors by a jump: to here. out NULL: the shape alone, *found. */
static int read_all(struct decoding *decoding, const struct image_shape *expected, struct image_shape *found,
                    uint8_t *out, const char *data, size_t size) {
    struct jpeg_decompress_struct *codec = &decoding->codec;
    if (setjmp(decoding->failed)) return -1;
    jpeg_create_decompress(codec); /* clears all but err and client_data */
    codec->progress = &decoding->progress;
    jpeg_mem_src(codec, (const unsigned char *)data, size);
    jpeg_read_header(codec, TRUE);
    int channels = codec->num_components;
    bool grey = channels == 1 && codec->jpeg_color_space == JCS_GRAYSCALE;
    if (!grey && !(channels == 3 && (codec->jpeg_color_space == JCS_YCbCr || codec->jpeg_color_space == JCS_RGB)))
        return error_set(decoding->err, CODE_DATA, "%s: expected a JPEG in grey or RGB, found %s: convert it first",
                         decoding->name, colours(codec->jpeg_color_space));
    *found = (struct image_shape){(int)codec->image_height, (int)codec->image_width, channels};
    if (!out) return 0;
    if (image_expect(expected, found, decoding->name, decoding->err) != 0) return -1;
    codec->out_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(codec);
    while (codec->output_scanline < codec->output_height) {
        JSAMPROW row = out + (size_t)codec->output_scanline * (size_t)found->width * (size_t)channels;
        jpeg_read_scanlines(codec, &row, 1);
    }
    jpeg_finish_decompress(codec); /* to the end mark */
    return 0;
}

static int read_jpeg(const char *data, size_t size, const struct image_shape *expected, struct image_shape *found,
                     uint8_t *out, const char *name, struct error *err) {
    struct decoding decoding = {.name = name, .err = err};
    decoding.codec.err = jpeg_std_error(&decoding.errors);
    decoding.codec.client_data = &decoding;
    decoding.errors.error_exit = fail;
    decoding.errors.emit_message = warn;
    decoding.progress.progress_monitor = watch_scans;
    int rc = read_all(&decoding, expected, found, out, data, size);
    jpeg_destroy_decompress(&decoding.codec);
    return rc;
}

int jpeg_look(struct image_shape *shape, const char *data, size_t size, const char *name, struct error *err) {
    return read_jpeg(data, size, NULL, shape, NULL, name, err);
}

int jpeg_decode(const char *data, size_t size, const struct image_shape *shape, uint8_t *out, const char *name,
                struct error *err) {
    struct image_shape found;
    return read_jpeg(data, size, shape, &found, out, name, err);
}
