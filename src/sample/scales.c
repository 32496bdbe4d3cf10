/* Scales of guidance, one a row of the conditions. */
#include "sample/scales.h"

#include "format/floats.h"
#include "format/npy.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int convert(double *scales, const struct npy *npy, const char *data, uint64_t rows, struct error *err) {
    char found[NPY_TEXT];
    bool floats = npy->type == NPY_FLOAT16 || npy->type == NPY_FLOAT32 || npy->type == NPY_FLOAT64;
    npy_text(npy, found);
    if (!floats || npy->rank != 1 || npy->shape[0] != rows)
        return error_set(err, CODE_DATA,
                         "expected float16, float32 or float64 of shape (%" PRIu64
                         ",), one for each row of the conditions, found %s",
                         rows, found);
    for (uint64_t i = 0; i < rows; i++)
        if (!isfinite(scales[i] = floats_at(data, npy->type, i)))
            return error_set(err, CODE_DATA, "expected finite numbers, found %g in row %" PRIu64, scales[i], i);
    return 0;
}

int scales_read(double **scales, const char *path, const char *expected, char hex[SHA256_HEX], uint64_t rows,
                struct error *err) {
    struct npy npy;
    char *file = NULL, found[SHA256_HEX];
    size_t offset;
    *scales = NULL;
    if (rows == 0)
        return error_set(err, CODE_DATA,
                         "sampler.guidance.scale: a file has a scale for each row of the conditions, and the job has "
                         "none: say a number");
    if (npy_read(&npy, &file, &offset, path, err) != 0) return error_prefix(err, "sampler.guidance.scale");
    sha256_bytes(file, offset + npy_bytes(&npy), found);
    int rc = expected ? sha256_expect(path, found, expected, err) : 0;
    if (!expected) memcpy(hex, found, SHA256_HEX);
    if (rc == 0 && !(*scales = malloc(rows * sizeof **scales))) rc = error_memory(err);
    if (rc == 0 && convert(*scales, &npy, file + offset, rows, err) != 0) rc = error_prefix(err, "%s", path);
    if (rc != 0) error_prefix(err, "sampler.guidance.scale");
    free(file);
    if (rc == 0) return 0;
    free(*scales);
    *scales = NULL;
    return -1;
}
