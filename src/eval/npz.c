#include "eval/npz.h"

#include "base/files.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

struct npz {
    zip_t *zip;
    char *path;
};

int npz_open(struct npz **npz, const char *path, struct error *err) {
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_RDONLY, &code);
    if (!zip) {
        zip_error_t reason;
        zip_error_init_with_code(&reason, code);
        enum code kind = code == ZIP_ER_NOZIP || code == ZIP_ER_INCONS ? CODE_DATA : CODE_IO;
        error_set(err, kind, "cannot open %s as an .npz file (a zip archive of .npy arrays): %s", path,
                  zip_error_strerror(&reason));
        zip_error_fini(&reason);
        return -1;
    }
    *npz = malloc(sizeof **npz);
    char *copy = strdup(path);
    if (!*npz || !copy) {
        zip_discard(zip);
        free(*npz);
        free(copy);
        return error_memory(err);
    }
    **npz = (struct npz){.zip = zip, .path = copy};
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

/* A whole member, checksum included. */
static int read_member(struct npz *npz, zip_uint64_t index, const char *where, char **data, size_t *size,
                       struct error *err) {
    zip_stat_t stat;
    zip_file_t *file = zip_fopen_index(npz->zip, index, 0);
    if (!file || zip_stat_index(npz->zip, index, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE)) {
        error_set(err, CODE_DATA, "cannot read %s: %s", where, zip_strerror(npz->zip));
        if (file) zip_fclose(file);
        return -1;
    }
    int rc = -1;
    *size = (size_t)stat.size;
    *data = malloc(*size + 1);
    if (!*data) {
        error_memory(err);
        goto out;
    }
    zip_int64_t got = 0;
    for (size_t used = 0; used < *size; used += (size_t)got)
        if ((got = zip_fread(file, *data + used, *size - used)) <= 0) break;
    char rest;
    if (got >= 0) got = zip_fread(file, &rest, 1); /* the checksum is compared at the end of the file */
    if (got != 0) {
        error_set(err, CODE_DATA, "cannot read %s: the archive is damaged (%s)", where,
                  got < 0 ? zip_file_strerror(file) : "wrong size");
        goto out;
    }
    rc = 0;
out:
    if (rc != 0) {
        free(*data);
        *data = NULL;
    }
    zip_fclose(file);
    return rc;
}

int npz_header(struct npz *npz, const char *name, struct npy *npy, struct error *err) {
    enum { HEAD = 1 << 17 }; /* more than any header of version 1 */
    size_t offset;
    zip_int64_t index = find(npz, name), got = -1;
    zip_file_t *file = index >= 0 ? zip_fopen_index(npz->zip, (zip_uint64_t)index, 0) : NULL;
    char *head = malloc(HEAD);
    if (file && head) got = zip_fread(file, head, HEAD);
    int rc = got >= 0 ? npy_parse(npy, &offset, head, (size_t)got, npz->path, err)
                      : error_set(err, CODE_DATA, "cannot read `%s` in %s: the archive is damaged", name, npz->path);
    free(head);
    if (file) zip_fclose(file);
    return rc;
}

int npz_read(struct npz *npz, const char *name, struct npy *npy, void **data, struct error *err) {
    *data = NULL;
    zip_int64_t index = find(npz, name);
    if (index < 0)
        return error_set(err, CODE_DATA, "%s: expected an array named `%s`, found none", npz->path, name);
    char *where = text_new("%s: %s.npy", npz->path, name), *bytes = NULL;
    if (!where) return error_memory(err);
    size_t size, offset;
    int rc = read_member(npz, (zip_uint64_t)index, where, &bytes, &size, err);
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

/* Adds one array to an archive in the making; false: the archive's error says why. */
static bool add_array(zip_t *zip, const struct npz_array *array) {
    size_t size = npy_bytes(&array->npy);
    char *member = text_new("%s.npy", array->name);
    char *bytes = malloc(NPY_HEADER + size);
    zip_source_t *source = NULL;
    zip_int64_t index = -1;
    if (member && bytes) {
        npy_header(&array->npy, bytes);
        memcpy(bytes + NPY_HEADER, array->data, size);
        source = zip_source_buffer(zip, bytes, NPY_HEADER + size, 1);
    }
    if (source) {
        bytes = NULL; /* the source's */
        index = zip_file_add(zip, member, source, ZIP_FL_ENC_UTF_8);
    }
    if (source && index < 0) zip_source_free(source);
    free(bytes);
    free(member);
    const zip_uint16_t january_1980 = 1 << 5 | 1;
    return index >= 0 && zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0 &&
           zip_file_set_dostime(zip, (zip_uint64_t)index, 0, january_1980, 0) == 0;
}

/* The finished archive's bytes out of the source it was written to: *data new. */
static int collect(zip_source_t *archive, char **data, size_t *size) {
    zip_stat_t stat;
    if (zip_source_stat(archive, &stat) != 0 || zip_source_open(archive) != 0) return -1;
    *size = (size_t)stat.size;
    *data = malloc(*size);
    zip_int64_t got = *data ? zip_source_read(archive, *data, *size) : -1;
    zip_source_close(archive);
    return got == (zip_int64_t)*size ? 0 : -1;
}

int npz_write(const char *path, const struct npz_array *arrays, size_t count, struct error *err) {
    zip_error_t reason;
    zip_error_init(&reason);
    char *data = NULL;
    size_t size = 0;
    int rc = -1;
    zip_t *zip = NULL;
    zip_source_t *archive = zip_source_buffer_create(NULL, 0, 0, &reason);
    if (!archive || !(zip = zip_open_from_source(archive, ZIP_TRUNCATE, &reason))) {
        error_set(err, CODE_INTERNAL, "cannot build %s: %s", path, zip_error_strerror(&reason));
        goto out;
    }
    zip_source_keep(archive); /* zip_close frees one reference */
    bool added = true;
    for (size_t i = 0; added && i < count; i++) added = add_array(zip, &arrays[i]);
    if (!added || zip_close(zip) != 0) {
        error_set(err, CODE_INTERNAL, "cannot build %s: %s", path, zip_strerror(zip));
        zip_discard(zip);
        goto out;
    }
    if (collect(archive, &data, &size) != 0)
        error_set(err, CODE_INTERNAL, "cannot build %s: %s", path, zip_error_strerror(zip_source_error(archive)));
    else
        rc = file_write_atomic(path, data, size, err);
out:
    free(data);
    zip_source_free(archive);
    zip_error_fini(&reason);
    return rc;
}
