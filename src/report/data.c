/* Numbers and series out of a report's data. */
#include "report/data.h"

#include "base/text.h"
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

/* "tuned" of DIR/tuned-nfe5.json at NFE 5: such files are one method's tables. New; NULL: it is no such cell. */
static char *table_name(const json_t *cell) {
    const char *path = json_string_value(json_object_get(cell, "table")), *slash = path ? strrchr(path, '/') : NULL;
    if (!path || !is_table(cell)) return NULL;
    char *name = strdup(slash ? slash + 1 : path), end[32];
    snprintf(end, sizeof end, "-nfe%lld.json", (long long)json_integer_value(json_object_get(cell, "nfe")));
    size_t length = name ? strlen(name) : 0, tail = strlen(end);
    if (length > tail && strcmp(name + length - tail, end) == 0) {
        name[length - tail] = '\0';
        return name;
    }
    free(name);
    return NULL;
}

/* "taylor, order=2": new. */
static char *series_name(const json_t *keys, const json_t *cells, const json_t *cell) {
    struct text name = {0};
    const json_t *known, *solver = json_object_get(cell, "solver");
    size_t i;
    bool solvers = differs(cells, "solver");
    char *table = table_name(cell);
    if (table) text_add(&name, "%s", table);
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
        if (!mine) {
            mine = json_pack("{s:s?, s:[]}", "name", name, "cells");
            json_array_append_new(series, mine);
        }
        free(name);
        if (json_array_append_new(json_object_get(mine, "cells"), json_integer((json_int_t)i)) != 0) {
            json_decref(series);
            return NULL;
        }
    }
    return series;
}

json_t *data_metric(const json_t *data) {
    json_t *columns = chart_metrics(data), *first = json_incref(json_array_get(columns, 0));
    json_decref(columns);
    return first ? first : json_string("fid");
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
            if (chart.lines[i].points[k].front)
                json_array_append_new(front, json_string(chart.lines[i].points[k].cell));
    chart_release(&chart);
    return front;
}
