/* A report's data, gathered from the files of a run or a sweep. */
#include "report/collect.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/build.h"
#include "job/job.h"
#include "metric/seal.h"
#include "metric/sweep_race.h"
#include "report/about.h"
#include "report/chart.h"
#include "report/data.h"
#include "report/results.h"
#include "format/json_file.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int collect_read(json_t **json, const char *dir, const char *folder, const char *file, int format, struct error *err) {
    char *path = text_new("%s/%s/%s", dir, folder, file);
    *json = NULL;
    int rc = !path ? error_memory(err) : json_file_read_if_there(json, path, err);
    if (rc == 0 && *json && format) rc = build_check_format(*json, format, path, err);
    if (rc == 0 && *json)
        rc = results_check_names(json_object_get(*json, "cells"), path, err); /* of results or a sweep */
    if (rc != 0) {
        json_decref(*json);
        *json = NULL;
    }
    free(path);
    return rc;
}

/* A plain run as a sweep of one cell, ".", which is its folder. */
static int collect_run(json_t **results, const char *dir, struct error *err) {
    json_t *metrics;
    if (collect_read(&metrics, dir, ".", "metrics.json", 0, err) != 0) return -1;
    int rc = (*results = results_new(dir, NULL)) ? 0 : error_memory(err);
    if (rc == 0 && !metrics)
        rc = error_set(err, CODE_AGAIN, "%s has no metrics.json: it is not finished; run it again to continue", dir);
    if (rc == 0) rc = results_add(*results, ".", NULL, metrics, NULL, err);
    json_decref(metrics);
    return rc;
}

/* Adds the names in sweep.json that have no row: of cells that are finished to `unlisted`. */
static int find_missing(json_t **missing, json_t **unlisted, const char *dir, const json_t *sweep, const json_t *cells,
                        struct error *err) {
    const json_t *planned, *cell;
    size_t i, k;
    json_array_foreach(json_object_get(sweep, "cells"), i, planned) {
        json_t *name = json_object_get(planned, "cell");
        const char *made = json_string_value(json_object_get(planned, "same_as"));
        bool found = false, finished = false;
        json_array_foreach(cells, k, cell) found |= name && json_equal(name, json_object_get(cell, "cell"));
        if (found || !json_is_string(name)) continue;
        char *folder = path_join(dir, made ? made : json_string_value(name));
        int rc = folder ? folder_has(folder, "metrics.json", &finished, err) : error_memory(err);
        free(folder);
        if (rc != 0) return -1;
        json_list_add(finished ? unlisted : missing, json_incref(name));
    }
    return 0;
}

/* A sweep without rows: why, and how to get them. */
static int refuse_empty(const char *dir, const json_t *results, const json_t *race, const json_t *unlisted,
                        struct error *err) {
    if (!results && json_array_size(unlisted) > 0 && !json_object_get(race, "next"))
        return error_set(err, CODE_AGAIN,
                         "%s has no results.json, though %zu of its cells are finished: run the sweep again, which "
                         "writes it of what is there",
                         dir, json_array_size(unlisted));
    return error_set(err, CODE_AGAIN, "%s: %s: run it again to continue", dir,
                     race ? "its rows come when the race ends, and it has not ended"
                          : "no cell of this sweep is finished");
}

/* The sweep's keys; without a sweep.json the columns before "nfe". New. */
static json_t *sweep_keys(const json_t *sweep, const json_t *columns) {
    json_t *names = json_object(), *keys = json_array(), *cell, *value;
    const char *key;
    size_t i;
    json_array_foreach(json_object_get(sweep, "cells"), i, cell)
        json_object_foreach(json_object_get(cell, "values"), key, value) json_map_add(&names, key, json_true());
    json_array_foreach(columns, i, cell) {
        key = json_string_value(cell);
        if (sweep || !key || strcmp(key, "nfe") == 0) break;
        if (strcmp(key, "cell") != 0) json_map_add(&names, key, json_true());
    }
    if (!names) json_list_add(&keys, NULL);
    json_object_foreach(names, key, value) json_list_add(&keys, json_string(key));
    json_decref(names);
    return keys;
}

static void add_value(json_t **environment, const char *name, const char *value) {
    if (value) json_map_add_once(environment, name, json_string(value));
}

/* "12.3 to 45.6 % ...", of all cells. ends: [2] of saturated, [2] of clipped: lowest and highest; NAN: none. */
static void add_pixels(json_t **environment, const double ends[4]) {
    static const char *const names[] = {"pixel values of 0 or 255", "pixel values clipped"};
    for (int i = 0; i < 2; i++) {
        const double *of = ends + 2 * i;
        char text[64];
        if (isnan(of[0])) continue;
        if (of[0] == of[1]) snprintf(text, sizeof text, "%.2f %%", 100 * of[0]);
        else snprintf(text, sizeof text, "%.2f to %.2f %%", 100 * of[0], 100 * of[1]);
        add_value(environment, names[i], text);
    }
}

