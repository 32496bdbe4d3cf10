/* Makes one batch again for one of its samples. */
#include "work/remake.h"

#include "work/assets.h"
#include "work/proof.h"
#include "work/shard_maker.h"
#include "shard/store.h"
#include "torch_shim.h"
#include "sample/model.h"

#include <stdlib.h>
#include <string.h>

/* The sample in its shard, of which nothing but its batch is made. cell: of the run, its files loaded. */
static int make_row(const struct cell *cell, uint64_t position, int device, void *sample, size_t bytes,
                    struct error *err) {
    const struct layout *layout = &cell->run.layout;
    shard_id shard = {position / layout->shard_rows};
    uint64_t row = position - layout_first(layout, shard), batches;
    struct maker maker = {.device = device};
    struct making *making = NULL;
    int rc = making_open(&making, cell, shard, &batches, err);
    if (rc == 0) rc = making_batch(making, &maker, row / layout->batch, err);
    const void *made = rc == 0 ? making_row(making, row, err) : NULL;
    if (made) memcpy(sample, made, bytes);
    else rc = -1;
    making_close(making);
    maker_leave(&maker);
    return rc;
}

int run_remake_device(const struct run *run) {
    struct error ignored; /* a GPU that the job wants and this machine lacks: the CPU makes nearly the same */
    int device;
    model_device(run->job.device, 0, "device:", &device, &ignored);
    return device;
}

int run_remake(const struct run *run, uint64_t position, void **sample, struct error *err) {
    struct npy npy = run_npy(run, (shard_id){0}, SAMPLES);
    size_t bytes = npy_row_bytes(&npy);
    int device = run_remake_device(run);
    struct assets *assets = NULL;
    struct cell cell = {.run = *run, .tag = "", .missing = 1, .solves = true, .afresh = true};
    struct cells cells = {.cells = &cell, .count = 1};
    char message[SHIM_ERROR];
    cell.status = calloc(layout_shards(&run->layout), sizeof *cell.status); /* nothing is there */
    *sample = malloc(bytes);
    int rc = cell.status && *sample ? 0 : error_memory(err);
    if (rc == 0) rc = run_check(run, err);
    if (rc == 0 && !run->job.model.path) rc = error_set(err, CODE_DATA, "%s: its job names no model file", run->dir);
    if (rc == 0) rc = assets_load(&assets, &cells, device, err);
    if (rc == 0) rc = prove_models(&cell, device, err);
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
