#include "format/images.h"

#include "base/files.h"
#include "format/npy.h"
#include "base/text.h"
#include "format/png.h"

#include <errno.h>
#include <fts.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <zip.h>

enum {
    HEAD = 1 << 17,     /* bytes: more than any .npy header of version 1 */
    MOST_PNG = 1 << 30, /* bytes of a PNG; an archive that announces more is damaged */
};

struct entry { /* one PNG */
    char *name; /* its path within the folder or the archive */
    zip_uint64_t index; /* in the archive */
};

struct images {
    char *path;
    zip_t *zip;           /* NULL: a folder */
    zip_file_t *elements; /* of the array, the next row's onwards; NULL: PNGs */
    struct entry *entries;
    size_t capacity, count, next;
    char *other; /* an image that is no PNG */
    struct png_shape shape;
};

void images_close(struct images *images) {
    if (!images) return;
    for (size_t i = 0; images->entries && i < images->count; i++) free(images->entries[i].name);
    free(images->entries);
    if (images->elements) zip_fclose(images->elements);
    if (images->zip) zip_discard(images->zip);
    free(images->other);
    free(images->path);
    free(images);
}

size_t images_count(const struct images *images) {
    return images->count;
}

void images_shape(const struct images *images, int *height, int *width, int *channels) {
    *height = images->shape.height;
    *width = images->shape.width;
    *channels = images->shape.channels;
}

/* ".ipynb_checkpoints/a.png" and "__MACOSX/._a.png" are nobody's images, "./a.png" is one. */
static bool hidden(const char *name) {
    for (const char *part = name; part; part = strchr(part, '/')) {
        if (*part == '/') part++;
        if (part[0] == '.' && part[1] != '/') return true;
    }
    return false;
}

static bool ends_in(const char *name, const char *extension) {
    const char *dot = strrchr(name, '.');
    return dot && strcasecmp(dot, extension) == 0;
}

/* Takes a PNG's name into the list; passes over other files. */
static int add(struct images *images, const char *name, zip_uint64_t index, struct error *err) {
    if (hidden(name)) return 0;
    if (!ends_in(name, ".png")) {
        bool image = ends_in(name, ".jpg") || ends_in(name, ".jpeg") || ends_in(name, ".webp");
        if (image && !images->other && !(images->other = strdup(name))) return error_memory(err);
        return 0;
    }
    if (images->count == images->capacity) {
        size_t capacity = 2 * images->capacity + 64;
        struct entry *entries = realloc(images->entries, capacity * sizeof *entries);
        if (!entries) return error_memory(err);
        images->entries = entries;
        images->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) return error_memory(err);
    images->entries[images->count++] = (struct entry){.name = copy, .index = index};
    return 0;
}

/* An archive may hold a name twice. */
static int by_name(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->index > y->index) - (x->index < y->index);
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
            if (file->fts_level > 0 && hidden(file->fts_name)) fts_set(tree, file, FTS_SKIP); /* cannot fail */
            break;
        case FTS_F:
            rc = add(images, name, 0, err);
            break;
        case FTS_DC: /* its images would be listed again and again */
            rc = error_set(err, CODE_IO, "cannot list %s: it is a link to a folder that it is in", file->fts_path);
            break;
        case FTS_SLNONE:
            if (hidden(name) || !ends_in(name, ".png")) break;
            rc = error_set(err, CODE_IO, "cannot read %s: a link to a file that is not there", file->fts_path);
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
        rc = name ? add(images, name, (zip_uint64_t)i, err)
                  : error_set(err, CODE_DATA, "cannot list %s: %s", images->path, zip_strerror(images->zip));
    }
    return rc;
}

static int open_member(struct images *images, zip_uint64_t index, const char *where, zip_file_t **stream,
                       zip_uint64_t *size, struct error *err) {
    zip_stat_t stat;
    if (zip_stat_index(images->zip, index, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE) ||
        !(*stream = zip_fopen_index(images->zip, index, 0)))
        return error_set(err, CODE_DATA, "cannot read %s: %s", where, zip_strerror(images->zip));
    *size = stat.size;
    return 0;
}

