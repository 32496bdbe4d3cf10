/* .npy headers and files. */
#include "format/npy.h"

#include "base/draft.h"
#include "base/files.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *descr;
    enum npy_type type;
    size_t item;
} types[] = {
    {"|u1", NPY_UINT8, 1},   {"<f2", NPY_FLOAT16, 2}, {"<f4", NPY_FLOAT32, 4},
    {"<f8", NPY_FLOAT64, 8}, {"<i8", NPY_INT64, 8},   {"|b1", NPY_BOOL, 1},
};
enum { TYPES = sizeof types / sizeof *types };

static const size_t MOST_BYTES = (size_t)1 << 60; /* a shape beyond that is a damaged header */

size_t npy_row_bytes(const struct npy *npy) {
    size_t bytes = npy->item;
    for (int i = 1; i < npy->rank; i++) bytes *= npy->shape[i];
    return bytes;
}

size_t npy_bytes(const struct npy *npy) {
    return npy->rank == 0 ? npy->item : npy->shape[0] * npy_row_bytes(npy);
}

void npy_descr(const struct npy *npy, char descr[NPY_DESCR]) {
    snprintf(descr, NPY_DESCR, "|S%zu", npy->item);
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].type == npy->type) snprintf(descr, NPY_DESCR, "%s", types[i].descr);
}

/* As Python writes a tuple. */
static void shape_text(const struct npy *npy, char text[NPY_SHAPE]) {
    size_t size = NPY_SHAPE, at = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < npy->rank; i++)
        at += (size_t)snprintf(text + at, size - at, i == 0 ? "%zu" : ", %zu", npy->shape[i]);
    snprintf(text + at, size - at, npy->rank == 1 ? ",)" : ")");
}

void npy_text(const struct npy *npy, char text[NPY_TEXT]) {
    char descr[NPY_DESCR], shape[NPY_SHAPE];
    npy_descr(npy, descr);
    shape_text(npy, shape);
    snprintf(text, NPY_TEXT, "%s of shape %s", descr, shape);
}

void npy_header(const struct npy *npy, char header[NPY_HEADER]) {
    char descr[NPY_DESCR], shape[NPY_SHAPE], text[2 * NPY_HEADER];
    npy_descr(npy, descr);
    shape_text(npy, shape);
    int length = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape);
    /* Lengths whose product fits memory have some 20 digits together; text never fills the header. */
    if (length > NPY_HEADER - 11) length = NPY_HEADER - 11;
    memset(header, ' ', NPY_HEADER);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = NPY_HEADER - 10;
    header[9] = 0;
    memcpy(header + 10, text, (size_t)length);
    header[NPY_HEADER - 1] = '\n';
}

static int bad(struct error *err, const char *name, const char *what) {
    return error_set(err, CODE_DATA, "%s: not a readable .npy array: %s", name, what);
}

static const char *skip_blanks(const char *at) {
    return at + strspn(at, " \t\r\n");
}

/* The text behind 'key': in the header's dictionary; "" when there is none. */
static const char *value_of(const char *text, const char *key) {
    char quoted[32];
    for (const char *quote = "'\""; *quote; quote++) {
        snprintf(quoted, sizeof quoted, "%c%s%c", *quote, key, *quote);
        const char *at = strstr(text, quoted);
        if (!at) continue;
        at = skip_blanks(at + strlen(quoted));
        return *at == ':' ? skip_blanks(at + 1) : "";
    }
    return "";
}

static int parse_type(struct npy *npy, const char *value, const char *name, struct error *err) {
    char descr[NPY_DESCR] = "";
    if ((*value != '\'' && *value != '"') || sscanf(value + 1, "%23[^'\"]", descr) != 1)
        return bad(err, name, "its header has no simple descr");
    for (size_t i = 0; i < TYPES; i++)
        if (strcmp(descr, types[i].descr) == 0) {
            npy->type = types[i].type;
            npy->item = types[i].item;
            return 0;
        }
    uint64_t length;
    if (strncmp(descr, "|S", 2) == 0 && text_to_u64(descr + 2, &length) && length > 0 && length < 1 << 20) {
        npy->type = NPY_BYTES;
        npy->item = length;
        return 0;
    }
    return error_set(err, CODE_DATA,
                     "%s: expected elements |u1, <f2, <f4, <f8, <i8, |b1 or |Sn (little-endian), found %s", name,
                     descr);
}

static int bad_shape(const char *value, const char *name, const char *what, struct error *err) {
    return error_set(err, CODE_DATA, "%s: not a readable .npy array: expected %s, found shape %.*s", name, what,
                     (int)strcspn(value, "}\n"), value);
}

