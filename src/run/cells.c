/* The runs that are worked on together: cells of a sweep, or one plain job. */
#include "run/cells.h"

#include "base/files.h"
#include "base/text.h"
#include "report/results.h"
#include "format/json_file.h"
#include "run/claim.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- opened ---- */

static const json_t *listed(const struct cells *cells, size_t number) {
    return json_array_get(json_object_get(cells->list, "cells"), number);
}

bool cells_sweep(const struct cells *cells) {
    return json_is_true(json_object_get(cells->list, "sweep"));
}

const json_t *cells_race(const struct cells *cells) {
    return json_object_get(cells->list, "race");
}

const char *cells_dir(const struct cells *cells) {
    return json_string_value(json_object_get(cells->list, "dir"));
}

double cell_calls(const struct cell *cell) {
    return cell->run.plan.adaptive ? 200 : cell->run.plan.model_calls;
}

static double cost(const struct cell *cell) {
    return (double)cell->run.layout.samples * cell_calls(cell);
}

static int dearest_first(const void *a, const void *b) {
    const struct cell *x = a, *y = b;
    if (cost(x) != cost(y)) return cost(x) < cost(y) ? 1 : -1;
    return x->number < y->number ? -1 : 1;
}

/* New: a cell's document with what it shares; NULL when out of memory. */
static json_t *whole_document(const struct cells *cells, const json_t *from) {
    const json_t *values = json_object_get(cells->list, "values");
    json_t *document = json_whole_copy(json_object_get(from, "document")), *index;
    const char *name;
    bool whole = document;
    json_object_foreach(json_object_get(from, "shared"), name, index)
        whole &= json_object_set(document, name, json_array_get(values, (size_t)json_integer_value(index))) == 0;
    if (whole) return document;
    json_decref(document);
    return NULL;
}

static int open_cell(struct cell *cell, const struct cells *cells, size_t number, bool evaluate, struct error *err) {
    const json_t *from = listed(cells, number), *name = json_object_get(from, "name");
    char *quoted = name ? json_text(name, JSON_ENCODE_ANY) : NULL;
    cell->number = number;
    cell->name = json_string_value(name);
    cell->tag = !name ? strdup("") : quoted ? text_new("\"cell\": %s, ", quoted) : NULL;
    free(quoted);
    json_t *document = cell->tag ? whole_document(cells, from) : NULL;
    if (!document) return error_memory(err);
    return run_open(&cell->run, document, json_string_value(json_object_get(from, "dir")), evaluate, err);
}

/* What cells may not differ in, for one process makes them all. */
static int check_alike(const struct cells *cells, struct error *err) {
    const struct job *first = &cells->cells[0].run.job;
    for (size_t i = 1; i < cells->count; i++) {
        const struct job *job = &cells->cells[i].run.job;
        const char *key = job->device != first->device               ? "device"
                          : job->workers != first->workers           ? "workers"
                          : job->share_device != first->share_device ? "share_device"
                          : job->cuda_graphs != first->cuda_graphs   ? "cuda_graphs"
                          : job->precision != first->precision       ? "precision"
                                                                     : NULL;
        if (key)
            return error_set(err, CODE_DATA,
                             "sweep: %s: its cells are made side by side by the same processes, so this must be the "
                             "same for all: make a job of each",
                             key);
    }
    return 0;
}

/* Another count than the run's job has leaves the run's own metrics alone. */
static int take_count(struct cell *cell, uint64_t count, struct error *err) {
    struct run *run = &cell->run;
    if (!run->job.evaluate.enabled)
        return error_set(err, CODE_DATA, "--count: the job of %s has no evaluate block: nothing is evaluated",
                         run->dir);
    uint64_t own = run->job.evaluate.count ? run->job.evaluate.count : run->layout.samples;
    if (count != own) run->job.evaluate.count = cell->count = count;
    return 0;
}

char *cell_metrics(const struct cell *cell) {
    return cell->count ? text_new("%s/metrics-%llu.json", cell->run.dir, (unsigned long long)cell->count)
                       : text_new("%s/metrics.json", cell->run.dir);
}

int cells_open(struct cells *cells, const json_t *list, bool evaluate, uint64_t count, struct error *err) {
    size_t listed_count = json_array_size(json_object_get(list, "cells"));
    *cells = (struct cells){.list = list, .cells = calloc(listed_count + 1, sizeof *cells->cells)};
    int rc = cells->cells ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < listed_count; i++) {
        struct cell *cell = &cells->cells[cells->count];
        if (!json_object_get(listed(cells, i), "document")) continue;
        cells->count++;
        rc = open_cell(cell, cells, i, evaluate, err);
        for (size_t k = 0; rc == 0 && k < cell->run.evaluated_count; k++)
            rc = network_check(&cell->run.evaluated[k].network, cell->run.evaluated[k].path,
                               cell->run.job.output.dtype != SAMPLE_UINT8, err);
        if (rc == 0 && count) rc = take_count(cell, count, err);
    }
    if (rc == 0) rc = check_alike(cells, err);
    if (rc == 0) qsort(cells->cells, cells->count, sizeof *cells->cells, dearest_first);
    for (size_t i = 0; rc == 0 && i < cells->count; i++) {
        cells->cells[i].first = cells->shards;
        cells->shards += layout_shards(&cells->cells[i].run.layout);
    }
    if (rc == 0 && !(cells->status = calloc(cells->shards, sizeof *cells->status))) rc = error_memory(err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++) cells->cells[i].status = cells->status + cells->cells[i].first;
    if (rc != 0) cells_close(cells);
    return rc;
}

void cells_close(struct cells *cells) {
    for (size_t i = 0; i < cells->count; i++) {
        run_close(&cells->cells[i].run);
        free(cells->cells[i].tag);
        json_decref(cells->cells[i].quarantine);
    }
    free(cells->status);
    free(cells->cells);
    *cells = (struct cells){0};
}

size_t cells_find(const struct cells *cells, uint64_t shard) {
    size_t low = 0, high = cells->count - 1;
    while (low < high) {
        size_t middle = (low + high + 1) / 2;
        if (cells->cells[middle].first <= shard) low = middle;
        else high = middle - 1;
    }
    return low;
}
