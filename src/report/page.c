/* report.html: its sections, one function each. */
#include "report/page.h"

#include "report/about.h"
#include "report/chart.h"
#include "report/data.h"
#include "report/markup.h"
#include "report/race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *string(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static void element(struct text *out, const char *name, const char *content) {
    text_add(out, "<%s>", name);
    markup_add(out, content);
    text_add(out, "</%s>", name);
}

/* A row of a table for each name, with its values. */
static void add_lists(const json_t *lists, struct text *out) {
    const json_t *values, *value;
    const char *name;
    size_t i;
    json_object_foreach((json_t *)lists, name, values) {
        text_add(out, "<tr>");
        element(out, "th", name);
        text_add(out, "<td>");
        json_array_foreach(values, i, value) {
            markup_add(out, i ? "; " : "");
            markup_add(out, json_string_value(value));
        }
        text_add(out, "</td></tr>\n");
    }
}

/* Names in the order that a reader asks for them, and the command that made it all. */
static void add_subject(const json_t *data, struct text *out) {
    const json_t *commands = json_object_get(data, "commands"), *value;
    size_t i;
    text_add(out, "<table id=\"subject\"><tbody>\n");
    add_lists(json_object_get(data, "subject"), out);
    json_array_foreach(commands, i, value) {
        const char *command = json_string_value(value);
        if (!strstr(command, "qtaylor run")) continue;
        text_add(out, "<tr><th>command</th><td>");
        element(out, "code", command);
        text_add(out, "</td></tr>\n");
    }
    text_add(out, "</tbody></table>\n");
}

/* The words of the table that do not speak for themselves. */
static void add_terms(const json_t *data, struct text *out) {
    const json_t *column;
    size_t i;
    text_add(out, "<section id=\"terms\">\n<h2>Terms</h2>\n<dl>\n");
    json_array_foreach(json_object_get(data, "columns"), i, column) {
        const char *line = about_term(json_string_value(column));
        if (!line) continue;
        element(out, "dt", json_string_value(column));
        element(out, "dd", line);
        text_add(out, "\n");
    }
    text_add(out, "</dl>\n</section>\n");
}

static void add_warning(const json_t *cells, const char *words, struct text *out) {
    const json_t *name;
    size_t i, count = json_array_size(cells);
    if (count == 0) return;
    text_add(out, "<details class=\"warning\"><summary>%zu %s</summary><p>", count, words);
    json_array_foreach(cells, i, name) {
        markup_add(out, i ? ", " : "");
        markup_add(out, json_string_value(name));
    }
    text_add(out, "</p></details>\n");
}

static void add_head(const json_t *data, bool sweep, struct text *out) {
    const json_t *cells = json_object_get(data, "cells"), *cell;
    size_t i;
    text_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n");
    element(out, "title", string(data, "name"));
    text_add(out, "\n<style>\n%s%s</style>\n</head>\n<body>\n<main>\n", chart_css, page_css);
    element(out, "h1", string(data, "name"));
    text_add(out, "\n<p class=\"about\">");
    if (sweep) text_add(out, "%zu cells; ", json_array_size(cells));
    double fewest = INFINITY, most = -INFINITY;
    json_array_foreach(cells, i, cell) {
        fewest = fmin(fewest, data_number(cell, "samples"));
        most = fmax(most, data_number(cell, "samples"));
    }
    if (fewest < most) text_add(out, "%.0f to ", fewest);
    if (fewest <= most) text_add(out, "%.0f samples%s", most, sweep ? " each" : "");
    bool known = fewest <= most, part = data_counts(data, &fewest, &most);
    if (part) text_add(out, fewest < most ? ", evaluated by the first %.0f to " : ", evaluated by the first ", fewest);
    if (part) text_add(out, "%.0f", most);
    if (part || known) text_add(out, "; ");
    element(out, "code", string(data, "dir"));
    if (*string(data, "date")) text_add(out, "; %s", string(data, "date"));
    text_add(out, "</p>\n");
    add_subject(data, out);
    add_warning(json_object_get(data, "missing"), DATA_MISSING, out);
    add_warning(json_object_get(data, "left_out"), DATA_LEFT_OUT, out);
    add_warning(json_object_get(data, "stale"), DATA_STALE, out);
    add_warning(json_object_get(data, "unlisted"), DATA_UNLISTED, out);
    add_warning(json_object_get(data, "changed"), DATA_CHANGED, out);
}

