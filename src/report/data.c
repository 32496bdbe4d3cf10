/* Numbers and series out of a report's data. */
#include "report/data.h"

#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"
#include "job/job.h"
#include "report/chart.h"
#include "report/markup.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double data_number(const json_t *cell, const char *column) {
    const json_t *value = json_object_get(cell, column);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

double data_time(const json_t *cell) {
    double model = data_number(cell, "model_seconds"), rate = data_number(cell, "samples_per_second");
    double made = rate *
                  data_number(cell, "seconds"); /* of the samples that were timed: not all, after an interruption */
    if (model > 0 && made > 0) return 1000 * model / made;
    return rate > 0 ? 1000 / rate : NAN;
}

double data_evaluated(const json_t *cell) {
    double evaluated = data_number(cell, "evaluated");
    return isnan(evaluated) ? data_number(cell, "samples") : evaluated;
}

bool data_counts(const json_t *data, double *fewest, double *most) {
    const json_t *cell;
    size_t i;
    bool part = false;
    *fewest = *most = NAN;
    json_array_foreach(json_object_get(data, "cells"), i, cell) {
        *fewest = fmin(*fewest, data_evaluated(cell)); /* of NAN and a number the number */
        *most = fmax(*most, data_evaluated(cell));
        part |= json_object_get(cell, "evaluated") != NULL;
    }
    return part;
}

bool data_stale(const json_t *cell, const json_t *metrics) {
    const char *name;
    const json_t *value;
    const json_t *samples = json_object_get(metrics, "samples");
    if (json_is_integer(samples) && data_number(cell, "samples") != json_number_value(samples)) return true;
    json_object_foreach(json_object_get(metrics, "metrics"), name, value) {
        bool count = strcmp(name, "samples") == 0;
        double here = count ? data_evaluated(cell) : data_number(cell, name);
        if (json_is_number(value) && here != json_number_value(value)) return true;
    }
    return false;
}

/* What differences depend on besides the samples: files of evaluate's, by their sha256. */
static const char *const files[] = {"reference", "network", "validation", "text"};
enum { FILES = sizeof files / sizeof *files };

/* What there is of it; takes no reference. */
static void note(json_t **record, const char *key, json_t *value) {
    if (value) json_map_add(record, key, json_incref(value));
}

json_t *data_evidence(const json_t *document, const json_t *metrics) {
    json_t *record = json_object(), *values = json_object_get(metrics, "metrics"),
           *inputs = json_object_get(metrics, "inputs"), *value;
    const char *name;
    char metric[128];
    json_object_foreach(values, name, value) {
        if (!text_ends_in(name, "_without")) continue;
        snprintf(metric, sizeof metric, "%.*s", (int)(strlen(name) - strlen("_without")), name);
        note(&record, name, value);
        note(&record, metric, json_object_get(values, metric));
    }
    note(&record, "evaluated", json_object_get(values, "samples"));
    note(&record, "seeds", json_member(document, "job", "seeds"));
    for (int i = 0; i < FILES; i++) { /* of several networks an object by their names */
        json_t *all = json_object_get(inputs, files[i]), *one = json_object_get(values, files[i]);
        note(&record, files[i], all ? all : json_object_get(one, "sha256"));
    }
    return record;
}

/* Are two cells' metrics of one reference, network...? Where one has none: yes. */
static bool comparable(const json_t *a, const json_t *b) {
    for (int i = 0; i < FILES; i++) {
        const json_t *mine = json_object_get(a, files[i]), *theirs = json_object_get(b, files[i]);
        if (mine && theirs && !json_equal(mine, theirs)) return false;
    }
    return true;
}

/* Its metrics.json tells of another evaluation than its row, which stands among those of the results. */
static bool is_stale(const json_t *data, const json_t *name) {
    const json_t *stale;
    size_t i;
    json_array_foreach(json_object_get(data, "stale"), i, stale) if (json_equal(stale, name)) return true;
    return false;
}

static void warn(const json_t *data, const char *list, const char *words) {
    size_t count = json_array_size(json_object_get(data, list));
    if (count > 0) log_warn("%s: %zu %s", json_string_value(json_object_get(data, "dir")), count, words);
}

int data_leave_out_others(json_t *data, const json_t *evidence) {
    json_t *kept = json_array(), *left_out = json_array(), *cell, *key;
    const json_t *first = NULL;
    size_t i;
    bool swept = false;
    json_array_foreach(json_object_get(data, "keys"), i, key) { /* a key of evaluate's, by its last word or whole */
        const char *word = json_string_value(key);
        swept |= strncmp(word, "evaluate", 8) == 0 || strcmp(word, "features") == 0;
        for (int k = 0; k < EVALUATED_FILES; k++) swept |= strcmp(word, evaluated_file_names[k]) == 0;
    }
    json_array_foreach(json_object_get(data, "cells"), i, cell) {
        json_t *name = json_object_get(cell, "cell");
        const json_t *record = json_object_get(evidence, json_string_value(name));
        bool stale = is_stale(data, name);
        if (!first && !stale && json_object_get(record, "reference")) first = record;
        bool fits = swept || stale || !first || comparable(first, record);
        json_list_add(fits ? &kept : &left_out, json_incref(fits ? cell : name));
    }
    int rc = json_object_set_new(data, "cells", kept) | json_object_set_new(data, "left_out", left_out);
    warn(data, "left_out", DATA_LEFT_OUT);
    warn(data, "stale", DATA_STALE);
    warn(data, "unlisted", DATA_UNLISTED);
    warn(data, "changed", DATA_CHANGED);
    return rc;
}