static void note_pixels(double ends[4], const json_t *metrics) {
    static const char *const keys[] = {"saturated", "clipped"};
    for (int i = 0; i < 2; i++) {
        const json_t *share = json_member(metrics, "pixels", keys[i]);
        if (!json_is_number(share)) continue;
        ends[2 * i] = fmin(ends[2 * i], json_number_value(share)); /* of NAN and a number the number */
        ends[2 * i + 1] = fmax(ends[2 * i + 1], json_number_value(share));
    }
}

/* What other decoders of the job made of the run's latents: a run each. */
static int add_decoders(json_t **environment, const json_t *document, const char *folder, struct error *err) {
    const json_t *list = json_member(document, "job", "decode"), *decoder;
    size_t i;
    json_array_foreach(list, i, decoder) {
        const char *name = json_string_value(json_object_get(decoder, "name"));
        json_t *metrics = NULL, *other = NULL;
        char *dir = i > 0 && name ? text_new("decoded/%s", name) : NULL;
        int rc = dir ? collect_read(&metrics, folder, dir, "metrics.json", 0, err) : 0;
        if (dir && rc == 0) rc = collect_read(&other, folder, dir, "run.json", RUN_FORMAT, err);
        const json_t *fid = json_member(metrics, "metrics", "fid");
        const char *sha256 = json_string_value(json_object_get(json_member(other, "keys", "decode"), "sha256"));
        char number[48] = "";
        if (json_is_number(fid)) snprintf(number, sizeof number, ", FID %.4f", json_number_value(fid));
        char *text = dir && rc == 0 ? text_new("%s: %s%s", dir, sha256 ? sha256 : "not begun", number) : NULL;
        if (dir && rc == 0 && !text) rc = error_memory(err);
        add_value(environment, "other decoders", text);
        free(text);
        free(dir);
        json_decref(metrics);
        json_decref(other);
        if (rc != 0) return -1;
    }
    return 0;
}

static void add_environment(json_t **environment, const json_t *document, const json_t *metrics) {
    const json_t *host, *machine, *value;
    const char *name;
    size_t i;
    json_array_foreach(json_object_get(document, "hosts"), i, host) {
        add_value(environment, "host", json_string_value(json_object_get(host, "host")));
        add_value(environment, "device", json_string_value(json_object_get(host, "device")));
    }
    json_array_foreach(json_object_get(document, "made_with"), i, machine)
        add_value(environment, "made with", json_string_value(machine));
    json_object_foreach(json_object_get(document, "versions"), name, value)
        add_value(environment, name, json_string_value(value));
    add_value(environment, "model (sha256)",
              json_string_value(json_object_get(json_member(document, "keys", "model"), "sha256")));
    json_array_foreach(json_object_get(document, "warnings"), i, value)
        add_value(environment, "warning", json_string_value(value));
    add_value(environment, "precision", json_string_value(json_member(document, "keys", "precision")));
    add_value(environment, "network computes in", json_string_value(json_member(document, "card", "dtype")));
    if (json_is_true(json_object_get(json_member(document, "keys", "model"), "row_dependent")))
        add_value(environment, "model.row_dependent", "true: a sample depends on the others of its batch");
    const json_t *guidance = json_object_get(json_member(document, "keys", "sampler"), "guidance");
    add_value(environment, "scales of guidance by row (sha256)",
              json_string_value(json_member(guidance, "scale", "sha256")));
    add_value(environment, "decoder (sha256)",
              json_string_value(json_object_get(json_member(document, "keys", "decode"), "sha256")));
    add_value(environment, "latents kept as",
              json_string_value(json_object_get(json_member(document, "job", "output"), "latents")));
    json_object_foreach(json_object_get(document, "row_difference"), name, value) {
        char text[32];
        snprintf(text, sizeof text, "%.1e of the largest output", json_number_value(value));
        add_value(environment,
                  strcmp(name, "model") == 0     ? "model's row difference"
                  : strcmp(name, "guide") == 0   ? "guide's row difference"
                  : strcmp(name, "decoder") == 0 ? "decoder's row difference"
                                                 : "features' row difference",
                  text);
    }
    add_value(environment, "feature network (sha256)",
              json_string_value(json_object_get(json_member(metrics, "metrics", "network"), "sha256")));
    add_value(environment, "reference (sha256)",
              json_string_value(json_object_get(json_member(metrics, "metrics", "reference"), "sha256")));
    json_object_foreach((json_t *)json_member(metrics, "metrics", "networks"), name, value) {
        char title[NETWORK_NAME + 40];
        snprintf(title, sizeof title, "feature network %s (sha256)", name);
        add_value(environment, title, json_string_value(json_member(value, "network", "sha256")));
        snprintf(title, sizeof title, "reference of %s (sha256)", name);
        add_value(environment, title, json_string_value(json_member(value, "reference", "sha256")));
    }
}