static void add_best(const json_t *data, struct text *out) {
    const json_t *best = json_object_get(data, "best"), *record;
    size_t i;
    if (json_array_size(best) == 0) return;
    text_add(
        out,
        "<section id=\"best\">\n<h2>Best at each NFE</h2>\n<p>The lowest, each series with its cell of the "
        "largest NFE within the budget. The difference to the next one is paired by seeds, with the standard "
        "error of a delete-block jackknife, as <code>qtaylor compare --versus</code> computes it; beyond two of these "
        "errors one is called ahead of the other; p is that "
        "of Student's t with 19 degrees of freedom, two-sided and corrected after Holm for all the "
        "comparisons of this table.</p>\n"
        "<div class=\"scroll\"><table>\n<thead><tr>");
    size_t network;
    chart_title(string(json_array_get(best, 0), "metric"), &network);
    text_add(out, "%s<th class=\"n\">NFE</th><th>best</th><th>next</th></tr></thead>\n<tbody>\n",
             network ? "<th>network</th>" : "");
    json_array_foreach(best, i, record) {
        struct text first = {0}, second = {0};
        best_words(record, "\xc2\xb1", &first, &second);
        bool ahead = json_is_true(json_object_get(record, "ahead"));
        char name[CHART_COLUMN];
        text_add(out, "<tr class=\"%s\">", ahead ? "ahead" : "within");
        chart_title(string(record, "metric"), &network);
        snprintf(name, sizeof name, "%.*s", network ? (int)network - 1 : 0, string(record, "metric"));
        if (network) element(out, "td", name);
        text_add(out, "<td class=\"n\">%.4g</td>", data_number(record, "nfe"));
        element(out, ahead ? "th" : "td", first.data);
        element(out, "td", second.data);
        text_add(out, "</tr>\n");
        out->failed |= first.failed | second.failed;
        text_release(&first);
        text_release(&second);
    }
    text_add(out, "</tbody>\n</table></div>\n</section>\n");
}

static int add_charts(const json_t *data, const char *metric, struct text *out, struct error *err) {
    struct chart chart;
    text_add(out, "<div class=\"charts\" data-metric=\"");
    markup_add(out, metric);
    text_add(out, "\">\n");
    for (enum chart_over over = CHART_NFE; over <= CHART_TIME; over++) {
        if (chart_make(&chart, data, metric, over, err) != 0) return -1;
        if (over == CHART_NFE && chart.upright) {
            text_add(out, "<p>All cells are of one NFE, over which there is nothing to plot.</p>\n");
        } else if (chart.points > 0) {
            text_add(out, "<figure>\n");
            chart_svg(&chart, false, out);
            text_add(out, "<figcaption>");
            markup_add(out, chart.y.title);
            text_add(out, " over %s%s%s</figcaption>\n</figure>\n",
                     over == CHART_NFE ? "NFE"
                                       : "time, as each cell took it: beside other work, or on another machine, "
                                         "it takes more or less",
                     chart.bars ? "; bars: \xc2\xb1 one " : "", chart.bars ? chart.bars : "");
        }
        chart_release(&chart);
    }
    text_add(out, "</div>\n");
    return 0;
}

static int add_plots(const json_t *data, struct text *out, struct error *err) {
    const json_t *metrics = json_object_get(data, "metrics"), *metric;
    size_t i;
    if (json_array_size(metrics) == 0) return 0;
    text_add(out, "<section id=\"plots\">\n<h2>Plots</h2>\n");
    json_array_foreach(metrics, i, metric) if (add_charts(data, json_string_value(metric), out, err) != 0) return -1;
    text_add(out, "</section>\n");
    return 0;
}

/* One value of a cell: five digits to read, all of them behind. */
static void add_value(const json_t *value, struct text *out) {
    char *shown = markup_value(value, 5), *whole = markup_value(value, 0);
    if (json_is_real(value)) {
        text_add(out, "<td class=\"n\" data-value=\"%s\" title=\"%s\">%s</td>", whole ? whole : "", whole ? whole : "",
                 shown ? shown : "");
    } else {
        text_add(out, json_is_integer(value) ? "<td class=\"n\">" : "<td>");
        markup_add(out, shown);
        text_add(out, "</td>");
    }
    out->failed |= !shown || !whole;
    free(shown);
    free(whole);
}

