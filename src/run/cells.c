#include "run/cells.h"

#include "base/files.h"
#include "base/text.h"
#include "config/source.h"
#include "job/sweep.h"
#include "report/results.h"
#include "format/json_file.h"
#include "run/attempt.h"
#include "run/claim.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the list ---- */

static const char *dir_of(const json_t *document) {
    return json_string_value(json_object_get(json_object_get(json_object_get(document, "job"), "output"), "dir"));
}

static bool same_samples(const json_t *a, const json_t *b) {
    const json_t *job_a = json_object_get(a, "job"), *job_b = json_object_get(b, "job");
    return json_equal(json_object_get(a, "fingerprint"), json_object_get(b, "fingerprint")) &&
           json_equal(json_object_get(job_a, "seeds"), json_object_get(job_b, "seeds")) &&
           json_equal(json_object_get(job_a, "evaluate"), json_object_get(job_b, "evaluate"));
}

/* Takes the document over; NULL: out of memory. */
static json_t *list_new(const char *dir, bool sweep, json_t *cells) {
    return json_pack("{s:s, s:b, s:o}", "dir", dir, "sweep", sweep, "cells", cells);
}

static int list_one(json_t **list, const char *dir, json_t *document, struct error *err) {
    *list = list_new(dir, false, json_pack("[{s:i, s:s, s:o}]", "same_as", 0, "dir", dir, "document", document));
    return *list ? 0 : error_memory(err);
}

static int settled_document(json_t **document, const char *job_path, const char *const *overrides, size_t count,
                            struct error *err) {
    if (document_make(document, job_path, overrides, count, err) != 0) return -1;
    if (claim_settle(*document, err) == 0) return 0;
    json_decref(*document);
    *document = NULL;
    return -1;
}

static int add_cell(json_t *cells, const struct sweep_cell *from, const char *job_path, struct error *err) {
    json_t *document = NULL, *other;
    size_t i, number = json_array_size(cells), same_as = number;
    if (settled_document(&document, job_path, from->overrides, from->count, err) != 0)
        return error_prefix(err, "cell %s", from->name);
    json_array_foreach(cells, i, other) {
        const json_t *theirs = json_object_get(other, "document");
        if (same_as == number && theirs && same_samples(document, theirs)) same_as = i;
    }
    json_t *cell = json_pack("{s:s, s:O, s:I, s:s}", "name", from->name, "values", from->values, "same_as",
                             (json_int_t)same_as, "dir", dir_of(document));
    int rc = cell && (same_as != number || json_object_set(cell, "document", document) == 0) ? 0 : error_memory(err);
    if (rc == 0 && json_array_append(cells, cell) != 0) rc = error_memory(err);
    json_decref(cell);
    json_decref(document);
    return rc;
}

/* A string, or null where the bytes are no UTF-8. */
static json_t *string_or_null(const char *text) {
    json_t *string = text ? json_string(text) : NULL;
    return string ? string : json_null();
}

/* How the sweep was asked for. NULL: *err is set. */
static json_t *asked(const char *job_path, const char *const *overrides, size_t count, struct error *err) {
    struct source source;
    if (source_read(&source, job_path, err) != 0) return NULL;
    char *here = getcwd(NULL, 0);
    json_t *given = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(given, string_or_null(overrides[i]));
    json_t *job = json_pack("{s:o, s:o, s:o, s:o}", "path", string_or_null(job_path), "directory", string_or_null(here),
                            "overrides", given, "text", string_or_null(source.text));
    if (!job) error_memory(err);
    free(here);
    source_free(&source);
    return job;
}