/* zip_fread until `size` bytes are there or the end is; -1: the stream's error says why. */
static zip_int64_t take(zip_file_t *stream, void *out, size_t size) {
    size_t used = 0;
    for (zip_int64_t got; used < size; used += (size_t)got) {
        got = zip_fread(stream, (char *)out + used, size - used);
        if (got < 0) return -1;
        if (got == 0) break;
    }
    return (zip_int64_t)used;
}

/* Exactly `size` bytes; where they are the member's last, its checksum too, which is compared at the end. */
static int take_all(zip_file_t *stream, void *out, size_t size, bool last, const char *where, struct error *err) {
    char rest;
    zip_int64_t got = take(stream, out, size);
    bool whole = got == (zip_int64_t)size;
    if (whole && last) {
        got = take(stream, &rest, 1);
        whole = got == 0;
    }
    if (whole) return 0;
    return error_set(err, CODE_DATA, "cannot read %s: the archive is damaged (%s)", where,
                     got < 0 ? zip_file_strerror(stream) : "wrong size");
}

static int read_member(struct images *images, const struct entry *entry, const char *where, char **data, size_t *size,
                       struct error *err) {
    zip_file_t *stream;
    zip_uint64_t announced;
    if (open_member(images, entry->index, where, &stream, &announced, err) != 0) return -1;
    int rc = 0;
    *size = (size_t)announced;
    if (announced > MOST_PNG)
        rc = error_set(err, CODE_DATA, "cannot read %s: expected a PNG of at most %d bytes, found %zu", where,
                       MOST_PNG, *size);
    else if (!(*data = malloc(*size + 1)))
        rc = error_memory(err);
    else
        rc = take_all(stream, *data, *size, true, where, err);
    zip_fclose(stream);
    return rc;
}

/* One PNG's bytes and what to call it in messages, both new (caller frees, also after an error). */
static int load(struct images *images, const struct entry *entry, char **data, size_t *size, char **where,
                struct error *err) {
    *data = NULL;
    *where = images->zip ? text_new("%s: %s", images->path, entry->name) : path_join(images->path, entry->name);
    if (!*where) return error_memory(err);
    return images->zip ? read_member(images, entry, *where, data, size, err) : file_read(*where, data, size, err);
}

static int open_pngs(struct images *images, struct error *err) {
    if ((images->zip ? list_zip(images, err) : list_folder(images, err)) != 0) return -1;
    if (images->count == 0 && images->other)
        return error_set(err, CODE_DATA,
                         "%s: only PNGs are read; expected .png images, found others (%s): convert them to PNG",
                         images->path, images->other);
    if (images->count == 0)
        return error_set(err, CODE_DATA, "%s: expected .png images%s, found none", images->path,
                         images->zip ? " or an array named `arr_0`" : "");
    qsort(images->entries, images->count, sizeof *images->entries, by_name);
    char *data, *where;
    size_t size;
    int rc = load(images, &images->entries[0], &data, &size, &where, err);
    if (rc == 0) rc = png_look(&images->shape, data, size, where, err);
    free(data);
    free(where);
    return rc;
}

static int check_array(struct images *images, const struct npy *npy, size_t bytes, const char *where,
                       struct error *err) {
    const size_t *shape = npy->shape;
    char descr[NPY_DESCR];
    npy_descr(npy, descr);
    if (npy->type != NPY_UINT8 || npy->rank != 4)
        return error_set(err, CODE_DATA, "%s: expected images |u1 [N,H,W,C], found %s of %d dimensions", where, descr,
                         npy->rank);
    if (shape[0] < 1 || shape[1] < 1 || shape[2] < 1 || shape[1] > PNG_MOST_SIDE || shape[2] > PNG_MOST_SIDE ||
        (shape[3] != 1 && shape[3] != 3))
        return error_set(err, CODE_DATA,
                         "%s: expected one or more images [N,H,W,C] of at most %d pixels a side and 1 or 3 channels, "
                         "found shape (%zu, %zu, %zu, %zu)", where, PNG_MOST_SIDE, shape[0], shape[1], shape[2],
                         shape[3]);
    if (bytes != npy_bytes(npy))
        return error_set(err, CODE_DATA, "%s: its header announces %zu bytes of elements, found %zu", where,
                         npy_bytes(npy), bytes);
    images->count = shape[0];
    images->shape = (struct png_shape){(int)shape[1], (int)shape[2], (int)shape[3]};
    return 0;
}