static void add_table(const json_t *data, struct text *out) {
    const json_t *columns = json_object_get(data, "columns"), *cells = json_object_get(data, "cells"), *column, *cell;
    size_t i, k;
    text_add(out,
             "<section id=\"cells\">\n<h2>Cells</h2>\n<div class=\"scroll\"><table class=\"sortable\">\n<thead><tr>");
    json_array_foreach(columns, i, column) {
        bool number = json_is_number(json_object_get(json_array_get(cells, 0), json_string_value(column)));
        text_add(out, "<th%s title=\"", number ? " class=\"n\"" : "");
        markup_add(out, about_term(json_string_value(column)));
        text_add(out, "\">");
        markup_add(out, json_string_value(column));
        text_add(out, "</th>");
    }
    text_add(out, "</tr></thead>\n<tbody>\n");
    json_array_foreach(cells, i, cell) {
        text_add(out, "<tr>");
        json_array_foreach(columns, k, column) add_value(json_object_get(cell, json_string_value(column)), out);
        text_add(out, "</tr>\n");
    }
    text_add(out, "</tbody>\n</table></div>\n</section>\n");
}

/* A single run: a row a value. */
static void add_values(const json_t *data, struct text *out) {
    const json_t *column, *cell = json_array_get(json_object_get(data, "cells"), 0);
    size_t i;
    text_add(out, "<section id=\"cells\">\n<h2>Result</h2>\n<div class=\"scroll\"><table>\n<tbody>\n");
    json_array_foreach(json_object_get(data, "columns"), i, column) {
        if (strcmp(json_string_value(column), "cell") == 0) continue;
        text_add(out, "<tr>");
        element(out, "th", json_string_value(column));
        add_value(json_object_get(cell, json_string_value(column)), out);
        text_add(out, "</tr>\n");
    }
    text_add(out, "</tbody>\n</table></div>\n</section>\n");
}

static void add_pictures(const struct page_pictures *pictures, struct text *out) {
    if (pictures->count == 0 && !pictures->note) return;
    text_add(out, "<section id=\"samples\">\n<h2>Samples</h2>\n");
    if (pictures->note) element(out, "p", pictures->note);
    text_add(out, "<div class=\"strips\">\n");
    for (size_t i = 0; i < pictures->count; i++) {
        const struct page_picture *picture = &pictures->items[i];
        text_add(out, "<figure><figcaption>");
        markup_add(out, picture->cell);
        text_add(out, "</figcaption><img alt=\"");
        markup_add(out, picture->about);
        text_add(out, "\" title=\"");
        markup_add(out, picture->about);
        text_add(out, "\" src=\"");
        markup_image(out, picture->png, picture->size);
        text_add(out, "\"></figure>\n");
    }
    text_add(out, "</div>\n</section>\n");
}

static void add_foot(const json_t *data, struct text *out) {
    const json_t *value;
    size_t i;
    text_add(out, "<section id=\"environment\">\n<h2>Environment</h2>\n<div class=\"scroll\"><table>\n<tbody>\n");
    add_lists(json_object_get(data, "environment"), out);
    text_add(out, "</tbody>\n</table></div>\n</section>\n<section id=\"commands\">\n<h2>To reproduce</h2>\n");
    text_add(out, "<pre><code>");
    json_array_foreach(json_object_get(data, "commands"), i, value) {
        markup_add(out, json_string_value(value));
        text_add(out, "\n");
    }
    text_add(out, "</code></pre>\n<details><summary>%s</summary><pre><code>",
             strcmp(string(data, "kind"), "sweep") == 0 ? "The job file" : "The job, with every default");
    markup_add(out, string(data, "job"));
    text_add(out, "</code></pre></details>\n</section>\n</main>\n<script>\n%s</script>\n</body>\n</html>\n", page_js);
}

int page_make(const json_t *data, const struct page_pictures *pictures, struct text *out, struct error *err) {
    bool sweep = strcmp(string(data, "kind"), "sweep") == 0;
    add_head(data, sweep, out);
    if (sweep) {
        add_best(data, out);
        if (json_object_get(data, "race")) race_markup(data, out);
        if (add_plots(data, out, err) != 0) return -1;
        add_table(data, out);
    } else {
        add_values(data, out);
    }
    add_terms(data, out);
    add_pictures(pictures, out);
    add_foot(data, out);
    return out->failed ? error_memory(err) : 0;
}

void page_pictures_release(struct page_pictures *pictures) {
    for (size_t i = 0; i < pictures->count; i++) {
        free(pictures->items[i].cell);
        free(pictures->items[i].about);
        free(pictures->items[i].png);
    }
    free(pictures->items);
    free(pictures->note);
    *pictures = (struct page_pictures){0};
}
