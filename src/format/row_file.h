/* Arrays of which single rows are read, however large the file: an .npy, or "FILE.safetensors#KEY". Elements are
 * float16, float32, float64, int64, uint8 or bool. A row_file may be read by several threads at a time. */
#ifndef FORMAT_ROW_FILE_H
#define FORMAT_ROW_FILE_H

#include "base/error.h"
#include "format/npy.h"

#include <stdint.h>

struct row_file;

/* *file new. What is no such array, or has no rows, is CODE_DATA; what cannot be read is CODE_IO. */
int row_file_open(struct row_file **file, const char *path, struct error *err);
void row_file_close(struct row_file *file);                  /* accepts NULL */
const struct npy *row_file_npy(const struct row_file *file); /* the whole array, borrowed */
/* out: npy_row_bytes. A file that was changed since it was opened is CODE_IO: no row of it can be had. */
int row_file_read(const struct row_file *file, uint64_t row, void *out, struct error *err);
/* The file's own name, without "#KEY": new, or NULL. */
char *row_file_name(const char *path);

#endif
