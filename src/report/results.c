/* A sweep's rows and columns, and their table as CSV and for the terminal. */
#include "report/results.h"

#include "base/draft.h"
#include "base/print.h"
#include "base/text.h"
#include "format/json_file.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* 0, or -1: out of memory. */
static int add_column(json_t *results, const char *column) {
    json_t *columns = json_object_get(results, "columns"), *known;
    size_t i;
    json_array_foreach(columns, i, known) if (strcmp(json_string_value(known), column) == 0) return 0;
    return json_array_append_new(columns, json_string(column));
}

json_t *results_new(const char *dir, const json_t *cells) {
    static const char *const common[] = {"solver", "nfe", "model_calls", "samples"};
    json_t *results = json_pack("{s:s, s:[s], s:[]}", "dir", dir, "columns", "cell", "cells"), *cell, *value;
    const char *key;
    size_t i;
    int failed = 0;
    json_array_foreach(cells, i, cell)
        json_object_foreach(json_object_get(cell, "values"), key, value) if (strcmp(key, "nfe") != 0)
            failed |= add_column(results, key);
    for (size_t k = 0; k < sizeof common / sizeof *common; k++) failed |= add_column(results, common[k]);
    if (!failed) return results;
    json_decref(results);
    return NULL;
}

/* No value: an empty field. */
static int set(json_t *results, json_t *row, const char *column, json_t *value) {
    return add_column(results, column) | (value ? json_object_set(row, column, value) : 0);
}

static const char *const timing[] = {"seconds", "samples_per_second", "model_seconds"};

int results_add(json_t *results, const char *cell, const json_t *values, const json_t *result, const char *same_as,
                struct error *err) {
    const json_t *generation = json_object_get(result, "generation");
    json_t *row = json_pack("{s:s}", "cell", cell), *value, *nfe = json_object_get(result, "nfe");
    const char *key;
    if (json_number_value(nfe) == 0) nfe = json_object_get(generation, "nfe"); /* adaptive: the mean over batches */
    int failed = 0;
    json_object_foreach((json_t *)values, key, value) if (strcmp(key, "nfe") != 0)
        failed |= set(results, row, key, value);
    failed |= set(results, row, "solver", json_object_get(result, "solver"));
    failed |= set(results, row, "nfe", nfe); /* the real one */
    failed |= set(results, row, "model_calls", json_object_get(result, "model_calls"));
    failed |= set(results, row, "samples", json_object_get(result, "samples"));
    json_t *evaluated = json_member(result, "metrics", "samples");
    if (evaluated && !json_equal(evaluated, json_object_get(result, "samples")))
        failed |= set(results, row, "evaluated", evaluated);
    json_object_foreach(json_object_get(result, "metrics"), key,
                        value) if (json_is_number(value) && strcmp(key, "samples") != 0)
        failed |= set(results, row, key, value);
    if (same_as) failed |= json_object_set_new(row, "same_as", json_string(same_as));
    for (size_t i = 0; i < sizeof timing / sizeof *timing; i++)
        if (json_object_get(generation, timing[i]))
            failed |= json_object_set(row, timing[i], json_object_get(generation, timing[i]));
    failed |= json_array_append_new(json_object_get(results, "cells"), row);
    return failed ? error_memory(err) : 0;
}

/* What a spreadsheet would take for a formula: behind a ' it is text (OWASP's "CSV Injection"). */
static bool is_formula(const char *text) {
    double number;
    return *text && strchr("=+-@\t\r", *text) && !text_to_double(text, &number);
}

