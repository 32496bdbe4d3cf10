/* Loads models and starts, each file once. */
#include "work/assets.h"

#include "base/clock.h"
#include "base/log.h"
#include "sample/initial.h"
#include "run/scan.h"
#include "sample/conditions.h"
#include "sample/model.h"

#include <stdlib.h>
#include <string.h>

/* model, guide, decoder, start, conditions, feature networks */
enum { MOST = 5 + EVALUATED_MOST };

struct asset {
    const char *path;        /* borrowed from a job */
    char sha256[SHA256_HEX]; /* of what was loaded */
    struct shim_model *model;
    struct conditions *conditions;
    struct npy npy; /* of a file of starts */
    char *file;
    size_t offset;
};

struct assets {
    size_t count;
    struct asset list[]; /* at most MOST a cell */
};

/* The asset of a path, new (*known false) or there already; then it must be what this cell expects too. NULL: it is
 * not. */
static struct asset *find_asset(struct assets *assets, const char *path, const char *sha256, bool *known,
                                struct error *err) {
    struct asset *asset = assets->list;
    while (asset < assets->list + assets->count && strcmp(asset->path, path) != 0) asset++;
    *known = asset < assets->list + assets->count;
    if (*known && sha256_expect(path, asset->sha256, sha256, err) != 0) return NULL;
    asset->path = path;
    return asset;
}

static int load_model(struct assets *assets, const char *what, const char *path, const char *sha256, int device,
                      struct shim_model **model, struct error *err) {
    bool known;
    struct asset *asset = find_asset(assets, path, sha256, &known, err);
    double start = clock_seconds();
    if (!asset || (!known && model_load(&asset->model, what, path, sha256, device, err) != 0)) return -1;
    if (!known) {
        memcpy(asset->sha256, sha256, SHA256_HEX);
        log_event("\"loaded\": %zu, \"seconds\": %.3f", ++assets->count, clock_seconds() - start);
    }
    *model = asset->model;
    return 0;
}

/* One that solves, whose calls on a GPU may be recorded: CUDA graphs. */
static int load_solver(struct assets *assets, const struct run *run, const char *what, const char *path,
                       const char *sha256, int device, struct shim_model **model, struct error *err) {
    char message[SHIM_ERROR];
    size_t before = assets->count;
    if (load_model(assets, what, path, sha256, device, model, err) != 0) return -1;
    if (assets->count == before || !run->job.cuda_graphs || device == SHIM_CPU) return 0;
    struct asset *asset = &assets->list[before];
    if (shim_model_record(&asset->model, message) != 0) return error_set(err, CODE_DATA, "%s", message);
    *model = asset->model;
    return 0;
}

static int load_initial(struct assets *assets, struct cell *cell, struct error *err) {
    const struct run *run = &cell->run;
    const char *path = run->job.initial, *sha256 = run_sha256(run, INITIAL_SHA256);
    bool known;
    struct asset *asset = find_asset(assets, path, sha256, &known, err);
    if (!asset || (!known && npy_read(&asset->npy, &asset->file, &asset->offset, path, err) != 0)) return -1;
    if (!known) {
        assets->count++;
        sha256_bytes(asset->file, asset->offset + npy_bytes(&asset->npy), asset->sha256);
        if (sha256_expect(path, asset->sha256, sha256, err) != 0) return -1;
    }
    cell->initial = (const float *)(asset->file + asset->offset);
    return initial_fits(&asset->npy, path, run->all_seeds, &run->card, err);
}

static int load_cell(struct assets *assets, struct cell *cell, int device, struct error *err) {
    struct run *run = &cell->run;
    bool good = true;
    for (uint64_t i = 0; i < layout_shards(&run->layout); i++) good &= scan_good(run, &cell->status[i]);
    if (good || cell->idle) return 0;
    const char *guide = run->sampler.guidance.model;
    if (cell->solves && load_solver(assets, run, "model", run->job.model.path, run_sha256(run, MODEL_SHA256), device,
                                    &cell->model, err) != 0)
        return -1;
    if (cell->solves && guide &&
        load_solver(assets, run, "the guiding model", guide, run_sha256(run, GUIDE_SHA256), device, &cell->guide,
                    err) != 0)
        return -1;
    if (cell->missing > 0 && run->job.decode.path &&
        load_model(assets, "the decoder", run->job.decode.path, run_sha256(run, DECODER_SHA256), device, &cell->decoder,
                   err) != 0)
        return -1;
    for (size_t i = 0; i < run->evaluated_count; i++)
        if (run->evaluated[i].path &&
            load_model(assets, "the feature network", run->evaluated[i].path, run->evaluated[i].network.sha256, device,
                       &run->evaluated[i].network.model, err) != 0)
            return -1;
    return run->job.initial && cell->solves ? load_initial(assets, cell, err) : 0;
}

/* Cells whose models name the same inputs and whose jobs the same files share them. */
static int load_conditions(struct assets *assets, struct cells *cells, struct cell *cell, struct error *err) {
    const struct run *run = &cell->run;
    const json_t *wanted = json_object_get(run->job.resolved, "conditions"),
                 *keys = json_object_get(run->document, "keys");
    for (const struct cell *other = cells->cells; other < cell; other++)
        if (other->conditions && json_equal(json_object_get(other->run.job.resolved, "conditions"), wanted) &&
            json_equal(json_object_get(other->run.card.json, "inputs"), json_object_get(run->card.json, "inputs")) &&
            strcmp(other->run.job.model.path, run->job.model.path) == 0)
            return cell->conditions = other->conditions, 0;
    if (cell->conditions) return 0;
    if (conditions_open(&cell->conditions, &run->card, &run->job, err) != 0) return -1;
    assets->list[assets->count].path = "";
    assets->list[assets->count++].conditions = cell->conditions;
    return conditions_expect(cell->conditions, &run->job, json_object_get(keys, "conditions"), err);
}

int assets_load(struct assets **assets, struct cells *cells, int device, struct error *err) {
    char message[SHIM_ERROR];
    bool more = *assets;
    struct assets *made = more ? *assets : calloc(1, sizeof *made + (MOST * cells->count + 1) * sizeof *made->list);
    if (!(*assets = made)) return error_memory(err);
    if (!more && shim_start(cells->cells[0].run.job.precision == PRECISION_TF32, message) != 0)
        return error_set(err, CODE_INTERNAL, "%s", message);
    for (size_t i = 0; i < cells->count; i++)
        if (load_cell(made, &cells->cells[i], device, err) != 0 ||
            (cells->cells[i].model && cells->cells[i].run.card.inputs_count > 0 &&
             load_conditions(made, cells, &cells->cells[i], err) != 0))
            return -1;
    return 0;
}

void assets_free(struct assets *assets, struct cells *cells) {
    for (size_t i = 0; i < cells->count; i++) {
        struct cell *cell = &cells->cells[i];
        cell->conditions = NULL;
        cell->model = cell->guide = cell->decoder = NULL;
        for (size_t k = 0; k < cell->run.evaluated_count; k++) cell->run.evaluated[k].network.model = NULL;
    }
    for (size_t i = 0; assets && i < assets->count; i++) {
        shim_model_free(assets->list[i].model);
        conditions_close(assets->list[i].conditions);
        free(assets->list[i].file);
    }
    free(assets);
}
