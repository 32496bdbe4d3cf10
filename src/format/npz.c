/* .npz files: arrays in a zip archive. */
#include "format/npz.h"

#include "base/text.h"
#include "format/zip_file.h"
#include "format/archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t MOST_RATIO = 1032; /* of deflate, which numpy uses where it compresses */

struct npz {
    zip_t *zip;
    char *path;
    uint64_t bytes; /* of the file */
};

int npz_open(struct npz **npz, const char *path, struct error *err) {
    zip_t *zip;
    uint64_t bytes;
    if (zip_of_file(&zip, &bytes, path, "an .npz file (a zip archive of .npy arrays)", err) != 0) return -1;
    *npz = malloc(sizeof **npz);
    char *copy = strdup(path);
    if (!*npz || !copy) {
        zip_discard(zip);
        free(*npz);
        free(copy);
        return error_memory(err);
    }
    **npz = (struct npz){.zip = zip, .path = copy, .bytes = bytes};
    return 0;
}

void npz_close(struct npz *npz) {
    if (!npz) return;
    zip_discard(npz->zip);
    free(npz->path);
    free(npz);
}

/* The member's place in the archive, or -1. */
static zip_int64_t find(struct npz *npz, const char *name) {
    char *member = text_new("%s.npy", name);
    zip_int64_t index = member ? zip_name_locate(npz->zip, member, 0) : -1;
    free(member);
    return index;
}

bool npz_has(struct npz *npz, const char *name) {
    return find(npz, name) >= 0;
}

int npz_missing(struct npz *npz, const char *expected, struct error *err) {
    enum { MOST = 10 };
    struct text names = {0};
    zip_int64_t members = zip_get_num_entries(npz->zip, 0);
    for (zip_int64_t i = 0; i < members && i < MOST; i++) {
        const char *name = zip_get_name(npz->zip, (zip_uint64_t)i, 0), *dot = name ? strrchr(name, '.') : NULL;
        int length = dot && strcmp(dot, ".npy") == 0 ? (int)(dot - name) : 80;
        text_add(&names, "%s`%.*s`", i ? ", " : "", length, name ? name : "?");
    }
    if (members > MOST) text_add(&names, ", ...");
    error_set(err, CODE_DATA, "%s: expected %s, found %s", npz->path, expected, names.data ? names.data : "no arrays");
    text_release(&names);
    return -1;
}

int npz_header(struct npz *npz, const char *name, struct npy *npy, struct error *err) {
    size_t offset;
    zip_int64_t index = find(npz, name), got = -1;
    zip_file_t *file = index >= 0 ? zip_fopen_index(npz->zip, (zip_uint64_t)index, 0) : NULL;
    char *head = malloc(NPY_HEAD);
    if (file && head) got = zip_take(file, head, NPY_HEAD);
    int rc = !head      ? error_memory(err)
             : got >= 0 ? npy_parse(npy, &offset, head, (size_t)got, npz->path, err)
                        : error_set(err, CODE_DATA, "cannot read `%s` in %s: the archive is damaged", name, npz->path);
    free(head);
    if (file) zip_fclose(file);
    return rc;
}

int npz_read(struct npz *npz, const char *name, struct npy *npy, void **data, struct error *err) {
    *data = NULL;
    zip_int64_t index = find(npz, name);
    if (index < 0) {
        char expected[64];
        snprintf(expected, sizeof expected, "an array named `%s`", name);
        return npz_missing(npz, expected, err);
    }
    char *where = text_new("%s: %s.npy", npz->path, name), *bytes = NULL;
    if (!where) return error_memory(err);
    size_t size, offset;
    int rc = zip_read_member(npz->zip, (zip_uint64_t)index, npz->bytes * MOST_RATIO, where, &bytes, &size, err);
    if (rc == 0 && (rc = npy_parse(npy, &offset, bytes, size, where, err)) == 0 && size - offset != npy_bytes(npy))
        rc = error_set(err, CODE_DATA, "%s: its header announces %zu bytes of elements, found %zu", where,
                       npy_bytes(npy), size - offset);
    if (rc == 0) {
        memmove(bytes, bytes + offset, size - offset);
        *data = bytes;
        bytes = NULL;
    }
    free(bytes);
    free(where);
    return rc;
}

/* ---- writing: a member is a header and the elements behind it ---- */

struct writer {
    const struct npz_array *arrays;
    npz_rows *rows; /* of the first array; NULL: all are in memory */
    void *context;
    char header[NPY_HEADER];
};

static char *member_name(void *context, size_t member) {
    return text_new("%s.npy", ((struct writer *)context)->arrays[member].name);
}

static int member_size(void *context, size_t member, uint64_t *size, struct error *err) {
    (void)err;
    *size = NPY_HEADER + npy_bytes(&((struct writer *)context)->arrays[member].npy);
    return 0;
}

static int member_bytes(void *context, size_t member, uint64_t offset, const char **bytes, size_t *size,
                        struct error *err) {
    struct writer *writer = context;
    const struct npz_array *array = &writer->arrays[member];
    if (offset > 0 && member == 0 && writer->rows)
        return writer->rows(writer->context, (offset - NPY_HEADER) / npy_row_bytes(&array->npy), bytes, size, err);
    if (offset == 0) npy_header(&array->npy, writer->header);
    *bytes = offset == 0 ? writer->header : array->data;
    *size = offset == 0 ? NPY_HEADER : npy_bytes(&array->npy);
    return 0;
}

int npz_stream(const char *path, const struct npz_array *arrays, size_t count, npz_rows *rows, void *context,
               struct error *err) {
    struct writer writer = {.arrays = arrays, .rows = rows, .context = context};
    struct archive archive = {count, member_name, member_size, member_bytes, &writer};
    return archive_write(path, &archive, err);
}

int npz_write(const char *path, const struct npz_array *arrays, size_t count, struct error *err) {
    return npz_stream(path, arrays, count, NULL, NULL, err);
}