/* See data_best; with which of its files a cell that has a row lacks. New. */
static json_t *evidence_of(const char *name, const json_t *document, const json_t *metrics) {
    json_t *record = data_evidence(document, metrics);
    if (!document || !metrics)
        json_map_add(&record, "gone",
                     json_sprintf(document  ? "%s/metrics.json is missing"
                                  : metrics ? "%s/run.json is missing"
                                            : "the folder %s is missing or empty",
                                  name));
    return record;
}

/* Looks into every cell's folder. evidence: see data_best. first: the first cell's run.json (borrowed by evidence). */
static int look_into_cells(json_t *data, json_t **subject, json_t **environment, json_t **evidence, json_t **first,
                           struct error *err) {
    json_t *stale = json_array(), *changed = json_array();
    const char *dir = json_string_value(json_object_get(data, "dir"));
    const json_t *cell;
    double pixels[] = {NAN, NAN, NAN, NAN};
    size_t i;
    int rc = 0;
    json_array_foreach(json_object_get(data, "cells"), i, cell) {
        const char *name = json_string_value(json_object_get(cell, "cell"));
        const char *same = json_string_value(json_object_get(cell, "same_as")), *made = same ? same : name;
        json_t *document = NULL, *metrics = NULL;
        if (rc == 0) rc = collect_read(&document, dir, made, "run.json", RUN_FORMAT, err);
        if (rc == 0) rc = collect_read(&metrics, dir, made, "metrics.json", 0, err);
        if (rc != 0) break;
        bool other = data_stale(cell, metrics); /* than the row's */
        add_environment(environment, document, other ? NULL : metrics);
        about_add(subject, document, other ? NULL : metrics);
        char *folder = path_join(dir, made);
        rc = folder ? add_decoders(environment, document, folder, err) : error_memory(err);
        free(folder);
        note_pixels(pixels, metrics);
        json_map_add(evidence, name, evidence_of(made, document, metrics));
        struct error unfinished;
        if (metrics && about_check_whole(document, metrics, made, &unfinished) != 0)
            log_warn("%s: %s", dir, unfinished.message);
        bool edited = !same && result_is_changed(metrics);
        if (edited || other) json_list_add(edited ? &changed : &stale, json_string(name));
        if (!*first) *first = json_incref(document);
        json_decref(document);
        json_decref(metrics);
    }
    add_pixels(environment, pixels);
    bool whole = json_object_set_new(data, "stale", stale) == 0;
    whole = json_object_set_new(data, "changed", changed) == 0 && whole && *evidence;
    return rc == 0 && !whole ? error_memory(err) : rc;
}

static void append(json_t **commands, struct text *command) {
    json_list_add(commands, command->failed ? NULL : json_string(command->data));
    text_release(command);
}

/* New: how the set was made, where that is known, and this report. A run's run.json is its job. */
static json_t *commands_of(const json_t *data, const json_t *sweep, const json_t *document) {
    json_t *commands = json_array();
    const json_t *override;
    const char *dir = json_string_value(json_object_get(data, "dir")),
               *job = json_string_value(json_member(sweep, "job", "path"));
    bool single = strcmp(json_string_value(json_object_get(data, "kind")), "run") == 0;
    char *made_by = job ? strdup(job) : single ? path_join(dir, "run.json") : NULL;
    size_t ranks = json_array_size(json_object_get(document, "hosts")), i;
    struct text command = {0};
    if (json_string_value(json_member(sweep, "job", "directory"))) {
        text_add(&command, "cd");
        text_add_word(&command, json_string_value(json_member(sweep, "job", "directory")));
        append(&commands, &command);
    }
    if (job || single) {
        if (ranks > 1) text_add(&command, "mpirun -n %zu ", ranks);
        text_add(&command, "qtaylor run");
        text_add_word(&command, made_by ? made_by : "");
        command.failed |= !made_by;
        json_array_foreach(json_member(sweep, "job", "overrides"), i, override) {
            text_add_word(&command, "--set");
            text_add_word(&command, json_string_value(override) ? json_string_value(override) : "?");
        }
        append(&commands, &command);
    }
    free(made_by);
    text_add(&command, "qtaylor report");
    text_add_word(&command, dir);
    append(&commands, &command);
    return commands;
}

