/* Images one after another out of a folder, an archive or an array. */
#include "format/images.h"

#include "base/digests.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "format/image.h"
#include "format/image_names.h"
#include "format/npy.h"
#include "format/zip_file.h"

#include <errno.h>
#include <fts.h>
#include <jansson.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_FILE = 1 << 30, /* bytes of an image's file; an archive that announces more is damaged */
};

struct stream { /* a member of an archive, or a file */
    zip_file_t *member;
    FILE *file;
};

struct images {
    char *path;
    zip_t *zip;               /* NULL: a folder */
    struct stream elements;   /* of the array, the next row's onwards; empty: image files */
    struct image_names names; /* of image files */
    enum image_order order;
    size_t count, next;
    size_t jpegs, webps; /* of those that were read, the lossy ones */
    struct image_shape shape;
    bool floats; /* float32 [C,H,W] each, else uint8 [H,W,C] */
};

static void stream_close(struct stream *stream) {
    if (stream->member) zip_fclose(stream->member);
    if (stream->file) fclose(stream->file);
    *stream = (struct stream){0};
}

static const char *stream_error(const struct stream *stream) {
    return stream->file ? strerror(errno) : zip_file_strerror(stream->member);
}

void images_close(struct images *images) {
    if (!images) return;
    image_names_release(&images->names);
    stream_close(&images->elements);
    if (images->zip) zip_discard(images->zip);
    free(images->path);
    free(images);
}

size_t images_count(const struct images *images) {
    return images->count;
}

const struct image_names *images_names(const struct images *images) {
    return images->names.count > 0 ? &images->names : NULL;
}

int images_recipe(const struct images *images, char recipe[RECIPE_SIZE], struct error *err) {
    static const char *const members[] = {"dataset.json", "recipe.npy"};
    bool array = images->names.count == 0;
    zip_int64_t index = images->zip ? zip_name_locate(images->zip, members[array], 0) : -1;
    struct npy npy;
    size_t size, offset;
    char *data;
    recipe[0] = '\0';
    if (index < 0) return 0;
    char *where = text_new("%s: %s", images->path, members[array]);
    int rc = where ? zip_read_member(images->zip, (zip_uint64_t)index, MOST_FILE, where, &data, &size, err)
                   : error_memory(err);
    if (rc == 0 && array) {
        rc = npy_parse(&npy, &offset, data, size, where, err);
        size_t length = rc == 0 && npy.type == NPY_BYTES && size - offset < RECIPE_SIZE ? size - offset : 0;
        if (rc == 0) snprintf(recipe, RECIPE_SIZE, "%.*s", (int)length, data + offset);
    } else if (rc == 0) {
        json_t *json = json_loadb(data, size, 0, NULL);
        const char *name = json_string_value(json_object_get(json, "recipe"));
        if (name && strlen(name) < RECIPE_SIZE) strcpy(recipe, name);
        json_decref(json);
    }
    if (!text_is_name(recipe)) recipe[0] = '\0'; /* another tool's may be anything */
    if (rc == 0) free(data);
    free(where);
    return rc;
}

int images_digest(const struct images *images, char hex[SHA256_HEX], struct error *err) {
    if (images->zip || images->names.count == 0) return digest_file(images->path, hex, err);
    struct sha256 *hash = sha256_new();
    int rc = hash ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < images->names.count; i++) {
        const char *name = images->names.list[i].name;
        char *path = path_join(images->path, name);
        struct stat info;
        if (!path) rc = error_memory(err);
        else if (stat(path, &info) != 0) rc = error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
        if (rc == 0) {
            int64_t about[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
            sha256_add(hash, name, strlen(name) + 1);
            sha256_add(hash, about, sizeof about);
        }
        free(path);
    }
    if (hash) sha256_finish(hash, hex);
    return rc;
}

void images_shape(const struct images *images, int *height, int *width, int *channels) {
    *height = images->shape.height;
    *width = images->shape.width;
    *channels = images->shape.channels;
}

bool images_floats(const struct images *images) {
    return images->floats;
}