/* Keys that spend more or less on the same method: the points of one line. */
static bool is_budget(const char *key) {
    return strcmp(key, "nfe") == 0 || strcmp(key, "steps") == 0 || strcmp(key, "rtol") == 0;
}

static bool is_table(const json_t *cell) {
    const char *solver = json_string_value(json_object_get(cell, "solver"));
    return solver && strcmp(solver, "table") == 0;
}

/* Does a key tell the cells apart? Tables take part with what they are alone: grids, orders and ends are theirs. */
static bool differs(const json_t *cells, const char *key) {
    bool own = strcmp(key, "solver") == 0 || strcmp(key, "table") == 0, any = false;
    const json_t *first = NULL, *cell;
    size_t i;
    json_array_foreach(cells, i, cell) {
        const json_t *value = json_object_get(cell, key);
        if (!own && !value && is_table(cell)) continue;
        if (any && value != first && !(value && first && json_equal(value, first))) return true;
        first = value;
        any = true;
    }
    return false;
}

/* "DIR/tuned" of DIR/tuned-nfe5.json at NFE 5: such files of a folder are one method's tables. New; NULL: it is no such
 * cell. */
static char *table_stem(const json_t *cell) {
    const char *path = json_string_value(json_object_get(cell, "table"));
    if (!path || !is_table(cell)) return NULL;
    char *stem = strdup(path), end[32];
    snprintf(end, sizeof end, "-nfe%lld.json", (long long)json_integer_value(json_object_get(cell, "nfe")));
    size_t length = stem ? strlen(stem) : 0, tail = strlen(end);
    if (length > tail && strcmp(stem + length - tail, end) == 0 && stem[length - tail - 1] != '/') {
        stem[length - tail] = '\0';
        return stem;
    }
    free(stem);
    return NULL;
}

/* Its last part, and as many of the folders before it as tell it from other cells' stems. Borrowed. */
static const char *table_name(const json_t *cells, const char *stem) {
    const char *name = stem + strlen(stem);
    for (bool alike = true; alike && name > stem;) {
        const json_t *cell;
        size_t i;
        while (name > stem && *--name == '/') {}
        while (name > stem && name[-1] != '/') name--;
        alike = false;
        json_array_foreach(cells, i, cell) {
            char *other = table_stem(cell);
            size_t length = other ? strlen(other) : 0, tail = strlen(name);
            alike |= length >= tail && strcmp(other + length - tail, name) == 0 && strcmp(other, stem) != 0 &&
                     (length == tail || other[length - tail - 1] == '/');
            free(other);
        }
    }
    return name;
}

/* "taylor, order=2": new. */
static char *series_name(const json_t *keys, const json_t *cells, const json_t *cell) {
    struct text name = {0};
    const json_t *known, *solver = json_object_get(cell, "solver");
    size_t i;
    bool solvers = differs(cells, "solver");
    char *table = table_stem(cell);
    if (table) text_add(&name, "%s", table_name(cells, table));
    else if (solvers) text_add(&name, "%s", json_string_value(solver) ? json_string_value(solver) : "?");
    json_array_foreach(keys, i, known) {
        const char *key = json_string_value(known);
        const json_t *value = json_object_get(cell, key);
        if (!value || strcmp(key, "solver") == 0 || is_budget(key) || !differs(cells, key)) continue;
        if (table && strcmp(key, "table") == 0) continue;
        char *text = markup_value(value, 0);
        text_add(&name, "%s%s=%s", name.length ? ", " : "", key, text ? text : "");
        name.failed |= !text;
        free(text);
    }
    free(table);
    if (!name.length) text_add(&name, "%s", json_string_value(solver) ? json_string_value(solver) : "all");
    size_t capacity = name.failed ? 0 : TEXT_VISIBLE * name.length + 1;
    char *shown = capacity ? malloc(capacity) : NULL; /* it stands in lines of a terminal's text */
    if (shown) text_make_visible(shown, capacity, name.data, "");
    text_release(&name);
    return shown;
}

json_t *data_series(const json_t *data) {
    const json_t *keys = json_object_get(data, "keys"), *cells = json_object_get(data, "cells"), *cell;
    json_t *series = json_array(), *known;
    size_t i, k;
    json_array_foreach(cells, i, cell) {
        char *name = series_name(keys, cells, cell);
        json_t *mine = NULL;
        json_array_foreach(series, k, known) if (name && strcmp(json_string_value(json_object_get(known, "name")),
                                                                name) == 0) mine = known;
        if (!mine) json_list_add(&series, mine = json_pack("{s:s, s:[]}", "name", name, "cells"));
        free(name);
        if (!series || json_array_append_new(json_object_get(mine, "cells"), json_integer((json_int_t)i)) != 0) {
            json_decref(series);
            return NULL;
        }
    }
    return series;
}

json_t *data_metric(const json_t *data) {
    json_t *columns = chart_metrics(data), *first = json_incref(json_array_get(columns, 0));
    if (columns && !first) first = json_string("fid");
    json_decref(columns);
    return first;
}

json_t *data_pareto(const json_t *data, struct error *err) {
    struct chart chart;
    json_t *front = json_array();
    if (chart_make(&chart, data, json_string_value(json_object_get(data, "metric")), CHART_TIME, err) != 0) {
        json_decref(front);
        return NULL;
    }
    for (size_t i = 0; i < chart.count; i++)
        for (size_t k = 0; k < chart.lines[i].count; k++)
            if (chart.lines[i].points[k].front) json_list_add(&front, json_string(chart.lines[i].points[k].cell));
    chart_release(&chart);
    return front;
}