/* The job file's text; of a single run the resolved job, which is a job file too (JSON is YAML). */
static json_t *job_text(const json_t *sweep, const json_t *document) {
    const json_t *text = json_member(sweep, "job", "text");
    if (text) return json_incref((json_t *)text);
    const json_t *job = json_object_get(document, "job");
    if (sweep || !json_is_object(job)) return json_string(""); /* none, or an edited one */
    char *resolved = json_text(job, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_t *string = json_string(resolved);
    free(resolved);
    return string;
}

static int derive(json_t *data, const json_t *sweep, struct error *err) {
    json_t *environment = json_object(), *evidence = json_object(), *subject = json_object(), *document = NULL;
    char *date = about_date(json_string_value(json_object_get(data, "dir")));
    int rc = date ? look_into_cells(data, &subject, &environment, &evidence, &document, err) : error_memory(err);
    json_t *name = json_object_get(document, "name");
    if (rc == 0 &&
        (data_leave_out_others(data, evidence) != 0 ||
         json_object_set(data, "name", name ? name : json_object_get(data, "dir")) != 0 ||
         json_object_set_new(data, "series", data_series(data)) != 0 ||
         json_object_set_new(data, "metrics", chart_metrics(data)) != 0 ||
         json_object_set_new(data, "metric", data_metric(data)) != 0 ||
         json_object_set_new(data, "best", data_best(data, evidence)) != 0 ||
         json_object_set_new(data, "pareto", data_pareto(data, err)) != 0 ||
         json_object_set(data, "subject", subject) != 0 || json_object_set_new(data, "date", json_string(date)) != 0 ||
         json_object_set(data, "environment", environment) != 0 ||
         json_object_set_new(data, "commands", commands_of(data, sweep, document)) != 0 ||
         json_object_set_new(data, "job", job_text(sweep, document)) != 0))
        rc = error_memory(err);
    json_decref(document);
    json_decref(environment);
    json_decref(evidence);
    json_decref(subject);
    free(date);
    return rc;
}

/* What the rest takes for granted of a results.json, which may have been edited. */
static int check_results(const json_t *results, const char *dir, struct error *err) {
    const json_t *columns = json_object_get(results, "columns"), *cells = json_object_get(results, "cells"), *one;
    size_t i;
    bool good = json_is_array(columns) && json_is_array(cells);
    json_array_foreach(columns, i, one) good = good && json_is_string(one);
    json_array_foreach(cells, i, one) good = good && json_is_string(json_object_get(one, "cell"));
    return good ? 0
                : error_set(err, CODE_DATA,
                            "%s/results.json: expected columns, which are names, and cells with their names", dir);
}

int collect_data(json_t **data, const char *dir, struct error *err) {
    json_t *results = NULL, *sweep = NULL, *race = NULL;
    *data = NULL;
    int rc = path_check_utf8(dir, err);
    if (rc == 0) rc = collect_read(&results, dir, ".", "results.json", 0, err);
    if (rc == 0) rc = collect_read(&sweep, dir, ".", "sweep.json", SWEEP_FORMAT, err);
    if (rc == 0 && sweep) rc = collect_read(&race, dir, ".", "race.json", 0, err);
    if (rc == 0 && race && !race_is_record(race)) rc = error_set(err, CODE_DATA, "%s/race.json " RACE_UNREADABLE, dir);
    bool single = rc == 0 && !results && !sweep;
    bool begun = false;
    if (single) rc = folder_has(dir, "run.json", &begun, err);
    if (rc == 0 && single && !begun)
        rc = error_set(err, CODE_DATA,
                       "%s is neither a sweep nor a run: it has no results.json, sweep.json or run.json (several runs "
                       "on one page are a sweep: `sweep:` in the job)",
                       dir);
    if (rc == 0 && single) rc = collect_run(&results, dir, err);
    if (rc == 0 && results) rc = check_results(results, dir, err);
    const json_t *columns = json_object_get(results, "columns"), *cells = json_object_get(results, "cells");
    json_t *missing = json_array(), *unlisted = json_array();
    if (rc == 0) rc = find_missing(&missing, &unlisted, dir, sweep, cells, err);
    if (rc == 0 && json_array_size(cells) == 0) rc = refuse_empty(dir, results, race, unlisted, err);
    if (rc == 0)
        *data = json_pack("{s:s, s:s, s:O, s:O, s:o, s:O, s:O, s:O*}", "kind", single ? "run" : "sweep", "dir", dir,
                          "columns", columns, "cells", cells, "keys", sweep_keys(sweep, columns), "missing", missing,
                          "unlisted", unlisted, "race", race);
    if (rc == 0) rc = *data ? derive(*data, sweep, err) : error_memory(err);
    if (rc != 0) {
        json_decref(*data);
        *data = NULL;
    }
    json_decref(missing);
    json_decref(unlisted);
    json_decref(results);
    json_decref(sweep);
    json_decref(race);
    return rc;
}