static size_t bytes_each(const struct images *images) {
    const struct image_shape *shape = &images->shape;
    return (size_t)shape->height * (size_t)shape->width * (size_t)shape->channels *
           (images->floats ? sizeof(float) : sizeof(uint8_t));
}

static int list_folder(struct images *images, struct error *err) {
    char *const roots[] = {images->path, NULL};
    size_t root = strlen(images->path);
    FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    if (!tree) return error_set(err, CODE_IO, "cannot list %s: %s", images->path, strerror(errno));
    int rc = 0;
    for (FTSENT *file; rc == 0 && (errno = 0, file = fts_read(tree));) {
        const char *name = file->fts_path + root;
        name += *name == '/';
        switch (file->fts_info) {
            case FTS_D:
                if (file->fts_level == 0 || !image_name_hidden(file->fts_name)) break;
                image_names_leave_out(&images->names, name);
                fts_set(tree, file, FTS_SKIP); /* cannot fail */
                break;
            case FTS_F: rc = image_names_add(&images->names, name, 0, err); break;
            case FTS_DC: /* its images would be listed again and again */
                if (image_name_hidden(file->fts_name)) image_names_leave_out(&images->names, name);
                else
                    rc = error_set(err, CODE_IO, "cannot list %s: it is a link to a folder that it is in",
                                   file->fts_path);
                break;
            case FTS_SLNONE:
            case FTS_DEFAULT:
                if (image_name_hidden(name) || !image_name_is_read(name)) break;
                rc = error_set(err, CODE_IO, "cannot read %s: %s", file->fts_path,
                               file->fts_info == FTS_SLNONE
                                   ? "a link to a file that is not there"
                                   : "expected a regular file, found a FIFO, socket or device");
                break;
            case FTS_DNR:
            case FTS_ERR:
            case FTS_NS:
                rc = error_set(err, CODE_IO, "cannot list %s: %s", file->fts_path, strerror(file->fts_errno));
                break;
        }
    }
    if (rc == 0 && errno != 0) rc = error_set(err, CODE_IO, "cannot list %s: %s", images->path, strerror(errno));
    fts_close(tree);
    return rc;
}

static int list_zip(struct images *images, struct error *err) {
    zip_int64_t members = zip_get_num_entries(images->zip, 0);
    int rc = 0;
    for (zip_int64_t i = 0; rc == 0 && i < members; i++) {
        const char *name = zip_get_name(images->zip, (zip_uint64_t)i, 0);
        rc = name ? image_names_add(&images->names, name, (uint64_t)i, err)
                  : error_set(err, CODE_DATA, "cannot list %s: %s", images->path, zip_strerror(images->zip));
    }
    return rc;
}

static int open_member(struct images *images, zip_uint64_t index, const char *where, struct stream *stream,
                       zip_uint64_t *size, struct error *err) {
    zip_stat_t stat;
    if (zip_stat_index(images->zip, index, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE) ||
        !(stream->member = zip_fopen_index(images->zip, index, 0)))
        return error_set(err, CODE_DATA, "cannot read %s: %s", where, zip_strerror(images->zip));
    *size = stat.size;
    return 0;
}

/* Until `size` bytes are there or the end is; -1: the stream's error says why. */
static zip_int64_t take(const struct stream *stream, void *out, size_t size) {
    if (!stream->file) return zip_take(stream->member, out, size);
    size_t used = fread(out, 1, size, stream->file);
    return ferror(stream->file) ? -1 : (zip_int64_t)used;
}

/* Exactly `size` bytes; where they are the member's last, its checksum too, which is compared at the end. */
static int take_all(const struct stream *stream, void *out, size_t size, bool last, const char *where,
                    struct error *err) {
    char rest;
    zip_int64_t got = take(stream, out, size);
    bool whole = got == (zip_int64_t)size;
    if (whole && last) {
        got = take(stream, &rest, 1);
        whole = got == 0;
    }
    if (whole) return 0;
    if (stream->file && got < 0) return error_set(err, CODE_IO, "cannot read %s: %s", where, stream_error(stream));
    return error_set(err, CODE_DATA, "cannot read %s: the %s is damaged (%s)", where, stream->file ? "file" : "archive",
                     got < 0 ? stream_error(stream) : "wrong size");
}

