/* What a sweep's folder says of its cells: sweep.json and the results. */
#include "run/cells.h"

#include "base/draft.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/build.h"
#include "format/json_file.h"
#include "metric/sweep_race.h"
#include "report/results.h"
#include "run/attempts.h"
#include "run/claim.h"
#include "run/comparable.h"

#include <stdlib.h>
#include <string.h>

static const json_t *listed(const struct cells *cells, size_t number) {
    return json_array_get(json_object_get(cells->list, "cells"), number);
}

/* ---- sweep.json ---- */

/* Is it a cell of this list? */
static bool is_listed(const struct cells *cells, const char *name) {
    size_t i;
    json_t *cell;
    json_array_foreach(json_object_get(cells->list, "cells"), i,
                       cell) if (strcmp(json_string_value(json_object_get(cell, "name")), name) == 0) return true;
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
    if (json_object_get(older, "format") && build_check_format(older, SWEEP_FORMAT, "sweep.json", err) != 0) return -1;
    json_array_foreach(json_object_get(cells->list, "cells"), i, cell) {
        size_t same_as = (size_t)json_integer_value(json_object_get(cell, "same_as"));
        json_t *other = same_as == i ? NULL : json_object_get(listed(cells, same_as), "name");
        json_list_add(&all, json_pack("{s:O, s:O, s:O?}", "cell", json_object_get(cell, "name"), "values",
                                      json_object_get(cell, "values"), "same_as", other));
    }
    int rc = attempts_busy(cells_dir(cells), &busy, err);
    json_array_foreach(json_object_get(older, "cells"), i, cell) {
        const char *name = json_string_value(json_object_get(cell, "cell"));
        bool finished = busy;
        if (!name || is_listed(cells, name)) continue;
        if (rc == 0 && !busy) rc = look_at_other(cells, cell, &finished, err);
        if (finished) json_list_add(&all, json_incref(cell));
    }
    *newer = json_pack("{s:i, s:O?, s:o}", "format", SWEEP_FORMAT, "job", json_object_get(cells->list, "job"), "cells",
                       all);
    return rc == 0 && !*newer ? error_memory(err) : rc;
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
        *names = json_array(); /* of cells whose names were checked to be strings */
        json_array_foreach(json_object_get(json, "cells"), i, cell) if (json_is_null(json_object_get(cell, "same_as")))
            json_list_add(names, json_incref(json_object_get(cell, "cell")));
        rc = *names ? build_check_format(json, SWEEP_FORMAT, path, err) : error_memory(err);
        if (rc == 0 && json_array_size(*names) == 0)
            rc = error_set(err, CODE_DATA, "%s: expected a list of cells, found none", path);
    }
    if (rc != 0) {
        json_decref(*names);
        *names = NULL;
    }
    json_decref(json);
    free(path);
    return rc;
}

/* ---- race.json ---- */

int cells_race_read(json_t **race, const char *dir, struct error *err) {
    char *path = text_new("%s/race.json", dir);
    *race = NULL;
    int rc = path ? json_file_read_if_there(race, path, err) : error_memory(err);
    if (rc == 0 && *race && !race_is_record(*race)) {
        rc = error_set(err, CODE_DATA, "%s " RACE_UNREADABLE, path);
        json_decref(*race);
        *race = NULL;
    }
    free(path);
    return rc;
}

int cells_race_same(const struct cells *cells, bool *same, struct error *err) {
    const json_t *race = cells_race(cells);
    json_t *record = NULL;
    uint64_t of = 0;
    int rc = cells_race_read(&record, cells_dir(cells), err);
    if (rc != 0 && err->code == CODE_DATA) rc = 0; /* it is written anew */
    for (size_t i = 0; i < cells->count; i++) of += cells->cells[i].run.job.seeds.count;
    *same = record && json_equal(json_object_get(record, "metric"), json_object_get(race, "metric")) &&
            json_equal(json_object_get(record, "confidence"), json_object_get(race, "confidence")) &&
            (uint64_t)json_integer_value(json_object_get(record, "of")) == of;
    json_decref(record);
    return rc;
}

int cells_race_write(const struct cells *cells, const json_t *race, struct error *err) {
    char *path = text_new("%s/race.json", cells_dir(cells));
    int rc = path ? json_file_write(path, race, err) : error_memory(err);
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
    char *path = cell_metrics(cell);
    int rc = path ? json_file_read(result, path, err) : error_memory(err);
    free(path);
    return rc;
}

