/* Which series wins at each NFE, and by how much against its error. */
#include "eval/precision.h"
#include "report/data.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct entry { /* a series in one budget */
    const char *series;
    const json_t *cell;
    double nfe, fid;
};

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The different NFEs of cells with a FID, ascending: new. */
static double *budgets(const json_t *cells, size_t *count) {
    double *all = malloc((json_array_size(cells) + 1) * sizeof *all);
    size_t n = 0;
    *count = 0;
    for (size_t i = 0; all && i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        double nfe = data_number(cell, "nfe");
        if (nfe > 0 && isfinite(data_number(cell, "fid"))) all[n++] = nfe;
    }
    if (all) qsort(all, n, sizeof *all, ascending);
    for (size_t i = 0; i < n; i++)
        if (*count == 0 || all[i] != all[*count - 1]) all[(*count)++] = all[i];
    return all;
}

/* A series' cell of the largest NFE within the budget; false: it has none. */
static bool enter(struct entry *entry, const json_t *series, const json_t *cells, double budget) {
    const json_t *number, *members = json_object_get(series, "cells");
    size_t i;
    *entry = (struct entry){.series = json_string_value(json_object_get(series, "name"))};
    json_array_foreach(members, i, number) {
        const json_t *cell = json_array_get(cells, (size_t)json_integer_value(number));
        double nfe = data_number(cell, "nfe"), fid = data_number(cell, "fid");
        if (!(nfe <= budget) || !isfinite(fid) || json_is_string(json_object_get(cell, "same_as"))) continue;
        if (entry->cell && (nfe < entry->nfe || (nfe == entry->nfe && fid >= entry->fid))) continue;
        entry->cell = cell;
        entry->nfe = nfe;
        entry->fid = fid;
    }
    return entry->cell != NULL;
}

static json_t *entry_json(const struct entry *entry) {
    if (!entry->cell) return json_null();
    return json_pack("{s:O, s:s, s:O, s:O}", "cell", json_object_get(entry->cell, "cell"), "series", entry->series,
                     "nfe", json_object_get(entry->cell, "nfe"), "fid", json_object_get(entry->cell, "fid"));
}

/* The FIDs without each block; false where there are none. */
static bool read_without(const json_t *evidence, double without[JACKKNIFE_BLOCKS]) {
    const json_t *list = json_object_get(evidence, "fid_without");
    if (json_array_size(list) != JACKKNIFE_BLOCKS) return false;
    for (size_t i = 0; i < JACKKNIFE_BLOCKS; i++) without[i] = json_number_value(json_array_get(list, i));
    return true;
}

static bool agree(const json_t *a, const json_t *b, const char *key) {
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x && y && json_equal(x, y);
}

/* Adds fid_delta and its error to the record, or why there is none. */
static void add_difference(json_t *record, const struct entry *best, const struct entry *second,
                           const json_t *evidence) {
    const json_t *a = json_object_get(evidence, json_string_value(json_object_get(best->cell, "cell")));
    const json_t *b = json_object_get(evidence, json_string_value(json_object_get(second->cell, "cell")));
    double mine[JACKKNIFE_BLOCKS], theirs[JACKKNIFE_BLOCKS];
    struct estimate estimate;
    const char *why = NULL;
    if (!agree(a, b, "seeds") || !agree(best->cell, second->cell, "samples")) why = "other seeds";
    else if (!agree(a, b, "reference") || !agree(a, b, "network")) why = "another reference or feature network";
    else if (!read_without(a, mine) || !read_without(b, theirs))
        why = "fewer than 200 samples, or evaluated by an older version";
    if (why) {
        json_object_set_new(record, "unpaired", json_string(why));
        return;
    }
    for (int i = 0; i < JACKKNIFE_BLOCKS; i++) mine[i] -= theirs[i];
    jackknife(best->fid - second->fid, mine, &estimate);
    json_object_set_new(record, "fid_delta", json_real(estimate.corrected));
    json_object_set_new(record, "fid_delta_error", json_real(estimate.error));
    json_object_set_new(record, "fid_delta_low", json_real(estimate.low));
    json_object_set_new(record, "fid_delta_high", json_real(estimate.high));
    json_object_set_new(record, "beyond_error", json_boolean(estimate.corrected < -estimate.error));
}

json_t *data_best(const json_t *data, const json_t *evidence) {
    const json_t *cells = json_object_get(data, "cells"), *all = json_object_get(data, "series"), *series;
    json_t *list = json_array();
    size_t count, i;
    double *nfes = budgets(cells, &count);
    for (size_t k = 0; nfes && k < count; k++) {
        struct entry best = {0}, second = {0}, entry;
        json_array_foreach(all, i, series) {
            if (!enter(&entry, series, cells, nfes[k])) continue;
            if (!best.cell || entry.fid < best.fid) {
                second = best;
                best = entry;
            } else if (!second.cell || entry.fid < second.fid) {
                second = entry;
            }
        }
        json_t *record = json_pack("{s:f, s:o, s:o}", "nfe", nfes[k], "best", entry_json(&best), "second",
                                   entry_json(&second));
        if (record && second.cell) add_difference(record, &best, &second, evidence);
        json_array_append_new(list, record);
    }
    bool whole = nfes && json_array_size(list) == count;
    free(nfes);
    if (whole) return list;
    json_decref(list);
    return NULL;
}

void best_words(const json_t *record, const char *plus_minus, struct text *best, struct text *second) {
    const json_t *first = json_object_get(record, "best"), *next = json_object_get(record, "second");
    double nfe = data_number(first, "nfe"), by = -data_number(record, "fid_delta");
    text_add(best, "%s (FID %.4g", json_string_value(json_object_get(first, "series")), data_number(first, "fid"));
    text_add(best, nfe == data_number(record, "nfe") ? ")" : " at NFE %g)", nfe);
    if (!json_is_object(next)) return;
    bool beyond = json_is_true(json_object_get(record, "beyond_error"));
    text_add(second, "%s %s (FID %.4g", beyond || isnan(by) ? "ahead of" : "level with",
             json_string_value(json_object_get(next, "series")), data_number(next, "fid"));
    text_add(second, data_number(next, "nfe") == data_number(record, "nfe") ? ")" : " at NFE %g)",
             data_number(next, "nfe"));
    if (isnan(by)) text_add(second, "; not paired: %s", json_string_value(json_object_get(record, "unpaired")));
    else
        text_add(second, ": difference %.3g %s %.3g, %s its error", by, plus_minus,
                 data_number(record, "fid_delta_error"), beyond ? "more than" : "within");
}