/* One file's bytes and what to call it in messages, both new (caller frees, also after an error). */
static int load(struct images *images, const struct image_name *entry, char **data, size_t *size, char **where,
                struct error *err) {
    *data = NULL;
    *where = images->zip ? text_new("%s: %s", images->path, entry->name) : path_join(images->path, entry->name);
    if (!*where) return error_memory(err);
    return images->zip ? zip_read_member(images->zip, entry->index, MOST_FILE, *where, data, size, err)
                       : file_read(*where, data, size, err);
}

static int open_files(struct images *images, struct error *err) {
    if ((images->zip ? list_zip(images, err) : list_folder(images, err)) != 0) return -1;
    if (image_names_settle(&images->names, images->path, images->zip ? " or an array named `arr_0`" : "", images->order,
                           err) != 0)
        return -1;
    images->count = images->names.count;
    char *data, *where;
    size_t size;
    int rc = load(images, &images->names.list[0], &data, &size, &where, err);
    if (rc == 0) rc = image_look(&images->shape, data, size, where, err);
    free(data);
    free(where);
    return rc;
}

static bool is_colour(size_t channels) {
    return channels == 1 || channels == 3;
}

/* Floats may be latents, of any number of channels. */
static int check_array(struct images *images, const struct npy *npy, size_t bytes, const char *where,
                       struct error *err) {
    bool floats = npy->type == NPY_FLOAT32;
    char found[NPY_TEXT];
    npy_text(npy, found);
    if ((npy->type != NPY_UINT8 && !floats) || npy->rank != 4)
        return error_set(err, CODE_DATA, "%s: expected images |u1 [N,H,W,C] or <f4 [N,C,H,W], found %s", where, found);
    if (floats && is_colour(npy->shape[3]) && !is_colour(npy->shape[1]))
        return error_set(err, CODE_DATA,
                         "%s: floats are expected as [N,C,H,W], as `export --to npy` writes them, and %s looks like "
                         "[N,H,W,C]: transpose it (numpy: a.transpose(0, 3, 1, 2))",
                         where, found);
    size_t height = npy->shape[floats ? 2 : 1], width = npy->shape[floats ? 3 : 2],
           channels = npy->shape[floats ? 1 : 3];
    if (npy->shape[0] < 1 || height < 1 || width < 1 || height > IMAGE_MOST_SIDE || width > IMAGE_MOST_SIDE ||
        (!is_colour(channels) && !(floats && channels >= 1 && channels <= IMAGE_MOST_SIDE)))
        return error_set(err, CODE_DATA,
                         "%s: expected one or more images %s of at most %d pixels a side and 1 or 3 channels, found %s",
                         where, floats ? "[N,C,H,W]" : "[N,H,W,C]", IMAGE_MOST_SIDE, found);
    if (bytes != npy_bytes(npy))
        return error_set(err, CODE_DATA, "%s: its header announces %zu bytes of elements, found %zu", where,
                         npy_bytes(npy), bytes);
    images->count = npy->shape[0];
    images->shape = (struct image_shape){(int)height, (int)width, (int)channels};
    images->floats = floats;
    return 0;
}

/* There is no way back in a deflated stream. */
static int begin_array(struct images *images, zip_uint64_t index, const char *where, uint64_t *size,
                       struct error *err) {
    struct stat info;
    stream_close(&images->elements);
    if (images->zip) return open_member(images, index, where, &images->elements, size, err);
    FILE *file = images->elements.file = file_stream(images->path, err);
    if (!file) return -1;
    if (fstat(fileno(file), &info) != 0) return error_set(err, CODE_IO, "cannot open %s: %s", where, strerror(errno));
    *size = (uint64_t)info.st_size;
    return 0;
}