/* The row that older results have of a cell, whose samples are in the cell `made`, if its metrics may stand in this
 * table. */
static int keep_row(const struct cells *cells, json_t *results, const json_t *older, const char *name, const char *made,
                    bool *kept, struct error *err) {
    char *dir = path_join(cells_dir(cells), made);
    int rc = dir ? comparable_with(cells, dir, kept, err) : error_memory(err);
    free(dir);
    return rc == 0 && *kept ? results_keep(results, older, name, err) : rc;
}

static int add_row(const struct cells *cells, size_t number, json_t *results, const json_t *older, struct error *err) {
    const json_t *from = listed(cells, number);
    const char *name = json_string_value(json_object_get(from, "name"));
    size_t same_as = (size_t)json_integer_value(json_object_get(from, "same_as"));
    const struct cell *cell = with_number(cells, same_as);
    json_t *result = NULL;
    const char *other = json_string_value(json_object_get(listed(cells, same_as), "name"));
    bool kept;
    if (!cell || !cell->concluded) return keep_row(cells, results, older, name, other, &kept, err);
    if (cell->code != CODE_OK) return 0;
    if (read_result(cell, &result, err) != 0) return -1;
    int rc = results_add(results, name, json_object_get(from, "values"), result, same_as == number ? NULL : other, err);
    json_decref(result);
    return rc;
}

struct summing {
    const struct cells *cells;
    json_t *results; /* the last that were made */
    size_t left_out; /* other jobs' rows, of metrics that are not comparable */
};

/* The rows of this list, and behind them those of other jobs' cells. */
static int sum_up(void *context, const json_t *older, json_t **newer, struct error *err) {
    struct summing *summing = context;
    const struct cells *cells = summing->cells;
    const json_t *list = json_object_get(cells->list, "cells");
    json_t *row;
    size_t i;
    json_decref(summing->results);
    summing->left_out = 0;
    json_t *results = summing->results = results_new(cells_dir(cells), list);
    int rc = results ? 0 : error_memory(err);
    for (i = 0; rc == 0 && i < json_array_size(list); i++) rc = add_row(cells, i, results, older, err);
    json_array_foreach(json_object_get(older, "cells"), i, row) {
        const char *name = json_string_value(json_object_get(row, "cell"));
        const char *made = json_string_value(json_object_get(row, "same_as"));
        bool finished = false, kept = true;
        if (rc == 0 && name && !is_listed(cells, name)) rc = look_at_other(cells, row, &finished, err);
        if (rc == 0 && finished) rc = keep_row(cells, results, older, name, made ? made : name, &kept, err);
        summing->left_out += !kept;
    }
    if (rc == 0) rc = results_end(results, err);
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

/* A run's result says where it was written; its folder may have been named otherwise then, or have moved. */
static int read_own_result(const struct cell *cell, json_t **result, struct error *err) {
    if (read_result(cell, result, err) != 0) return -1;
    int rc = json_object_set_new(*result, "run", json_string(cell->run.dir));
    if (rc == 0 && json_is_string(json_object_get(*result, "picture")))
        rc = json_object_set_new(*result, "picture", json_sprintf("%s/grid.png", cell->run.dir));
    return rc == 0 ? 0 : error_memory(err);
}

int cells_results(const struct cells *cells, json_t **results, struct error *err) {
    struct summing summing = {.cells = cells};
    *results = NULL;
    if (!cells_sweep(cells)) return cells->cells[0].concluded ? read_own_result(&cells->cells[0], results, err) : 0;
    char *json = text_new("%s/results.json", cells_dir(cells)), *csv = text_new("%s/results.csv", cells_dir(cells));
    int rc = json && csv ? claim_update(json, true, sum_up, &summing, err) : error_memory(err);
    if (rc == 0 && summing.left_out > 0) /* said once: older results have them no more */
        log_warn("%s: %zu rows of cells that this sweep does not list are left out: they were evaluated with another "
                 "reference, feature network, validation set, texts or count; to have them back list their values "
                 "again and run, and they are "
                 "evaluated anew",
                 json, summing.left_out);
    const struct file_guard guard = {.check = check_results, .context = summing.results};
    if (rc == 0 && results_write_csv(summing.results, csv, &guard, err) != 0 && err->code != CODE_AGAIN) rc = -1;
    free(csv);
    free(json);
    *results = summing.results;
    return rc;
}
