/* The report in a terminal. */
#include "report/chart.h"
#include "report/data.h"
#include "report/race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MOST = 38, WIDTH = 80, INDENT = 11 };

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

/* A name too long for its column has a line of its own. */
static void print_cells(const json_t *data, struct text *out) {
    const json_t *cells = json_object_get(data, "cells"), *cell;
    int width = 4;
    size_t i;
    json_array_foreach(cells, i, cell) {
        int length = letters(json_string_value(json_object_get(cell, "cell")));
        if (length > width && length <= NAME_MOST) width = length;
    }
    const char *column = json_string_value(json_object_get(data, "metric"));
    char error[128];
    size_t network;
    chart_title(column, &network);
    snprintf(error, sizeof error, "%s_error", column);
    if (network) text_add(out, "FID of %.*s\n", (int)network - 1, column);
    text_add(out, "%-*s %6s %9s %10s %11s\n", width, "cell", "NFE", "ms/sample", "FID", "+- error");
    json_array_foreach(cells, i, cell) {
        const char *name = json_string_value(json_object_get(cell, "cell"));
        int length = letters(name);
        text_add(out, length > NAME_MOST ? "%s\n%*s" : "%s%*s", name, length > NAME_MOST ? width : width - length, "");
        add_number(out, 6, "%.4g", data_number(cell, "nfe"));
        add_number(out, 9, "%.4g", data_time(cell));
        add_number(out, 10, "%.5g", data_number(cell, column));
        add_number(out, 11, "%.2g", data_number(cell, error));
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

int data_print(const json_t *data, const char *metric, struct text *out, struct error *err) {
    struct chart chart;
    size_t missing = json_array_size(json_object_get(data, "missing"));
    bool sweep = strcmp(json_string_value(json_object_get(data, "kind")), "sweep") == 0;
    if (missing) text_add(out, "%zu cells of this sweep are not finished: run it again\n\n", missing);
    if (sweep) {
        if (chart_make(&chart, data, metric, CHART_NFE, err) != 0) return -1;
        if (chart.points > 0) chart_print(&chart, out);
        if (chart.points > 0) text_add(out, "\n");
        chart_release(&chart);
    }
    print_cells(data, out);
    if (sweep && json_array_size(json_object_get(data, "best")) > 0) {
        text_add(out, "\nbest at each NFE: the lowest; the difference to the next one is paired by seeds\n"
                      "p: two-sided, Student's t, corrected after Holm for all comparisons made here\n");
        if (print_best(data, out)) return error_memory(err);
    }
    if (json_object_get(data, "race")) race_print(data, out);
    return out->failed ? error_memory(err) : 0;
}
