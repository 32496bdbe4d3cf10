/* One array, in an .npy or in ADM's .npz. */
#include "base/draft.h"
#include "format/npz.h"
#include "export/export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int take(void *context, uint64_t first, const char **bytes, size_t *size, struct error *err) {
    const struct row *row;
    uint64_t count;
    if (rows_at(context, first, &row, &count, err) != 0) return -1;
    *bytes = row->bytes;
    *size = row->size * (size_t)count;
    return 0;
}

int export_npz(struct rows *rows, const char *path, struct error *err) {
    struct npy vector = {NPY_INT64, sizeof(int64_t), 1, {(size_t)rows_count(rows)}};
    struct npz_array arrays[3] = {{"arr_0", rows_npy(rows), NULL}};
    size_t count = 1;
    int64_t *numbers = NULL;
    if (rows_labels(rows)) arrays[count++] = (struct npz_array){"arr_1", vector, rows_labels(rows)};
    if (rows_run(rows)->condition_rows > 0) {
        if (!(numbers = malloc(vector.shape[0] * sizeof *numbers))) return error_memory(err);
        for (size_t i = 0; i < vector.shape[0]; i++) numbers[i] = (int64_t)rows_condition(rows, i);
        arrays[count++] = (struct npz_array){"rows", vector, numbers};
    }
    int rc = npz_stream(path, arrays, count, take, rows, err);
    free(numbers);
    return rc;
}

int export_npy(struct rows *rows, const char *path, struct error *err) {
    struct draft draft;
    struct npy npy = rows_npy(rows);
    char header[NPY_HEADER];
    const char *bytes;
    size_t size = 0, row_bytes = npy_row_bytes(&npy);
    if (draft_begin(&draft, path, false, err) != 0) return -1;
    npy_header(&npy, header);
    FILE *file = fopen(draft.temporary, "wb");
    bool written = file && fwrite(header, NPY_HEADER, 1, file) == 1;
    int rc = 0;
    for (uint64_t first = 0; rc == 0 && written && first < rows_count(rows); first += size / row_bytes)
        if ((rc = take(rows, first, &bytes, &size, err)) == 0) written = fwrite(bytes, size, 1, file) == 1;
    if (file && fclose(file) != 0) written = false;
    if (rc == 0 && !written) rc = error_set(err, CODE_IO, "cannot write %s: %s", path, strerror(errno));
    if (rc == 0) return draft_commit(&draft, err);
    draft_abandon(&draft);
    return -1;
}
