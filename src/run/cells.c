#include "run/cells.h"

#include "base/text.h"
#include "config/override.h"
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

/* What two cells of the same samples have in common, as text: new. */
static char *samples_key(const json_t *document) {
    const json_t *job = json_object_get(document, "job");
    json_t *key = json_pack("[O?, O?, O?]", json_object_get(document, "fingerprint"), json_object_get(job, "seeds"),
                            json_object_get(job, "evaluate"));
    char *text = key ? json_dumps(key, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(key);
    return text;
}

/* Members of documents that many cells have alike: the list holds each value once. */
static const char *const shared_names[] = {"plan", "card", "guide", "versions"};
enum { SHARED_NAMES = sizeof shared_names / sizeof *shared_names };

/* A list in the making. */
struct listing {
    const struct job_file *file;
    json_t *cells, *values; /* arrays of the list */
    json_t *samples;        /* samples_key: number of the first cell that has them */
    json_t *indices;        /* a shared member's name and the sampler's text: where in values the last of these is */
    struct error *err;
};

/* Where in the list's values this one is; -1: out of memory. */
static json_int_t share_value(struct listing *listing, const char *key, json_t *value) {
    const json_t *known = json_object_get(listing->indices, key);
    if (known && json_equal(json_array_get(listing->values, (size_t)json_integer_value(known)), value))
        return json_integer_value(known);
    json_int_t index = (json_int_t)json_array_size(listing->values);
    bool kept = json_array_append(listing->values, value) == 0 &&
                json_object_set_new(listing->indices, key, json_integer(index)) == 0;
    return kept ? index : -1;
}

/* Moves what many documents have alike out of this one. New: {name: index}; NULL when out of memory. */
static json_t *share_members(struct listing *listing, json_t *document) {
    char *sampler = json_dumps(json_object_get(document, "sampler"), JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_t *shared = sampler ? json_object() : NULL;
    bool whole = shared;
    for (size_t i = 0; whole && i < SHARED_NAMES; i++) {
        json_t *value = json_object_get(document, shared_names[i]);
        char *key = text_new("%s %s", shared_names[i], i == 0 ? sampler : ""); /* the plan is the sampler's */
        json_int_t index = key && value ? share_value(listing, key, value) : -1;
        whole = key && (!value || (index >= 0 && json_object_set_new(shared, shared_names[i], json_integer(index)) == 0 &&
                                   json_object_set_new(document, shared_names[i], json_null()) == 0)); /* keeps its place */
        free(key);
    }
    free(sampler);
    if (whole) return shared;
    json_decref(shared);
    return NULL;
}

/* Takes the document over. */
static int list_one(json_t **list, const char *dir, json_t *document, struct error *err) {
    *list = json_pack("{s:s, s:b, s:[{s:i, s:s, s:o}]}", "dir", dir, "sweep", false, "cells", "same_as", 0, "dir", dir,
                      "document", document);
    return *list ? 0 : error_memory(err);
}

static int settled_document(json_t **document, const struct job_file *file, const char *const *overrides, size_t count,
                            struct error *err) {
    if (document_make(document, file, overrides, count, err) != 0) return -1;
    if (claim_settle(*document, err) == 0) return 0;
    json_decref(*document);
    *document = NULL;
    return -1;
}

static int add_cell(struct listing *listing, const struct sweep_cell *from) {
    struct error *err = listing->err;
    json_t *document = NULL, *shared = NULL;
    size_t number = json_array_size(listing->cells);
    if (settled_document(&document, listing->file, from->overrides, from->count, err) != 0)
        return error_prefix(err, "cell %s", from->name);
    char *key = samples_key(document);
    const json_t *same = key ? json_object_get(listing->samples, key) : NULL;
    json_t *cell = json_pack("{s:s, s:O, s:I, s:s}", "name", from->name, "values", from->values, "same_as",
                             same ? json_integer_value(same) : (json_int_t)number, "dir", dir_of(document));
    bool whole = key && cell && json_array_append(listing->cells, cell) == 0;
    if (whole && !same)
        whole = json_object_set_new(listing->samples, key, json_integer((json_int_t)number)) == 0 &&
                (shared = share_members(listing, document)) && json_object_set(cell, "shared", shared) == 0 &&
                json_object_set(cell, "document", document) == 0;
    free(key);
    json_decref(shared);
    json_decref(cell);
    json_decref(document);
    return whole ? 0 : error_memory(err);
}

/* A string, or null where the bytes are no UTF-8. */
static json_t *string_or_null(const char *text) {
    json_t *string = text ? json_string(text) : NULL;
    return string ? string : json_null();
}

/* How the sweep was asked for: new, or NULL when out of memory. */
static json_t *asked(const struct job_file *file, const char *const *overrides, size_t count) {
    char *here = getcwd(NULL, 0);
    json_t *given = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(given, string_or_null(overrides[i]));
    json_t *job = json_pack("{s:o, s:o, s:o, s:o}", "path", string_or_null(file->path), "directory", string_or_null(here),
                            "overrides", given, "text", string_or_null(file->source.text));
    free(here);
    return job;
}

static int list_sweep(json_t **list, struct job_file *file, const struct sweep *sweep, const char *const *overrides,
                      size_t count, struct error *err) {
    struct listing listing = {file, json_array(), json_array(), json_object(), json_object(), err};
    int rc = listing.cells && listing.values && listing.samples && listing.indices ? 0 : error_memory(err);
    if (rc == 0) rc = override_apply(file->root, file->places, "sweep=null", err); /* read; not to be copied a cell */
    for (size_t i = 0; rc == 0 && i < sweep->count; i++) rc = add_cell(&listing, &sweep->cells[i]);
    if (rc == 0) {
        *list = json_pack("{s:s, s:b, s:o, s:O, s:O}", "dir", sweep->dir, "sweep", true, "job", asked(file, overrides, count),
                          "values", listing.values, "cells", listing.cells);
        rc = *list ? 0 : error_memory(err);
    }
    json_decref(listing.indices);
    json_decref(listing.samples);
    json_decref(listing.values);
    json_decref(listing.cells);
    return rc;
}

static int list_job(json_t **list, const struct job_file *file, const char *const *overrides, size_t count, struct error *err) {
    json_t *document;
    if (settled_document(&document, file, overrides, count, err) != 0) return -1;
    return list_one(list, dir_of(document), document, err);
}

int cells_list(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count,
               struct error *err) {
    struct sweep sweep = {0};
    struct job_file file;
    *list = NULL;
    if (job_file_read(&file, job_path, err) != 0) return -1;
    int rc = sweep_read(&sweep, &file, overrides, overrides_count, err);
    if (rc == 0) rc = sweep.count > 0 ? list_sweep(list, &file, &sweep, overrides, overrides_count, err)
                                      : list_job(list, &file, overrides, overrides_count, err);
    sweep_free(&sweep);
    job_file_free(&file);
    return rc;
}

int cells_list_cell(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count,
                    const char *which, struct error *err) {
    struct sweep sweep = {0};
    struct job_file file;
    const struct sweep_cell *cell;
    *list = NULL;
    if (job_file_read(&file, job_path, err) != 0) return -1;
    int rc = sweep_read(&sweep, &file, overrides, overrides_count, err);
    if (rc == 0) rc = sweep_find(&sweep, which, &cell, err);
    if (rc == 0) rc = list_job(list, &file, cell->overrides, cell->count, err);
    sweep_free(&sweep);
    job_file_free(&file);
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

/* New: a cell's document with what it shares; NULL when out of memory. */
static json_t *whole_document(const struct cells *cells, const json_t *from) {
    const json_t *values = json_object_get(cells->list, "values");
    json_t *document = json_copy(json_object_get(from, "document")), *index;
    const char *name;
    bool whole = document;
    json_object_foreach(json_object_get(from, "shared"), name, index)
        whole &= json_object_set(document, name, json_array_get(values, (size_t)json_integer_value(index))) == 0;
    if (whole) return document;
    json_decref(document);
    return NULL;
}

/* plans[i]: values[i] as a plan, once a run has it. */
static int open_cell(struct cell *cell, const struct cells *cells, size_t number, bool evaluate, const struct plan *plans,
                     struct error *err) {
    const json_t *from = listed(cells, number), *name = json_object_get(from, "name");
    const json_t *index = json_object_get(json_object_get(from, "shared"), "plan");
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    cell->number = number;
    cell->name = json_string_value(name);
    cell->tag = quoted ? text_new("\"cell\": %s, ", quoted) : strdup("");
    free(quoted);
    json_t *document = cell->tag ? whole_document(cells, from) : NULL;
    if (!document) return error_memory(err);
    const struct plan *plan = index ? &plans[json_integer_value(index)] : NULL;
    return run_open_with(&cell->run, document, json_string_value(json_object_get(from, "dir")), evaluate,
                         plan && plan->solver[0] ? plan : NULL, err);
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
    struct plan *plans = calloc(json_array_size(json_object_get(list, "values")) + 1, sizeof *plans); /* [values], borrowed */
    int rc = cells->cells && plans ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < listed_count; i++) {
        struct cell *cell = &cells->cells[cells->count];
        if (!json_object_get(listed(cells, i), "document")) continue;
        cells->count++;
        rc = open_cell(cell, cells, i, evaluate, plans, err);
        const json_t *index = json_object_get(json_object_get(listed(cells, i), "shared"), "plan");
        if (rc == 0 && index) plans[json_integer_value(index)] = cell->run.plan;
        const struct job *job = &cell->run.job;
        if (rc == 0 && job->evaluate.enabled)
            rc = network_check(&cell->run.network, job->evaluate.features, job->output.dtype == SAMPLE_FLOAT32, err);
        if (count) cell->run.job.evaluate.count = count;
    }
    free(plans);
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

/* ---- sweep.json ---- */

enum { SWEEP_FORMAT = 1 };

/* Is it a cell of this list? */
static bool is_listed(const struct cells *cells, const char *name) {
    size_t i;
    json_t *cell;
    json_array_foreach(json_object_get(cells->list, "cells"), i, cell)
        if (strcmp(json_string_value(json_object_get(cell, "name")), name) == 0) return true;
    return false;
}

/* *finished: a cell that another job listed (an entry of sweep.json, or a row of the results) has come to an end. */
static int look_at_other(const struct cells *cells, const json_t *cell, bool *finished, struct error *err) {
    const json_t *other = json_object_get(cell, "same_as");
    const char *name = json_string_value(json_is_string(other) ? other : json_object_get(cell, "cell"));
    char *dir = name ? path_join(cells_dir(cells), name) : NULL;
    *finished = false;
    int rc = !name ? 0 : dir ? folder_has(dir, "metrics.json", finished, err) : error_memory(err);
    free(dir);
    return rc;
}

/* This list, and behind it what another job listed that is finished, or that a job is at work on. */
static int list_all(void *context, const json_t *older, json_t **newer, struct error *err) {
    const struct cells *cells = context;
    json_t *all = json_array(), *cell;
    bool busy = false;
    size_t i;
    *newer = json_pack("{s:i, s:O?, s:o}", "format", SWEEP_FORMAT, "job", json_object_get(cells->list, "job"), "cells", all);
    if (!*newer) return error_memory(err);
    json_array_foreach(json_object_get(cells->list, "cells"), i, cell) {
        size_t same_as = (size_t)json_integer_value(json_object_get(cell, "same_as"));
        json_t *other = same_as == i ? NULL : json_object_get(listed(cells, same_as), "name");
        json_array_append_new(all, json_pack("{s:O, s:O, s:O?}", "cell", json_object_get(cell, "name"), "values",
                                             json_object_get(cell, "values"), "same_as", other));
    }
    if (attempts_busy(cells_dir(cells), &busy, err) != 0) return -1;
    json_array_foreach(json_object_get(older, "cells"), i, cell) {
        const char *name = json_string_value(json_object_get(cell, "cell"));
        bool finished = busy;
        if (!name || is_listed(cells, name)) continue;
        if (!busy && look_at_other(cells, cell, &finished, err) != 0) return -1;
        if (finished && json_array_append(all, cell) != 0) return error_memory(err);
    }
    return 0;
}

int cells_write(const struct cells *cells, struct error *err) {
    if (!cells_sweep(cells)) return 0;
    char *path = text_new("%s/sweep.json", cells_dir(cells));
    int rc = path ? claim_update(path, true, list_all, (void *)cells, err) : error_memory(err);
    free(path);
    return rc;
}

int cells_read(json_t **names, const char *dir, struct error *err) {
    char *path = text_new("%s/sweep.json", dir);
    json_t *json = NULL, *cell;
    size_t i;
    *names = NULL;
    int rc = path ? 0 : error_memory(err);
    if (rc == 0 && (rc = json_file_read_if_there(&json, path, err)) == 0 && json &&
        (rc = results_check_names(json_object_get(json, "cells"), path, err)) == 0) {
        *names = json_array();
        json_array_foreach(json_object_get(json, "cells"), i, cell)
            if (json_is_null(json_object_get(cell, "same_as"))) json_array_append(*names, json_object_get(cell, "cell"));
        if (json_integer_value(json_object_get(json, "format")) != SWEEP_FORMAT || json_array_size(*names) == 0)
            rc = error_set(err, CODE_DATA, "%s: expected format %d and a list of cells", path, SWEEP_FORMAT);
    }
    if (rc != 0) {
        json_decref(*names);
        *names = NULL;
    }
    json_decref(json);
    free(path);
    return rc;
}

/* ---- results ---- */

static const struct cell *with_number(const struct cells *cells, size_t number) {
    for (size_t i = 0; i < cells->count; i++)
        if (cells->cells[i].number == number) return &cells->cells[i];
    return NULL;
}

static int read_result(const struct cell *cell, json_t **result, struct error *err) {
    char *path = text_new("%s/metrics.json", cell->run.dir);
    int rc = path ? json_file_read(result, path, err) : error_memory(err);
    free(path);
    return rc;
}

static int add_row(const struct cells *cells, size_t number, json_t *results, const json_t *older, struct error *err) {
    const json_t *from = listed(cells, number);
    const char *name = json_string_value(json_object_get(from, "name"));
    size_t same_as = (size_t)json_integer_value(json_object_get(from, "same_as"));
    const struct cell *cell = with_number(cells, same_as);
    json_t *result = NULL;
    if (!cell || !cell->concluded) return results_keep(results, older, name, err);
    if (cell->code != CODE_OK) return 0;
    if (read_result(cell, &result, err) != 0) return -1;
    const char *other = json_string_value(json_object_get(listed(cells, same_as), "name"));
    int rc = results_add(results, name, json_object_get(from, "values"), result, same_as == number ? NULL : other, err);
    json_decref(result);
    return rc;
}

struct summing {
    const struct cells *cells;
    json_t *results; /* the last that were made */
};

/* The rows of this list, and behind them those of other jobs' cells. */
static int sum_up(void *context, const json_t *older, json_t **newer, struct error *err) {
    struct summing *summing = context;
    const struct cells *cells = summing->cells;
    const json_t *list = json_object_get(cells->list, "cells");
    json_t *row;
    size_t i;
    json_decref(summing->results);
    json_t *results = summing->results = results_new(cells_dir(cells), list);
    int rc = results ? 0 : error_memory(err);
    for (i = 0; rc == 0 && i < json_array_size(list); i++) rc = add_row(cells, i, results, older, err);
    json_array_foreach(json_object_get(older, "cells"), i, row) {
        const char *name = json_string_value(json_object_get(row, "cell"));
        bool finished = false;
        if (rc == 0 && name && !is_listed(cells, name)) rc = look_at_other(cells, row, &finished, err);
        if (rc == 0 && finished) rc = results_keep(results, older, name, err);
    }
    if (rc == 0) results_end(results);
    *newer = rc == 0 ? json_incref(results) : NULL;
    return rc;
}

/* A guard of results.csv: results.json still says the same. */
static int check_results(const void *context, const char *replaced, struct error *err) {
    const json_t *results = context;
    char *path = text_new("%s/results.json", json_string_value(json_object_get(results, "dir")));
    json_t *there = NULL;
    (void)replaced;
    int rc = path ? json_file_read(&there, path, err) : error_memory(err);
    if (rc == 0 && !json_equal(there, results)) rc = error_set(err, CODE_AGAIN, "another job has written newer ones");
    json_decref(there);
    free(path);
    return rc;
}

int cells_results(const struct cells *cells, json_t **results, struct error *err) {
    struct summing summing = {cells, NULL};
    *results = NULL;
    if (!cells_sweep(cells)) return cells->cells[0].concluded ? read_result(&cells->cells[0], results, err) : 0;
    char *json = text_new("%s/results.json", cells_dir(cells)), *csv = text_new("%s/results.csv", cells_dir(cells));
    int rc = json && csv ? claim_update(json, true, sum_up, &summing, err) : error_memory(err);
    const struct file_guard guard = {check_results, summing.results};
    if (rc == 0 && results_write_csv(summing.results, csv, &guard, err) != 0 && err->code != CODE_AGAIN) rc = -1;
    free(csv);
    free(json);
    *results = summing.results;
    return rc;
}
