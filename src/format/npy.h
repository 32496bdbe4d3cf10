/* The .npy format: header building and reading for C-order little-endian arrays. */
#ifndef FORMAT_NPY_H
#define FORMAT_NPY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum npy_type { NPY_UINT8, NPY_FLOAT16, NPY_FLOAT32, NPY_FLOAT64, NPY_INT64, NPY_BOOL, NPY_BYTES /* |Sn */ };

struct npy { /* an array's type and shape */
    enum npy_type type;
    size_t item; /* bytes an element */
    int rank;
    size_t shape[4];
};

enum {
    NPY_HEADER = 128,   /* bytes of every header we write (version 1.0) */
    NPY_HEAD = 1 << 17, /* bytes from a file's first on that hold any header of version 1 */
    NPY_DESCR = 24,     /* bytes that hold any type's name */
    NPY_SHAPE = 100,    /* that hold any shape */
    NPY_TEXT = NPY_DESCR + NPY_SHAPE + 10,
};

/* Neither overflows for an npy that npy_parse gave. */
size_t npy_bytes(const struct npy *npy);                      /* of the data */
size_t npy_row_bytes(const struct npy *npy);                  /* of one index of the first axis */
void npy_descr(const struct npy *npy, char descr[NPY_DESCR]); /* the type as numpy writes it: "|u1", "<f4", "|S64" */
/* Type and shape for messages: "<f4 of shape (50000, 2048)". */
void npy_text(const struct npy *npy, char text[NPY_TEXT]);
/* What a file begins with before its elements. */
void npy_header(const struct npy *npy, char header[NPY_HEADER]);
/* Reads a header, version 1.x or 2.x, from the first `size` bytes; *offset: where the data begin. Fortran order,
 * big-endian, other types, ranks above 4 and shapes beyond 2^60 bytes are errors. `name` is for messages. */
int npy_parse(struct npy *npy, size_t *offset, const char *bytes, size_t size, const char *name, struct error *err);
/* Type and shape alone, of a file. A file that cannot be read is CODE_IO, one that is no such array CODE_DATA. */
int npy_look(struct npy *npy, const char *path, struct error *err);
/* Whole file: *data (new, caller frees) points at the file's bytes, elements begin at *offset (in a header that numpy
 * did not write perhaps unaligned: memcpy). Too few or too many bytes are an error. */
int npy_read(struct npy *npy, char **data, size_t *offset, const char *path, struct error *err);
int npy_write(const struct npy *npy, const void *data, const char *path, struct error *err); /* atomic */
/* The same with "# note" behind the header's dictionary, a comment of Python's, which numpy passes over: words
 * "KEY=VALUE" with blanks between. */
int npy_write_noted(const struct npy *npy, const void *data, const char *note, const char *path, struct error *err);
/* VALUE of a KEY of the note in a whole file whose elements begin at `offset`; "": there is none, or it does not fit.
 */
void npy_note(const char *file, size_t offset, const char *key, char *value, size_t size);

#endif
