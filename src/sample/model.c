/* Loading a network. */
#include "sample/model.h"

#include "job/model_file.h"

#include <stdlib.h>

int model_load(struct shim_model **model, const char *what, const char *path, const char *sha256, int device,
               struct error *err) {
    char message[SHIM_ERROR], *data;
    size_t size;
    *model = NULL;
    if (model_file_read(&data, &size, path, sha256, err) != 0) return error_prefix(err, "cannot load %s", what);
    int rc = shim_model_load(model, data, size, path, device, message);
    if (rc != 0) error_set(err, CODE_DATA, "cannot load %s %s: %s", what, path, message);
    free(data);
    return rc;
}
