/* .npz files, as numpy writes them: a zip archive with one NAME.npy an array, stored or deflated. */
#ifndef FORMAT_NPZ_H
#define FORMAT_NPZ_H

#include "base/error.h"
#include "format/npy.h"

#include <stdbool.h>
#include <stddef.h>

struct npz; /* open for reading */

/* *npz new. No such archive: CODE_DATA; it cannot be read: CODE_IO. One thread at a time. */
int npz_open(struct npz **npz, const char *path, struct error *err);
void npz_close(struct npz *npz); /* accepts NULL */
bool npz_has(struct npz *npz, const char *name);
/* An error that names the arrays there are: path: expected EXPECTED, found a, b, ... */
int npz_missing(struct npz *npz, const char *expected, struct error *err);
/* Type and shape alone, of an array that is there (npz_has). It is damaged: CODE_DATA. */
int npz_header(struct npz *npz, const char *name, struct npy *npy, struct error *err);
/* Type and shape of an array, and its elements: *data is new (caller frees) and aligned for any type. A missing array
 * is CODE_DATA. */
int npz_read(struct npz *npz, const char *name, struct npy *npy, void **data, struct error *err);

struct npz_array {
    const char *name;
    struct npy npy;
    const void *data; /* borrowed */
};
/* Stored, dated 1980 as numpy does: the same arrays give the same bytes. Arrays of any size. Atomic. */
int npz_write(const char *path, const struct npz_array *arrays, size_t count, struct error *err);

/* Whole rows from number `first` on, one or more: *size bytes, borrowed until the next call. */
typedef int npz_rows(void *context, uint64_t first, const char **bytes, size_t *size, struct error *err);
/* The same, with the first array's rows (one or more) asked for as they are needed, in order, before the next array. */
int npz_stream(const char *path, const struct npz_array *arrays, size_t count, npz_rows *rows, void *context,
               struct error *err);

#endif
