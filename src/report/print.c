/* The report in a terminal. */
#include "base/text.h"
#include "report/chart.h"
#include "report/data.h"
#include "report/race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MOST = 29, WIDTH = 80, INDENT = 11, COUNT_WIDTH = 8 };

static int letters(const char *text) {
    int count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void add_number(struct text *out, int width, const char *format, double value) {
    char number[40] = "-";
    if (isfinite(value)) snprintf(number, sizeof number, format, value);
    text_add(out, " %*s", width, number);
}

/* What stands in the table of the cells: the number as it is, the one without its bias, and the error of that. */
struct shown {
    char raw[CHART_COLUMN], corrected[CHART_COLUMN], error[CHART_COLUMN];
    bool has_corrected, has_error;
    bool counts; /* how many samples it is of, where these are not all, or not the same for all cells */
};

static void choose(struct shown *shown, const json_t *data, const char *metric) {
    int length = (int)strlen(metric) - (text_ends_in(metric, "_corrected") ? (int)strlen("_corrected") : 0);
    snprintf(shown->raw, sizeof shown->raw, "%.*s", length, metric);
    chart_corrected(data, shown->raw, shown->corrected);
    shown->has_corrected = strcmp(shown->raw, shown->corrected) != 0;
    shown->has_error = chart_error(data, shown->corrected, shown->error);
    double fewest, most;
    shown->counts = data_counts(data, &fewest, &most) || fewest < most;
}

static void print_head(const struct shown *shown, int width, struct text *out) {
    size_t network;
    const char *title = chart_title(shown->raw, &network);
    if (network) text_add(out, "%s of %.*s\n", title, (int)network - 1, shown->raw);
    text_add(out, "%-*s %6s %9s", width, "cell", "NFE", "ms/sample");
    if (shown->counts) text_add(out, " %*s", COUNT_WIDTH, "samples");
    text_add(out, " %12s", shown->raw + network);
    if (shown->has_corrected) text_add(out, " %10s", "corrected");
    if (shown->has_error) text_add(out, " %9s", text_ends_in(shown->error, "_std") ? "+- std" : "+- error");
    text_add(out, "\n");
}

/* A name too long for its column has a line of its own. */
static void print_cells(const json_t *data, const char *metric, struct text *out) {
    const json_t *cells = json_object_get(data, "cells"), *cell;
    struct shown shown;
    choose(&shown, data, metric);
    int width = 4, most = shown.counts ? NAME_MOST - 1 - COUNT_WIDTH : NAME_MOST;
    size_t i;
    json_array_foreach(cells, i, cell) {
        int length = letters(json_string_value(json_object_get(cell, "cell")));
        if (length > width && length <= most) width = length;
    }
    print_head(&shown, width, out);
    json_array_foreach(cells, i, cell) {
        const char *name = json_string_value(json_object_get(cell, "cell"));
        int length = letters(name);
        text_add(out, length > most ? "%s\n%*s" : "%s%*s", name, length > most ? width : width - length, "");
        add_number(out, 6, "%.4g", data_number(cell, "nfe"));
        add_number(out, 9, "%.4g", data_time(cell));
        if (shown.counts) add_number(out, COUNT_WIDTH, "%.0f", data_evaluated(cell));
        add_number(out, 12, "%.5g", data_number(cell, shown.raw));
        if (shown.has_corrected) add_number(out, 10, "%.5g", data_number(cell, shown.corrected));
        if (shown.has_error) add_number(out, 9, "%.2g", data_number(cell, shown.error));
        text_add(out, "\n");
    }
}

/* Words in lines of WIDTH columns, the first one continued at INDENT. */
static void print_wrapped(const char *words, struct text *out) {
    int column = INDENT;
    while (*words) {
        size_t length = strcspn(words, " ");
        char *word = text_new("%.*s", (int)length, words);
        int width = word ? letters(word) : 0;
        if (column > INDENT && column + 1 + width > WIDTH) {
            text_add(out, "\n%*s", INDENT, "");
            column = INDENT;
        }
        text_add(out, column > INDENT ? " %s" : "%s", word ? word : "");
        column += width + (column > INDENT);
        out->failed |= !word;
        free(word);
        words += length + (words[length] != '\0');
    }
    text_add(out, "\n");
}

static int print_best(const json_t *data, struct text *out) {
    const json_t *record;
    size_t i;
    int failed = 0;
    const char *last = NULL;
    json_array_foreach(json_object_get(data, "best"), i, record) {
        struct text best = {0}, second = {0};
        best_words(record, "+-", &best, &second);
        const char *column = json_string_value(json_object_get(record, "metric"));
        size_t network;
        chart_title(column, &network);
        if (network && (i == 0 || strcmp(column, last) != 0)) text_add(out, "%.*s:\n", (int)network - 1, column);
        last = column;
        text_add(out, "NFE %-6.4g ", data_number(record, "nfe"));
        print_wrapped(best.data ? best.data : "", out);
        if (second.length) text_add(out, "%*s", INDENT, "");
        if (second.length) print_wrapped(second.data, out);
        failed |= best.failed | second.failed;
        text_release(&best);
        text_release(&second);
    }
    return failed;
}

static void print_warning(const json_t *cells, const char *words, struct text *out) {
    char *line = text_new("%zu %s", json_array_size(cells), words);
    out->failed |= !line;
    if (line && json_array_size(cells) > 0) {
        print_wrapped(line, out);
        text_add(out, "\n");
    }
    free(line);
}

int data_print(const json_t *data, const char *metric, struct text *out, struct error *err) {
    struct chart chart;
    bool sweep = strcmp(json_string_value(json_object_get(data, "kind")), "sweep") == 0;
    print_warning(json_object_get(data, "missing"), DATA_MISSING, out);
    print_warning(json_object_get(data, "left_out"), DATA_LEFT_OUT, out);
    print_warning(json_object_get(data, "stale"), DATA_STALE, out);
    print_warning(json_object_get(data, "unlisted"), DATA_UNLISTED, out);
    print_warning(json_object_get(data, "changed"), DATA_CHANGED, out);
    if (sweep) {
        if (chart_make(&chart, data, metric, CHART_NFE, err) != 0) return -1;
        if (chart.upright) text_add(out, "all cells are of one NFE, over which there is nothing to plot\n");
        else if (chart.points > 0) chart_print(&chart, out);
        if (chart.points > 0) text_add(out, "\n");
        chart_release(&chart);
    }
    print_cells(data, metric, out);
    if (sweep && json_array_size(json_object_get(data, "best")) > 0) {
        text_add(out, "\nbest at each NFE: the lowest, a series by its cell of the largest NFE up to it;\n"
                      "the difference to the next one is paired by seeds\n"
                      "p: two-sided, Student's t, corrected after Holm for all comparisons made here\n");
        if (print_best(data, out)) return error_memory(err);
    }
    if (json_object_get(data, "race")) race_print(data, out);
    return out->failed ? error_memory(err) : 0;
}
