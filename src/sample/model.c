/* Where a network runs, and loading it. */
#include "sample/model.h"

#include "job/model_file.h"

static void close_file(void *file) {
    mapping_close(file);
}

int model_load(struct shim_model **model, const char *what, const char *path, const char *sha256, int device,
               struct error *err) {
    char message[SHIM_ERROR];
    struct mapping *file;
    *model = NULL;
    if (model_file_open(&file, path, sha256, err) != 0) return error_prefix(err, "cannot load %s", what);
    const struct shim_file given = {file->data, file->size, path, close_file, file};
    if (shim_model_load(model, &given, device, message) == 0) return 0;
    return error_set(err, CODE_DATA, "cannot load %s %s: %s", what, path, message);
}

int model_device(enum device_kind kind, int local_rank, const char *key, int *device, struct error *err) {
    int count = kind == DEVICE_CPU ? 0 : shim_device_count();
    /* A launcher that binds shows each rank its own GPU as number 0. */
    *device = count > 0 ? local_rank % count : SHIM_CPU;
    if (kind != DEVICE_CUDA || count > 0) return 0;
    return error_set(err, CODE_DATA, "%s cuda, but this process sees no GPU (%s)", key, shim_describe());
}
