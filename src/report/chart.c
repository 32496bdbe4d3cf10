/* A chart out of a report's data: which points, which axes, where the ticks are. */
#include "report/chart.h"

#include "report/data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AXIS_STEPS = 5 };                         /* about so many ticks where an axis is linear */
static const double huge = 1e100, tiny = 1e-100; /* what is beyond is no measurement, and would overflow */

static const struct metric { /* a column that can be plotted */
    const char *column, *title, *error;
    bool distance; /* the lower the better, and its axis is logarithmic */
} metrics[] = {
    {"fid_corrected", "FID, corrected for bias", "fid_error", true},
    {"fid", "FID", "fid_error", true},
    {"fid_infinity", "FID at infinity", NULL, true},
    {"sfid_corrected", "sFID, corrected for bias", "sfid_error", true},
    {"sfid", "sFID", "sfid_error", true},
    {"kid", "KID", "kid_std", true},
    {"kid_full_corrected", "KID over all pairs, corrected for bias", "kid_full_error", true},
    {"kid_full", "KID over all pairs", "kid_full_error", true},
    {"cmmd_corrected", "CMMD, corrected for bias", "cmmd_error", true},
    {"cmmd", "CMMD", "cmmd_error", true},
    {"mind_corrected", "MIND, corrected for bias", "mind_error", true},
    {"mind", "MIND", "mind_error", true},
    {"fdr_corrected", "FDr, corrected for bias", "fdr_error", true},
    {"fdr", "FDr", "fdr_error", true},
    {"fld", "FLD", NULL, true},
    {"clip-score", "CLIP score", "clip-score_error", false},
    {"vendi", "Vendi score", NULL, false},
    {"is", "Inception score", "is_std", false},
    {"precision", "precision", NULL, false},
    {"recall", "recall", NULL, false},
    {"density", "density", NULL, false},
    {"coverage", "coverage", NULL, false},
};
enum { METRICS = sizeof metrics / sizeof *metrics };

/* A metric of several networks is called NETWORK.METRIC; a metric's own name has no dot. */
static size_t network_of(const char *column) {
    const char *dot = strrchr(column, '.');
    return dot ? (size_t)(dot - column) + 1 : 0;
}

static const struct metric *find(const char *column) {
    column += network_of(column);
    for (size_t i = 0; i < METRICS; i++)
        if (strcmp(metrics[i].column, column) == 0) return &metrics[i];
    return NULL;
}

const char *chart_title(const char *column, size_t *network) {
    const struct metric *metric = find(column);
    *network = network_of(column);
    return metric ? metric->title : NULL;
}

bool chart_lower(const char *column) {
    const struct metric *metric = find(column);
    return metric && metric->distance;
}

void chart_corrected(const json_t *data, const char *column, char name[CHART_COLUMN]) {
    snprintf(name, CHART_COLUMN, "%s_corrected", column);
    if (!chart_has(data, name)) snprintf(name, CHART_COLUMN, "%s", column);
}

bool chart_error(const json_t *data, const char *column, char name[CHART_COLUMN]) {
    const struct metric *metric = find(column);
    chart_corrected(data, column, name);
    if (!metric || !metric->error || strcmp(name, column) != 0) return false;
    snprintf(name, CHART_COLUMN, "%.*s%s", (int)network_of(column), column, metric->error);
    return true;
}

bool chart_has(const json_t *data, const char *metric) {
    const json_t *cell;
    size_t i;
    if (!find(metric)) return false;
    json_array_foreach(json_object_get(data, "cells"), i, cell) if (isfinite(data_number(cell, metric))) return true;
    return false;
}

json_t *chart_metrics(const json_t *data) {
    json_t *list = json_array();
    const json_t *column;
    size_t k;
    for (size_t i = 0; list && i < METRICS; i++) json_array_foreach(json_object_get(data, "columns"), k, column) {
            const char *name = json_string_value(column);
            if (find(name) != &metrics[i] || !chart_has(data, name)) continue;
            if (json_array_append_new(list, json_string(name)) == 0) continue;
            json_decref(list);
            return NULL;
        }
    return list;
}

static int by_x(const void *a, const void *b) {
    const struct chart_point *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->y > q->y) - (p->y < q->y);
}

