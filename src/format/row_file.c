/* Arrays of which single rows are read: .npy and safetensors. */
#include "format/row_file.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_MOST = 100 << 20 }; /* bytes of a safetensors file's JSON */

struct row_file {
    char *path;
    int fd;
    struct stat stat; /* when it was opened */
    struct npy npy;
    size_t offset; /* of the data */
};

/* What is behind the # of "FILE.safetensors#KEY"; NULL: an .npy. */
static const char *key_of(const char *path) {
    const char *key = strstr(path, ".safetensors#");
    return key ? key + strlen(".safetensors#") : NULL;
}

char *row_file_name(const char *path) {
    const char *key = key_of(path);
    return key ? strndup(path, (size_t)(key - 1 - path)) : strdup(path);
}

static int open_npy(struct row_file *file, struct error *err) {
    size_t size = (size_t)file->stat.st_size < NPY_HEAD ? (size_t)file->stat.st_size : NPY_HEAD;
    char *head = malloc(size + 1);
    int rc = head ? file_read_at(file->fd, head, size, 0, file->path, err) : error_memory(err);
    if (rc == 0) rc = npy_parse(&file->npy, &file->offset, head, size, file->path, err);
    if (rc != 0 && err->code == CODE_DATA && strstr(file->path, ".safetensors"))
        error_suffix(err, ": of a safetensors file say which tensor, FILE.safetensors#NAME");
    free(head);
    return rc;
}

/* {"dtype": "F16", "shape": [...], "data_offsets": [begin, end]}, counted from `base`. */
static int read_entry(struct row_file *file, const json_t *entry, size_t base, struct error *err) {
    static const struct {
        const char *name;
        enum npy_type type;
        size_t item;
    } types[] = {{"F16", NPY_FLOAT16, 2}, {"F32", NPY_FLOAT32, 4}, {"F64", NPY_FLOAT64, 8},
                 {"I64", NPY_INT64, 8},   {"U8", NPY_UINT8, 1},    {"BOOL", NPY_BOOL, 1}};
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    size_t type = 0, rank = json_array_size(shape);
    while (dtype && type < sizeof types / sizeof *types && strcmp(dtype, types[type].name) != 0) type++;
    if (!dtype || type == sizeof types / sizeof *types)
        return error_set(err, CODE_DATA,
                         "%s: expected F16, F32, F64, I64, U8 or BOOL, found %s: save it as one of these", file->path,
                         dtype ? dtype : "no dtype");
    if (rank < 1 || rank > 4)
        return error_set(err, CODE_DATA, "%s: expected 1 to 4 dimensions, found %zu", file->path, rank);
    file->npy = (struct npy){.type = types[type].type, .item = types[type].item, .rank = (int)rank};
    size_t bytes = types[type].item;
    for (size_t i = 0; i < rank; i++) {
        json_int_t side = json_integer_value(json_array_get(shape, i));
        file->npy.shape[i] = (size_t)side;
        if (side < 0 || __builtin_mul_overflow(bytes, (size_t)side, &bytes) || bytes > (size_t)1 << 60)
            return error_set(err, CODE_DATA, "%s: its shape is no array's", file->path);
    }
    json_int_t begin = json_integer_value(json_array_get(offsets, 0)),
               end = json_integer_value(json_array_get(offsets, 1));
    if (begin < 0 || end < begin || (size_t)(end - begin) != bytes)
        return error_set(err, CODE_DATA, "%s: its data_offsets are not those of its shape", file->path);
    file->offset = base + (size_t)begin;
    return 0;
}

static int open_safetensors(struct row_file *file, const char *key, struct error *err) {
    unsigned char length[8];
    uint64_t size = 0;
    if (file_read_at(file->fd, length, sizeof length, 0, file->path, err) != 0) return -1;
    for (int i = 7; i >= 0; i--) size = size << 8 | length[i];
    if (size > HEADER_MOST)
        return error_set(err, CODE_DATA, "%s: expected a safetensors file, found another", file->path);
    char *text = malloc(size + 1);
    int rc = text ? file_read_at(file->fd, text, size, sizeof length, file->path, err) : error_memory(err);
    json_t *header = rc == 0 ? json_loadb(text, size, 0, NULL) : NULL;
    const json_t *entry = json_object_get(header, key);
    if (rc == 0 && !header) rc = error_set(err, CODE_DATA, "%s: its header is no JSON", file->path);
    if (rc == 0 && !entry) rc = error_set(err, CODE_DATA, "%s: there is no tensor \"%s\" in it", file->path, key);
    if (rc == 0) rc = read_entry(file, entry, sizeof length + size, err);
    json_decref(header);
    free(text);
    return rc;
}

static int check_size(const struct row_file *file, struct error *err) {
    bool npy = !key_of(file->path);
    size_t expected = file->offset + npy_bytes(&file->npy), found = (size_t)file->stat.st_size;
    if (file->npy.rank < 1 || file->npy.shape[0] < 1)
        return error_set(err, CODE_DATA, "%s: expected an array with rows, found none", file->path);
    if (npy ? found == expected : found >= expected) return 0;
    return error_set(err, CODE_DATA, "%s: expected %zu bytes, found %zu: the file is cut short", file->path, expected,
                     found);
}

int row_file_open(struct row_file **file, const char *path, struct error *err) {
    struct row_file *made = calloc(1, sizeof *made);
    char *name = row_file_name(path);
    *file = NULL;
    int rc = made && name && (made->path = strdup(path)) ? 0 : error_memory(err);
    if (made) made->fd = rc == 0 ? file_open(name, O_RDONLY, err) : -1;
    if (rc == 0 && made->fd < 0) rc = -1;
    if (rc == 0 && fstat(made->fd, &made->stat) != 0)
        rc = error_set(err, CODE_IO, "cannot read %s: %s", name, strerror(errno));
    if (rc == 0) rc = key_of(path) ? open_safetensors(made, key_of(path), err) : open_npy(made, err);
    if (rc == 0) rc = check_size(made, err);
    free(name);
    if (rc == 0) *file = made;
    else row_file_close(made);
    return rc;
}

void row_file_close(struct row_file *file) {
    if (!file) return;
    if (file->fd >= 0) close(file->fd);
    free(file->path);
    free(file);
}

const struct npy *row_file_npy(const struct row_file *file) {
    return &file->npy;
}

int row_file_read(const struct row_file *file, uint64_t row, void *out, struct error *err) {
    struct stat now;
    size_t bytes = npy_row_bytes(&file->npy);
    if (row >= file->npy.shape[0])
        return error_set(err, CODE_INTERNAL, "%s has %zu rows, and row %" PRIu64 " is asked for", file->path,
                         file->npy.shape[0], row);
    int rc = file_read_at(file->fd, out, bytes, file->offset + row * bytes, file->path, err);
    if (fstat(file->fd, &now) != 0) return error_set(err, CODE_IO, "cannot read %s: %s", file->path, strerror(errno));
    if (file_unchanged(&now, &file->stat)) return rc;
    return error_set(err, CODE_IO, "%s was changed while it was in use: start the job again", file->path);
}