static int open_array(struct images *images, zip_uint64_t index, const char *where, struct error *err) {
    struct npy npy;
    size_t offset;
    zip_uint64_t size;
    zip_int64_t got;
    if (open_member(images, index, where, &images->elements, &size, err) != 0) return -1;
    char *head = malloc(HEAD);
    if (!head) return error_memory(err);
    int rc = -1;
    if ((got = take(images->elements, head, HEAD)) < 0)
        error_set(err, CODE_DATA, "cannot read %s: the archive is damaged (%s)", where,
                  zip_file_strerror(images->elements));
    else if (npy_parse(&npy, &offset, head, (size_t)got, where, err) == 0 &&
             check_array(images, &npy, (size_t)size - offset, where, err) == 0) {
        zip_fclose(images->elements); /* there is no way back in a deflated stream: begin again */
        images->elements = NULL;
        if (open_member(images, index, where, &images->elements, &size, err) == 0)
            rc = take_all(images->elements, head, offset, false, where, err);
    }
    free(head);
    return rc;
}

static int open_zip(struct images *images, struct error *err) {
    int code = 0;
    images->zip = zip_open(images->path, ZIP_RDONLY, &code);
    if (!images->zip) {
        zip_error_t reason;
        zip_error_init_with_code(&reason, code);
        enum code kind = code == ZIP_ER_NOZIP || code == ZIP_ER_INCONS ? CODE_DATA : CODE_IO;
        error_set(err, kind,
                  "cannot open %s: expected a folder of PNGs, a zip archive of PNGs or an .npz file of samples: %s",
                  images->path, zip_error_strerror(&reason));
        zip_error_fini(&reason);
        return -1;
    }
    zip_int64_t index = zip_name_locate(images->zip, "arr_0.npy", 0);
    if (index < 0) return open_pngs(images, err);
    char *where = text_new("%s: arr_0.npy", images->path);
    int rc = where ? open_array(images, (zip_uint64_t)index, where, err) : error_memory(err);
    free(where);
    return rc;
}

int images_open(struct images **images, const char *path, struct error *err) {
    struct stat info;
    *images = NULL;
    if (stat(path, &info) != 0) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    struct images *new = calloc(1, sizeof *new);
    if (!new || !(new->path = strdup(path))) {
        free(new);
        return error_memory(err);
    }
    for (size_t end = strlen(path); end > 1 && new->path[end - 1] == '/';) new->path[--end] = '\0';
    if ((S_ISDIR(info.st_mode) ? open_pngs(new, err) : open_zip(new, err)) != 0) {
        images_close(new);
        return -1;
    }
    *images = new;
    return 0;
}

static int read_pngs(struct images *images, size_t rows, uint8_t *out, struct error *err) {
    size_t bytes = (size_t)images->shape.height * (size_t)images->shape.width * (size_t)images->shape.channels;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < rows; i++) {
        char *data, *where;
        size_t size;
        rc = load(images, &images->entries[images->next + i], &data, &size, &where, err);
        if (rc == 0) rc = png_decode(data, size, &images->shape, out + i * bytes, where, err);
        free(data);
        free(where);
    }
    return rc;
}

static int read_array(struct images *images, size_t rows, uint8_t *out, struct error *err) {
    size_t row = (size_t)images->shape.height * (size_t)images->shape.width * (size_t)images->shape.channels;
    char *where = text_new("%s: arr_0.npy", images->path);
    if (!where) return error_memory(err);
    bool last = images->next + rows == images->count;
    int rc = take_all(images->elements, out, rows * row, last, where, err);
    free(where);
    return rc;
}

int images_read(struct images *images, size_t rows, uint8_t *out, struct error *err) {
    if (rows > images->count - images->next)
        return error_set(err, CODE_INTERNAL, "%s: asked for %zu images, %zu are left", images->path, rows,
                         images->count - images->next);
    if ((images->elements ? read_array(images, rows, out, err) : read_pngs(images, rows, out, err)) != 0) return -1;
    images->next += rows;
    return 0;
}