/* Is the cell the same as another one of its own series? */
static bool repeats(const json_t *cell, const json_t *members, const json_t *cells) {
    const char *same = json_string_value(json_object_get(cell, "same_as"));
    const json_t *number;
    size_t i;
    if (!same) return false;
    json_array_foreach(members, i, number) {
        const json_t *other = json_object_get(json_array_get(cells, (size_t)json_integer_value(number)), "cell");
        if (strcmp(same, json_string_value(other)) == 0) return true;
    }
    return false;
}

/* samples: [2], the fewest and the most that points are of. */
static int fill_line(struct chart *chart, struct chart_line *line, const json_t *series, const json_t *data,
                     const char *column, double samples[2]) {
    char error_column[CHART_COLUMN];
    bool bars = chart_error(data, column, error_column);
    const json_t *members = json_object_get(series, "cells"), *cells = json_object_get(data, "cells"), *number;
    size_t i;
    line->name = json_string_value(json_object_get(series, "name"));
    line->points = calloc(json_array_size(members) + 1, sizeof *line->points);
    if (!line->points) return -1;
    json_array_foreach(members, i, number) {
        const json_t *cell = json_array_get(cells, (size_t)json_integer_value(number));
        double x = chart->over == CHART_NFE ? data_number(cell, "nfe") : data_time(cell), y = data_number(cell, column);
        double error = bars ? data_number(cell, error_column) : NAN;
        if (!(x > tiny && x < huge && fabs(y) < huge) || repeats(cell, members, cells)) continue;
        line->points[line->count++] = (struct chart_point){.x = x,
                                                           .y = y,
                                                           .error = error > 0 && error < huge ? error : 0,
                                                           .cell = json_string_value(json_object_get(cell, "cell"))};
        samples[0] = fmin(samples[0], data_evaluated(cell)); /* of NAN and a number the number */
        samples[1] = fmax(samples[1], data_evaluated(cell));
        if (error > 0) chart->bars = text_ends_in(error_column, "_std") ? "standard deviation" : "standard error";
    }
    qsort(line->points, line->count, sizeof *line->points, by_x);
    chart->points += line->count;
    return 0;
}

/* Marks the points that no other one dominates. */
static void mark_front(struct chart *chart, bool lower) {
    double sign = lower ? 1 : -1;
    for (size_t a = 0; a < chart->count; a++)
        for (size_t i = 0; i < chart->lines[a].count; i++) {
            struct chart_point *mine = &chart->lines[a].points[i];
            mine->front = true;
            for (size_t b = 0; b < chart->count && mine->front; b++)
                for (size_t k = 0; k < chart->lines[b].count && mine->front; k++) {
                    const struct chart_point *other = &chart->lines[b].points[k];
                    double gain = sign * (mine->y - other->y);
                    mine->front = !((other->x <= mine->x && gain > 0) || (other->x < mine->x && gain >= 0));
                }
        }
}

static void widen(struct chart_axis *axis, double low, double high) {
    if (low < axis->low) axis->low = low;
    if (high > axis->high) axis->high = high;
}

void chart_fit(struct chart *chart) {
    chart->x = (struct chart_axis){chart->x.title, chart->x.log, INFINITY, -INFINITY};
    chart->y = (struct chart_axis){chart->y.title, chart->y.log, INFINITY, -INFINITY};
    for (size_t a = 0; a < chart->count; a++)
        for (size_t i = 0; i < chart->lines[a].count; i++) chart->y.log &= chart->lines[a].points[i].y > tiny;
    for (size_t a = 0; a < chart->count; a++)
        for (size_t i = 0; i < chart->lines[a].count; i++) {
            const struct chart_point *point = &chart->lines[a].points[i];
            double low = point->y - point->error;
            widen(&chart->x, point->x, point->x);
            widen(&chart->y, chart->y.log ? fmax(low, point->y / 2) : low, point->y + point->error);
        }
    struct chart_axis *axes[] = {&chart->x, &chart->y};
    for (int i = 0; i < 2; i++) {
        struct chart_axis *axis = axes[i];
        if (!(axis->low <= axis->high)) *axis = (struct chart_axis){axis->title, false, 0, 1};
        double room = axis->log ? log(axis->high / axis->low) : axis->high - axis->low;
        bool flat = room <= 1e-9 * (axis->log ? 1 : fabs(axis->high));
        if (i == 0) chart->upright = flat && chart->points > 1;
        room = flat ? (axis->log ? 0.5 : axis->high != 0 ? fabs(axis->high) / 2 : 1) : 0.05 * room;
        axis->low = axis->log ? axis->low * exp(-room) : axis->low - room;
        axis->high = axis->log ? axis->high * exp(room) : axis->high + room;
    }
}

