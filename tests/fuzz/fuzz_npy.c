/* A .npy file: as such, as features, as labels (or a text of labels). */
#include "fuzz.h"

#include "format/npy.h"
#include "eval/features.h"
#include "sample/labels.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct npy npy;
    struct features features;
    struct features_origin origin;
    struct error err;
    char *bytes;
    size_t offset;
    int64_t *labels;
    const char *path = fuzz_file(data, size);
    if (npy_read(&npy, &bytes, &offset, path, &err) == 0) {
        char header[NPY_HEADER];
        struct npy again;
        npy_header(&npy, header);
        if (npy_parse(&again, &offset, header, NPY_HEADER, "ours", &err) != 0 || again.rank != npy.rank) abort();
        free(bytes);
    }
    if (features_read(&features, &origin, path, &err) == 0) features_release(&features);
    if (labels_read(&labels, path, NULL, 2, 10, &err) == 0) free(labels);
    return 0;
}