/* An array's header, and its stream to where the elements begin. index: in the archive, where it is one. */
static int open_array(struct images *images, zip_uint64_t index, const char *where, struct error *err) {
    struct npy npy;
    size_t offset;
    uint64_t size;
    zip_int64_t got;
    if (begin_array(images, index, where, &size, err) != 0) return -1;
    char *head = malloc(NPY_HEAD);
    if (!head) return error_memory(err);
    int rc = -1;
    if ((got = take(&images->elements, head, NPY_HEAD)) < 0)
        error_set(err, images->zip ? CODE_DATA : CODE_IO, "cannot read %s: %s", where, stream_error(&images->elements));
    else if (npy_parse(&npy, &offset, head, (size_t)got, where, err) == 0 &&
             check_array(images, &npy, (size_t)size - offset, where, err) == 0 &&
             begin_array(images, index, where, &size, err) == 0)
        rc = take_all(&images->elements, head, offset, false, where, err);
    free(head);
    return rc;
}

static int open_zip(struct images *images, struct error *err) {
    uint64_t bytes;
    if (zip_of_file(&images->zip, &bytes, images->path,
                    "a folder of images, a zip archive of images or an .npz file of samples", err) != 0)
        return -1;
    zip_int64_t index = zip_name_locate(images->zip, "arr_0.npy", 0);
    if (index < 0) return open_files(images, err);
    char *where = text_new("%s: arr_0.npy", images->path);
    int rc = where ? open_array(images, (zip_uint64_t)index, where, err) : error_memory(err);
    free(where);
    return rc;
}

int images_open(struct images **images, const char *path, enum image_order order, struct error *err) {
    struct stat info;
    *images = NULL;
    if (stat(path, &info) != 0) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    struct images *new = calloc(1, sizeof *new);
    if (!new || !(new->path = strdup(path))) {
        free(new);
        return error_memory(err);
    }
    new->order = order;
    for (size_t end = strlen(path); end > 1 && new->path[end - 1] == '/';) new->path[--end] = '\0';
    const char *dot = strrchr(new->path, '.');
    bool npy = dot && strcmp(dot, ".npy") == 0;
    int rc = S_ISDIR(info.st_mode) ? open_files(new, err)
             : npy                 ? open_array(new, 0, new->path, err)
                                   : open_zip(new, err);
    if (rc != 0) {
        images_close(new);
        return -1;
    }
    *images = new;
    return 0;
}

static int read_files(struct images *images, size_t rows, uint8_t *out, struct error *err) {
    size_t bytes = bytes_each(images);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < rows; i++) {
        char *data, *where;
        size_t size;
        rc = load(images, &images->names.list[images->next + i], &data, &size, &where, err);
        if (rc == 0) rc = image_decode(data, size, &images->shape, out + i * bytes, where, err);
        const char *lossy = rc == 0 ? image_lossy(data, size) : NULL;
        if (lossy) ++*(*lossy == 'J' ? &images->jpegs : &images->webps);
        free(data);
        free(where);
    }
    return rc;
}

/* Once all were read: going by their bytes, whatever the names say. */
static void tell_lossy(const struct images *images) {
    if (images->next < images->count || images->jpegs + images->webps == 0) return;
    char jpegs[32] = "", webps[32] = "";
    if (images->jpegs) snprintf(jpegs, sizeof jpegs, "%zu JPEG", images->jpegs);
    if (images->webps) snprintf(webps, sizeof webps, "%s%zu WebP", images->jpegs ? ", " : "", images->webps);
    log_info("%s: lossily compressed: %s%s of %zu files; their pixels are those that Pillow decodes", images->path,
             jpegs, webps, images->count);
}

static int read_array(struct images *images, size_t rows, void *out, struct error *err) {
    char *where = text_new("%s%s", images->path, images->zip ? ": arr_0.npy" : "");
    if (!where) return error_memory(err);
    bool last = images->next + rows == images->count;
    int rc = take_all(&images->elements, out, rows * bytes_each(images), last, where, err);
    free(where);
    return rc;
}

int images_read(struct images *images, size_t rows, void *out, struct error *err) {
    if (rows > images->count - images->next)
        return error_set(err, CODE_INTERNAL, "%s: asked for %zu images, %zu are left", images->path, rows,
                         images->count - images->next);
    if ((images->names.count == 0 ? read_array(images, rows, out, err) : read_files(images, rows, out, err)) != 0)
        return -1;
    images->next += rows;
    tell_lossy(images);
    return 0;
}