int chart_make(struct chart *chart, const json_t *data, const char *column, enum chart_over over, struct error *err) {
    const struct metric *metric = find(column);
    const json_t *all = json_object_get(data, "series"), *cells = json_object_get(data, "cells"), *series, *cell;
    size_t i;
    double samples[2] = {NAN, NAN};
    *chart = (struct chart){.over = over};
    if (!metric) return error_set(err, CODE_USAGE, "%s is no metric that can be plotted", column);
    bool model = false;
    json_array_foreach(cells, i, cell) model |= data_number(cell, "model_seconds") > 0;
    chart->x.title = over == CHART_NFE ? "NFE (model evaluations a sample)"
                     : model           ? "time in the solver, ms a sample a worker"
                                       : "wall time, ms a sample";
    size_t network = network_of(column);
    chart->title = network ? text_new("%.*s: %s", (int)network - 1, column, metric->title) : strdup(metric->title);
    chart->y.title = chart->title;
    chart->lines = calloc(json_array_size(all) + 1, sizeof *chart->lines);
    bool whole = chart->lines && chart->title;
    json_array_foreach(all, i, series) if (whole)
        whole = fill_line(chart, &chart->lines[chart->count++], series, data, column, samples) == 0;
    bool mixed = samples[0] < samples[1];
    if (mixed) chart->note = text_new("points are of %.0f to %.0f samples", samples[0], samples[1]);
    if (!whole || (mixed && !chart->note)) {
        chart_release(chart);
        return error_memory(err);
    }
    if (over == CHART_TIME) mark_front(chart, metric->distance);
    chart->x.log = true;
    chart->y.log = metric->distance;
    chart_fit(chart);
    return 0;
}

void chart_release(struct chart *chart) {
    for (size_t i = 0; i < chart->count; i++) free(chart->lines[i].points);
    free(chart->lines);
    free(chart->title);
    free(chart->note);
    *chart = (struct chart){0};
}

double chart_place(const struct chart_axis *axis, double value) {
    if (!axis->log) return (value - axis->low) / (axis->high - axis->low);
    return value > 0 ? log(value / axis->low) / log(axis->high / axis->low) : 0;
}

static size_t linear_ticks(const struct chart_axis *axis, double ticks[CHART_TICKS]) {
    double rough = (axis->high - axis->low) / AXIS_STEPS, unit = pow(10, floor(log10(rough))), step = unit;
    if (rough > 1.5 * unit) step = 2 * unit;
    if (rough > 3 * unit) step = 5 * unit;
    if (rough > 7 * unit) step = 10 * unit;
    size_t count = 0;
    for (double k = ceil(axis->low / step); k * step <= axis->high && count < CHART_TICKS; k++)
        ticks[count++] = k * step;
    return count;
}

size_t chart_ticks(const struct chart_axis *axis, double ticks[CHART_TICKS]) {
    static const char *const multiples[] = {"1", "15", "125", "123456789"};
    size_t best = 0;
    /* The coarsest that gives four; a range too short for three is as good as linear. */
    for (size_t level = 0; axis->log && level < sizeof multiples / sizeof *multiples && best < 4; level++) {
        double found[CHART_TICKS];
        size_t count = 0;
        for (double k = floor(log10(axis->low)); k <= log10(axis->high) && count < CHART_TICKS; k++)
            for (const char *digit = multiples[level]; *digit && count < CHART_TICKS; digit++) {
                double value = (*digit - '0') * pow(10, k);
                if (value >= axis->low && value <= axis->high) found[count++] = value;
            }
        if (best >= 3 && count > 8) break;
        memcpy(ticks, found, count * sizeof *found);
        best = count;
    }
    return best >= 3 ? best : linear_ticks(axis, ticks);
}