/* A field of RFC 4180 as pandas reads it: quoted where it must be, empty where there is none. */
static void add_field(struct text *csv, const json_t *value, bool first) {
    char *text = NULL, *shown = NULL;
    if (json_is_string(value)) text = strdup(json_string_value(value));
    else if (value && !json_is_null(value))
        text = json_text(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    size_t capacity = text ? TEXT_VISIBLE * strlen(text) + 1 : 0;
    if (text && (shown = malloc(capacity))) text_make_visible(shown, capacity, text, "\n\r\t");
    csv->failed |= value && !json_is_null(value) && !shown;
    bool formula = shown && is_formula(shown), quoted = shown && strpbrk(shown, ",\"\r\n");
    text_add(csv, "%s%s%s", first ? "" : ",", quoted ? "\"" : "", formula ? "'" : "");
    for (const char *c = shown ? shown : ""; *c; c++) text_add(csv, quoted && *c == '"' ? "\"\"" : "%c", *c);
    if (quoted) text_add(csv, "\"");
    free(shown);
    free(text);
}

int results_write_csv(const json_t *results, const char *path, const struct file_guard *guard, struct error *err) {
    struct text csv = {0};
    json_t *column, *row, *columns = json_object_get(results, "columns");
    size_t i, k;
    json_array_foreach(columns, k, column) add_field(&csv, column, k == 0);
    text_add(&csv, "\n");
    json_array_foreach(json_object_get(results, "cells"), i, row) {
        json_array_foreach(columns, k, column) add_field(&csv, json_object_get(row, json_string_value(column)), k == 0);
        text_add(&csv, "\n");
    }
    int rc = csv.failed ? error_memory(err) : file_write_guarded(path, csv.data, csv.length, guard, err);
    text_release(&csv);
    return rc;
}

int results_end(json_t *results, struct error *err) {
    int failed = add_column(results, "same_as");
    for (size_t i = 0; i < sizeof timing / sizeof *timing; i++) failed |= add_column(results, timing[i]);
    return failed ? error_memory(err) : 0;
}

static bool is_last_column(const char *column) {
    bool last = strcmp(column, "same_as") == 0;
    for (size_t i = 0; i < sizeof timing / sizeof *timing; i++) last |= strcmp(column, timing[i]) == 0;
    return last;
}

int results_keep(json_t *results, const json_t *older, const char *cell, struct error *err) {
    json_t *row, *value;
    const char *key;
    size_t i;
    json_array_foreach(json_object_get(older, "cells"), i, row) {
        const char *name = json_string_value(json_object_get(row, "cell"));
        if (!name || strcmp(name, cell) != 0) continue;
        int failed = json_array_append(json_object_get(results, "cells"), row);
        json_object_foreach(row, key, value) if (!is_last_column(key)) failed |= add_column(results, key);
        return failed ? error_memory(err) : 0;
    }
    return 0;
}

/* The first column of a FID. */
static const char *fid_column(const json_t *results) {
    const json_t *column;
    size_t i;
    json_array_foreach(json_object_get(results, "columns"), i, column) {
        const char *name = json_string_value(column);
        if (text_ends_in(name, ".fid") || strcmp(name, "fid") == 0) return name;
    }
    return "fid";
}

void results_print(const json_t *results, FILE *out) {
    json_t *row;
    size_t i;
    int width = 4;
    json_array_foreach(json_object_get(results, "cells"), i, row) {
        int length = (int)strlen(json_string_value(json_object_get(row, "cell")));
        if (length > width) width = length;
    }
    const char *column = fid_column(results);
    size_t network = strlen(column) - strlen("fid");
    char error_column[128], corrected[128];
    snprintf(error_column, sizeof error_column, "%s_error", column);
    snprintf(corrected, sizeof corrected, "%s_corrected", column);
    if (network) print_line(out, "FID of %.*s", (int)network - 1, column);
    fprintf(out, "%-*s %6s %10s %8s %10s %18s\n", width, "cell", "NFE", "samples/s", "samples", "FID", "corrected");
    json_array_foreach(json_object_get(results, "cells"), i, row) {
        const json_t *fid = json_object_get(row, column), *error = json_object_get(row, error_column),
                     *evaluated = json_object_get(row, "evaluated");
        char more[2][40] = {"", ""};
        if (fid) snprintf(more[0], sizeof *more, " %10.4f", json_number_value(fid));
        if (error)
            snprintf(more[1], sizeof *more, " %8.4f +- %.4f", json_number_value(json_object_get(row, corrected)),
                     json_number_value(error));
        print_line(out, "%-*s %6g %10.1f %8lld%s%s", width, json_string_value(json_object_get(row, "cell")),
                   json_number_value(json_object_get(row, "nfe")),
                   json_number_value(json_object_get(row, "samples_per_second")),
                   (long long)json_integer_value(evaluated ? evaluated : json_object_get(row, "samples")), more[0],
                   more[1]);
    }
}

int results_check_names(const json_t *list, const char *path, struct error *err) {
    const json_t *cell;
    size_t i;
    json_array_foreach(list, i, cell) {
        const json_t *same_as = json_object_get(cell, "same_as");
        const char *text = json_string_value(json_object_get(cell, "cell")), *other = json_string_value(same_as);
        if (!text || !text_is_name(text) || (other ? !text_is_name(other) : same_as && !json_is_null(same_as)))
            return error_set(err, CODE_DATA, "%s: cell %zu: expected the names of folders in it, found \"%s\"%s%s",
                             path, i, text ? text : "", other ? ", same_as " : "", other ? other : "");
    }
    return 0;
}
