#include "work/remake.h"

#include "work/shard_maker.h"
#include "shard/store.h"
#include "torch_shim.h"

#include <stdlib.h>
#include <string.h>

/* Is a file still the one that the run was made with? then: its sha256. */
static int check_file(const struct run *run, const char *path, const char *then, struct error *err) {
    char now[SHA256_HEX];
    if (sha256_file(path, now, err) != 0) return -1;
    if (then && strcmp(then, now) == 0) return 0;
    return error_set(err, CODE_DATA, "%s: its model %s is another file by now (sha256 %.12s, then %.12s)", run->dir, path, now,
                     then ? then : "unknown");
}

static int check_models(const struct run *run, struct error *err) {
    const char *model = NULL, *guide = NULL, *guide_path = run->job.sampler.guidance.model;
    json_t *keys = json_object_get(run->document, "keys");
    json_unpack(keys, "{s:{s:s}}", "model", "sha256", &model);
    json_unpack(keys, "{s:{s:{s:{s:s}}}}", "sampler", "guidance", "model", "sha256", &guide);
    if (!run->job.model.path) return error_set(err, CODE_DATA, "%s: its job names no model file", run->dir);
    if (check_file(run, run->job.model.path, model, err) != 0) return -1;
    return guide_path ? check_file(run, guide_path, guide, err) : 0;
}

/* The sample in its shard, of which nothing but its batch is made. cell: of the run, its files loaded. */
static int make_row(const struct cell *cell, uint64_t position, int device, void *sample, size_t bytes, struct error *err) {
    const struct layout *layout = &cell->run.layout;
    shard_id shard = {position / layout->shard_rows};
    uint64_t row = position - layout_first(layout, shard), batches;
    struct maker maker = {.device = device};
    struct making *making = NULL;
    int rc = making_open(&making, cell, shard, &batches, err);
    if (rc == 0) rc = making_batch(making, &maker, row / layout->batch, err);
    if (rc == 0) memcpy(sample, making_row(making, row), bytes);
    making_close(making);
    maker_leave(&maker);
    return rc;
}

int run_remake(const struct run *run, uint64_t position, void **sample, struct error *err) {
    struct npy npy = run_npy(run, (shard_id){0}, SAMPLES);
    size_t bytes = npy_row_bytes(&npy);
    int device = run->job.device == DEVICE_CPU || shim_device_count() == 0 ? SHIM_CPU : 0;
    struct assets *assets = NULL;
    struct cell cell = {.run = *run, .tag = "", .missing = 1, .afresh = true};
    struct cells cells = {.cells = &cell, .count = 1};
    char message[SHIM_ERROR];
    cell.status = calloc(layout_shards(&run->layout), sizeof *cell.status); /* nothing is there */
    *sample = malloc(bytes);
    int rc = cell.status && *sample ? check_models(run, err) : error_memory(err);
    if (rc == 0) rc = assets_load(&assets, &cells, device, err);
    if (rc == 0 && shim_thread_start(device, message) != 0) rc = error_set(err, CODE_INTERNAL, "%s", message);
    if (rc == 0) rc = make_row(&cell, position, device, *sample, bytes, err);
    assets_free(assets, &cells);
    free(cell.status);
    if (rc != 0) {
        free(*sample);
        *sample = NULL;
    }
    return rc;
}