static int parse_shape(struct npy *npy, const char *value, const char *name, struct error *err) {
    size_t bytes = npy->item;
    if (*value != '(') return bad(err, name, "its header has no shape");
    const char *at = skip_blanks(value + 1);
    for (npy->rank = 0; *at != ')'; npy->rank++) {
        char *end;
        if (npy->rank == 4) return bad_shape(value, name, "at most 4 dimensions", err);
        if (*at < '0' || *at > '9') return bad_shape(value, name, "whole numbers and commas in parentheses", err);
        unsigned long long length = strtoull(at, &end, 10);
        if (__builtin_mul_overflow(bytes, length ? length : 1, &bytes) || bytes > MOST_BYTES)
            return bad_shape(value, name, "an array that fits memory", err);
        npy->shape[npy->rank] = length;
        at = skip_blanks(end);
        if (*at == ',') at = skip_blanks(at + 1);
        else if (*at != ')') return bad_shape(value, name, "whole numbers and commas in parentheses", err);
    }
    return 0;
}

int npy_parse(struct npy *npy, size_t *offset, const char *bytes, size_t size, const char *name, struct error *err) {
    const unsigned char *u = (const unsigned char *)bytes;
    *npy = (struct npy){0};
    if (size < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0) return bad(err, name, "it does not start as one");
    if (u[6] != 1 && u[6] != 2) return bad(err, name, "expected format version 1 or 2");
    size_t start = u[6] == 1 ? 10 : 12;
    size_t length = u[8] | (size_t)u[9] << 8;
    if (u[6] == 2) length |= (size_t)u[10] << 16 | (size_t)u[11] << 24;
    if (length > size - start) return bad(err, name, "its header is cut short");
    char *text = strndup(bytes + start, length);
    if (!text) return error_memory(err);
    *offset = start + length;
    int rc = parse_type(npy, value_of(text, "descr"), name, err);
    if (rc == 0 && strncmp(value_of(text, "fortran_order"), "False", 5) != 0)
        rc = bad(err, name, "expected C order (fortran_order False): save numpy.ascontiguousarray(x)");
    if (rc == 0) rc = parse_shape(npy, value_of(text, "shape"), name, err);
    free(text);
    return rc;
}

int npy_look(struct npy *npy, const char *path, struct error *err) {
    size_t offset;
    FILE *file = file_stream(path, err);
    if (!file) return -1;
    char *head = malloc(NPY_HEAD);
    size_t got = head ? fread(head, 1, NPY_HEAD, file) : 0;
    int rc = !head          ? error_memory(err)
             : ferror(file) ? error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno))
                            : npy_parse(npy, &offset, head, got, path, err);
    fclose(file);
    free(head);
    return rc;
}

int npy_read(struct npy *npy, char **data, size_t *offset, const char *path, struct error *err) {
    size_t size;
    if (file_read(path, data, &size, err) != 0) return -1;
    int rc = npy_parse(npy, offset, *data, size, path, err);
    if (rc == 0 && size - *offset != npy_bytes(npy))
        rc = error_set(err, CODE_DATA, "%s: expected %zu bytes of elements, found %zu", path, npy_bytes(npy),
                       size - *offset);
    if (rc != 0) {
        free(*data);
        *data = NULL;
    }
    return rc;
}

int npy_write_noted(const struct npy *npy, const void *data, const char *note, const char *path, struct error *err) {
    size_t bytes = npy_bytes(npy), header = NPY_HEADER + (note ? (strlen(note) + 66) / 64 * 64 : 0);
    char *file = malloc(header + bytes);
    if (!file) return error_memory(err);
    npy_header(npy, file);
    if (note) { /* behind the dictionary, and the line ends where the header does */
        memset(file + NPY_HEADER - 1, ' ', header - NPY_HEADER);
        file[8] = (char)((header - 10) & 0xff);
        file[9] = (char)((header - 10) >> 8);
        file[header - 1] = '\n';
        memcpy(file + NPY_HEADER - 1, "# ", 2);
        memcpy(file + NPY_HEADER + 1, note, strlen(note));
    }
    memcpy(file + header, data, bytes);
    int rc = file_write_atomic(path, file, header + bytes, err);
    free(file);
    return rc;
}

int npy_write(const struct npy *npy, const void *data, const char *path, struct error *err) {
    return npy_write_noted(npy, data, NULL, path, err);
}

void npy_note(const char *file, size_t offset, const char *key, char *value, size_t size) {
    char begin[32], *header = strndup(file + 10, offset - 10); /* up to a NUL, where there is one */
    const char *note = header ? strstr(header, "# ") : NULL;
    snprintf(begin, sizeof begin, " %s=", key);
    const char *at = note ? strstr(note, begin) : NULL;
    size_t length = at ? strcspn(at + strlen(begin), " \n") : 0;
    value[0] = '\0';
    if (length > 0 && length < size) snprintf(value, size, "%.*s", (int)length, at + strlen(begin));
    free(header);
}