int cells_list(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count,
               struct error *err) {
    struct sweep sweep = {0};
    json_t *document = NULL, *cells = json_array();
    int rc = cells ? sweep_read(&sweep, job_path, overrides, overrides_count, err) : error_memory(err);
    *list = NULL;
    if (rc == 0 && sweep.count == 0 &&
        (rc = settled_document(&document, job_path, overrides, overrides_count, err)) == 0)
        rc = list_one(list, dir_of(document), document, err);
    for (size_t i = 0; rc == 0 && i < sweep.count; i++) rc = add_cell(cells, &sweep.cells[i], job_path, err);
    if (rc == 0 && sweep.count > 0 && !(*list = list_new(sweep.dir, true, json_incref(cells)))) rc = error_memory(err);
    json_t *job = rc == 0 && sweep.count > 0 ? asked(job_path, overrides, overrides_count, err) : NULL;
    if (rc == 0 && sweep.count > 0 && (!job || json_object_set_new(*list, "job", job) != 0)) {
        json_decref(*list);
        *list = NULL;
        rc = job ? error_memory(err) : -1;
    }
    json_decref(cells);
    sweep_free(&sweep);
    return rc;
}

int cells_list_cell(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count,
                    const char *which, struct error *err) {
    struct sweep sweep;
    const struct sweep_cell *cell;
    json_t *document;
    *list = NULL;
    if (sweep_read(&sweep, job_path, overrides, overrides_count, err) != 0) return -1;
    int rc = sweep_find(&sweep, which, &cell, err);
    if (rc == 0 && (rc = settled_document(&document, job_path, cell->overrides, cell->count, err)) == 0)
        rc = list_one(list, dir_of(document), document, err);
    sweep_free(&sweep);
    return rc;
}

int cells_list_run(json_t **list, const char *dir, struct error *err) {
    json_t *document;
    *list = NULL;
    if (path_check_utf8(dir, err) != 0) return -1;
    return document_read(&document, dir, err) == 0 ? list_one(list, dir, document, err) : -1;
}

/* ---- opened ---- */

static const json_t *listed(const struct cells *cells, size_t number) {
    return json_array_get(json_object_get(cells->list, "cells"), number);
}

bool cells_sweep(const struct cells *cells) {
    return json_is_true(json_object_get(cells->list, "sweep"));
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

static int open_cell(struct cell *cell, const struct cells *cells, size_t number, struct error *err) {
    const json_t *from = listed(cells, number), *name = json_object_get(from, "name");
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    cell->number = number;
    cell->name = json_string_value(name);
    cell->tag = quoted ? text_new("\"cell\": %s, ", quoted) : strdup("");
    free(quoted);
    if (!cell->tag) return error_memory(err);
    return run_open(&cell->run, json_incref(json_object_get(from, "document")),
                    json_string_value(json_object_get(from, "dir")), err);
}

/* What cells may not differ in, for one process makes them all. */
static int check_alike(const struct cells *cells, struct error *err) {
    const struct job *first = &cells->cells[0].run.job;
    for (size_t i = 1; i < cells->count; i++) {
        const struct job *job = &cells->cells[i].run.job;
        const char *key = job->device != first->device               ? "device"
                          : job->workers != first->workers           ? "workers"
                          : job->share_device != first->share_device ? "share_device"
                          : job->precision != first->precision       ? "precision"
                                                                     : NULL;
        if (key) return error_set(err, CODE_DATA, "sweep: %s: its cells are made side by side by the same processes, so this "
                                  "must be the same for all: make a job of each", key);
    }
    return 0;
}

int cells_open(struct cells *cells, const json_t *list, bool evaluate, uint64_t count, struct error *err) {
    size_t listed_count = json_array_size(json_object_get(list, "cells"));
    *cells = (struct cells){.list = list, .cells = calloc(listed_count + 1, sizeof *cells->cells)};
    int rc = cells->cells ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < listed_count; i++) {
        struct cell *cell = &cells->cells[cells->count];
        if (!json_object_get(listed(cells, i), "document")) continue;
        cells->count++;
        rc = open_cell(cell, cells, i, err);
        if (!evaluate) cell->run.job.evaluate.enabled = false;
        const struct job *job = &cell->run.job;
        if (rc == 0 && job->evaluate.enabled)
            rc = network_check(&cell->run.network, job->evaluate.features, job->output.dtype == SAMPLE_FLOAT32, err);
        if (count) cell->run.job.evaluate.count = count;
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
