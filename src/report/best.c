/* Which series wins at each NFE, and by how much against its error; of a race, who left when, and what was saved. */
#include "eval/precision.h"
#include "format/json_file.h"
#include "metric/values.h"
#include "report/chart.h"
#include "report/data.h"
#include "report/markup.h"
#include "report/race.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AHEAD = 2 }; /* standard errors of the paired difference, beyond which the lowest is called ahead of the next */

struct entry { /* a series in one budget */
    const char *series;
    const json_t *cell;
    double nfe, value;
};

static const char *name_in(const json_t *object, const char *key) {
    const char *name = json_string_value(json_object_get(object, key));
    return name ? name : "?";
}

/* The round in which a cell left the race, and how; NULL: it has not. */
static const json_t *round_left(const json_t *race, const json_t *cell, const json_t **how) {
    const json_t *round;
    size_t i, k;
    json_array_foreach(json_object_get(race, "rounds"), i, round) {
        json_array_foreach(json_object_get(round, "left"), k, *how) {
            if (strcmp(name_in(*how, "cell"), name_in(cell, "cell")) == 0) return round;
        }
    }
    return NULL;
}

/* Has it all its samples? A cell that left a race may have got them later. */
static bool is_whole(const json_t *race, const json_t *cell) {
    return data_number(cell, "samples") >= data_number(race, "seeds");
}

/* The round in which a cell left a race by this column for good, and how; else NULL. */
static const json_t *is_out(const json_t *data, const char *column, const json_t *cell, const json_t **how) {
    const json_t *race = json_object_get(data, "race");
    bool by = race && strcmp(name_in(race, "metric"), column) == 0;
    return by && !is_whole(race, cell) ? round_left(race, cell, how) : NULL;
}

/* Is it the better one? Who left a race is behind who did not, whatever its number of fewer samples happens to be. */
static bool is_before(const json_t *data, const char *column, const struct entry *a, const struct entry *b) {
    const json_t *how;
    double mine = data_number(a->cell, "samples"), theirs = data_number(b->cell, "samples");
    bool raced = is_out(data, column, a->cell, &how) || is_out(data, column, b->cell, &how);
    return raced && mine != theirs ? mine > theirs : a->value < b->value;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The different NFEs of cells with a number in the column, ascending: new. */
static double *budgets(const json_t *cells, const char *column, size_t *count) {
    double *all = malloc((json_array_size(cells) + 1) * sizeof *all);
    size_t n = 0;
    *count = 0;
    for (size_t i = 0; all && i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        double nfe = data_number(cell, "nfe");
        if (nfe > 0 && isfinite(data_number(cell, column))) all[n++] = nfe;
    }
    if (all) qsort(all, n, sizeof *all, ascending);
    for (size_t i = 0; i < n; i++)
        if (*count == 0 || all[i] != all[*count - 1]) all[(*count)++] = all[i];
    return all;
}

/* A series' cell of the largest NFE within the budget; false: it has none. */
static bool enter(struct entry *entry, const char *column, const json_t *series, const json_t *cells, double budget) {
    const json_t *number, *members = json_object_get(series, "cells");
    size_t i;
    *entry = (struct entry){.series = json_string_value(json_object_get(series, "name"))};
    json_array_foreach(members, i, number) {
        const json_t *cell = json_array_get(cells, (size_t)json_integer_value(number));
        double nfe = data_number(cell, "nfe"), value = data_number(cell, column);
        if (!(nfe <= budget) || !isfinite(value) || json_is_string(json_object_get(cell, "same_as"))) continue;
        if (entry->cell && (nfe < entry->nfe || (nfe == entry->nfe && value >= entry->value))) continue;
        entry->cell = cell;
        entry->nfe = nfe;
        entry->value = value;
    }
    return entry->cell != NULL;
}

/* "fid" of "NETWORK.fid". */
static const char *own_name(const char *column) {
    size_t network;
    chart_title(column, &network);
    return column + network;
}

/* corrected: the column that the entries were compared by. */
static json_t *entry_json(const struct entry *entry, const char *column, const char *corrected) {
    if (!entry->cell) return json_null();
    json_t *json = json_pack("{s:O, s:s, s:O, s:O?}", "cell", json_object_get(entry->cell, "cell"), "series",
                             entry->series, "nfe", json_object_get(entry->cell, "nfe"), own_name(column),
                             json_object_get(entry->cell, column));
    json_map_add(&json, own_name(corrected), json_incref(json_object_get(entry->cell, corrected)));
    if (isfinite(data_evaluated(entry->cell)))
        json_map_add(&json, "samples", json_integer((json_int_t)data_evaluated(entry->cell)));
    return json;
}

static const json_t *without_of(const json_t *evidence, const char *column) {
    char name[128];
    snprintf(name, sizeof name, "%s_without", column);
    return json_object_get(evidence, name);
}

static bool agree(const json_t *a, const json_t *b, const char *key) {
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x && y && json_equal(x, y);
}

/* The same, also where neither has it. */
static bool alike(const json_t *a, const json_t *b, const char *key) {
    return agree(a, b, key) || (!json_object_get(a, key) && !json_object_get(b, key));
}

/* Are the numbers without each block of another evaluation than the cell's row? */
static bool is_stale(const json_t *evidence, const char *column, const struct entry *entry) {
    return without_of(evidence, column) && data_number(evidence, column) != data_number(entry->cell, column);
}

static void set(json_t **record, const char *column, const char *suffix, double value) {
    char name[128];
    snprintf(name, sizeof name, "%s_delta%s", own_name(column), suffix);
    json_map_add(record, name, json_real(value));
}

/* Adds the difference and its error to the record, or why there is none. */
static void add_difference(json_t **record, const json_t *data, const char *column, const struct entry *best,
                           const struct entry *second, const json_t *evidence) {
    const json_t *a = json_object_get(evidence, json_string_value(json_object_get(best->cell, "cell")));
    const json_t *b = json_object_get(evidence, json_string_value(json_object_get(second->cell, "cell")));
    double mine[1 + JACKKNIFE_BLOCKS], theirs[1 + JACKKNIFE_BLOCKS];
    struct estimate estimate;
    const char *why = NULL, *gone = json_string_value(json_object_get(json_object_get(a, "gone") ? a : b, "gone"));
    if (is_stale(a, column, best) || is_stale(b, column, second))
        why = "evaluated again since the results were written; run the sweep again";
    else if (!agree(a, b, "seeds")) why = "other seeds";
    else if (!agree(best->cell, second->cell, "samples") || !alike(a, b, "evaluated"))
        why = "another number of samples";
    else if (!agree(a, b, "reference") || !agree(a, b, "network") || !alike(a, b, "validation") || !alike(a, b, "text"))
        why = "another reference, feature network, validation set or texts";
    else if (!value_get_jackknifed(a, column, mine) || !value_get_jackknifed(b, column, theirs))
        why = "fewer than 200 samples, or evaluated by an older version";
    if (gone) why = gone;
    if (!why) jackknife_difference(mine, theirs, &estimate);
    if (!why && !isfinite(estimate.high - estimate.low)) why = "numbers too large for an error";
    const json_t *how, *round = why ? is_out(data, column, second->cell, &how) : NULL;
    if (round)
        json_map_add(record, "raced",
                     json_pack("{s:O?, s:O?, s:O?, s:O?}", "samples", json_object_get(round, "samples"), "leader",
                               json_object_get(round, "leader"), "delta", json_object_get(how, "delta"), "error",
                               json_object_get(how, "error")));
    if (why) {
        json_map_add(record, "unpaired", json_string(why));
        return;
    }
    set(record, column, "", estimate.corrected);
    set(record, column, "_error", estimate.error);
    set(record, column, "_low", estimate.low);
    set(record, column, "_high", estimate.high);
    json_map_add(record, "ahead", json_boolean(estimate.corrected < -AHEAD * estimate.error));
    json_map_add(record, "p", json_real(jackknife_p(&estimate)));
}

/* Adds a column's records. */
static void add_records(json_t **list, const json_t *data, const char *column, const json_t *evidence) {
    const json_t *cells = json_object_get(data, "cells"), *all = json_object_get(data, "series"), *series;
    char corrected[CHART_COLUMN];
    chart_corrected(data, column, corrected);
    size_t count, i;
    double *nfes = budgets(cells, corrected, &count);
    if (!nfes) json_list_add(list, NULL);
    for (size_t k = 0; nfes && k < count; k++) {
        struct entry best = {0}, second = {0}, entry;
        json_array_foreach(all, i, series) {
            if (!enter(&entry, corrected, series, cells, nfes[k])) continue;
            if (!best.cell || is_before(data, column, &entry, &best)) {
                second = best;
                best = entry;
            } else if (!second.cell || is_before(data, column, &entry, &second)) {
                second = entry;
            }
        }
        json_t *record = json_pack("{s:s, s:f, s:o, s:o}", "metric", column, "nfe", nfes[k], "best",
                                   entry_json(&best, column, corrected), "second",
                                   entry_json(&second, column, corrected));
        if (record && second.cell) add_difference(&record, data, column, &best, &second, evidence);
        json_list_add(list, record);
    }
    free(nfes);
}

/* "p_holm" beside each "p". */
static int correct(const json_t *list) {
    size_t count = 0, i;
    double *p = malloc((json_array_size(list) + 1) * sizeof *p);
    json_t *record;
    struct error err;
    if (!p) return -1;
    json_array_foreach(list, i, record) if (json_object_get(record, "p")) p[count++] = data_number(record, "p");
    int rc = holm(p, count, &err);
    count = 0;
    json_array_foreach(list, i, record) if (rc == 0 && json_object_get(record, "p"))
        rc = json_object_set_new(record, "p_holm", json_real(p[count++]));
    free(p);
    return rc;
}

/* A distance that has paired differences in some cell, and FIDs in any case. */
static bool is_judged(const char *column, const json_t *evidence) {
    const json_t *record;
    const char *cell;
    if (strcmp(own_name(column), "fid") == 0) return true;
    if (!chart_lower(column)) return false;
    json_object_foreach((json_t *)evidence, cell, record) if (without_of(record, column)) return true;
    return false;
}

json_t *data_best(const json_t *data, const json_t *evidence) {
    json_t *list = json_array(), *columns = chart_metrics(data), *column;
    size_t i;
    json_array_foreach(columns, i, column) if (is_judged(json_string_value(column), evidence))
        add_records(&list, data, json_string_value(column), evidence);
    bool whole = list && columns && correct(list) == 0;
    json_decref(columns);
    if (whole) return list;
    json_decref(list);
    return NULL;
}

/* "taylor (corrected FID 0.1234 at NFE 8, 1000 samples)"; NFE where it is not the record's, samples where the other
 * entry is of another number. */
static void add_entry(const json_t *record, const char *which, struct text *out) {
    bool first = strcmp(which, "best") == 0;
    const json_t *entry = json_object_get(record, which), *other = json_object_get(record, first ? "second" : "best");
    const char *column = json_string_value(json_object_get(record, "metric"));
    char corrected[CHART_COLUMN];
    size_t network;
    const char *title = chart_title(column, &network);
    snprintf(corrected, sizeof corrected, "%s_corrected", column + network);
    double nfe = data_number(entry, "nfe"), value = data_number(entry, corrected);
    const char *kind = isfinite(value) ? "corrected " : "";
    if (!isfinite(value)) value = data_number(entry, column + network);
    text_add(out, "%s (%s%s %.4g", json_string_value(json_object_get(entry, "series")), kind, title, value);
    if (nfe != data_number(record, "nfe")) text_add(out, " at NFE %g", nfe);
    double samples = data_number(entry, "samples"), others = data_number(other, "samples");
    if (samples != others && isfinite(samples) && isfinite(others)) text_add(out, ", %.0f samples", samples);
    text_add(out, ")");
}

void best_words(const json_t *record, const char *plus_minus, struct text *best, struct text *second) {
    const char *name = own_name(json_string_value(json_object_get(record, "metric")));
    char key[CHART_COLUMN], chance[P_TEXT];
    p_text(chance, data_number(record, "p_holm"));
    add_entry(record, "best", best);
    if (!json_is_object(json_object_get(record, "second"))) return;
    snprintf(key, sizeof key, "%s_delta", name);
    double by = -data_number(record, key);
    snprintf(key, sizeof key, "%s_delta_error", name);
    double error = data_number(record, key);
    bool ahead = json_is_true(json_object_get(record, "ahead")), behind = by < -AHEAD * error;
    const json_t *raced = json_object_get(record, "raced");
    text_add(second, raced || ahead ? "ahead of "
                     : isnan(by)    ? "before "
                     : behind       ? "lower, but without the bias of finite samples behind "
                                    : "not told from ");
    add_entry(record, "second", second);
    if (raced)
        text_add(second, "; it left the race after %.0f samples, %.3g %s %.2g behind %s", data_number(raced, "samples"),
                 data_number(raced, "delta"), plus_minus, data_number(raced, "error"), name_in(raced, "leader"));
    else if (isnan(by)) text_add(second, "; not paired: %s", json_string_value(json_object_get(record, "unpaired")));
    else
        text_add(second, ": difference %.3g %s %.3g, %s twice its error, %s", by, plus_minus, error,
                 ahead || behind ? "more than" : "within", chance);
}

/* ---- the race ---- */

static void summary(const json_t *race, struct text *out) {
    size_t dropped = json_array_size(json_object_get(race, "dropped"));
    double samples = data_number(race, "samples");
    double of = data_number(race, "of") - (double)dropped * data_number(race, "seeds");
    const char *metric = json_string_value(json_object_get(race, "metric"));
    text_add(out, "%g cells by %s, confidence %g: %.0f of %.0f samples were made for it, %.0f %% saved",
             data_number(race, "cells"), metric ? metric : "?", data_number(race, "confidence"), samples, of,
             of > 0 ? 100 * (1 - samples / of) : 0);
    const json_t *calls = json_object_get(race, "model_calls");
    if (json_array_size(calls) == 2)
        text_add(out,
                 "; they take from %lld to %lld model calls a sample and all competed, so those that take few lost",
                 (long long)json_integer_value(json_array_get(calls, 0)),
                 (long long)json_integer_value(json_array_get(calls, 1)));
}

static bool is_called(const json_t *name, const char *leader) {
    return json_is_string(name) && strcmp(json_string_value(name), leader) == 0;
}

/* Who leads by the last round, and who could not be told from it then; nothing where there was no round. */
static void outcome(const json_t *data, struct text *out) {
    const json_t *race = json_object_get(data, "race"), *rounds = json_object_get(race, "rounds"), *cell, *how;
    const json_t *last = json_array_get(rounds, json_array_size(rounds) - 1), *in = json_object_get(race, "in");
    const char *leader = name_in(last, "leader"), *before = ": ";
    size_t i, level = 0, completed = 0;
    if (!last) return;
    json_array_foreach(in, i, cell) level += !is_called(cell, leader);
    text_add(out, "%s leads after the last round, of %.0f samples a cell; ", leader, data_number(last, "samples"));
    if (level > 0) text_add(out, "not significantly worse %s %zu", level > 1 ? "are" : "is", level);
    else
        text_add(out, "%s left the race",
                 json_array_size(json_object_get(race, "dropped")) ? "the others that were compared" : "all others");
    json_array_foreach(in, i, cell) {
        if (is_called(cell, leader)) continue;
        text_add(out, "%s%s", before, json_string_value(cell) ? json_string_value(cell) : "?");
        before = ", ";
    }
    json_array_foreach(json_object_get(data, "cells"), i, cell)
        completed += is_whole(race, cell) && round_left(race, cell, &how);
    if (completed > 0)
        text_add(out, "; %zu that left %s been given all samples since", completed, completed > 1 ? "have" : "has");
    json_array_foreach(json_object_get(race, "dropped"), i, cell)
        text_add(out, "%s%s dropped out in the round of %.0f samples, and neither this nor the risk is of it", "; ",
                 name_in(cell, "cell"), data_number(cell, "samples"));
    if (json_object_get(race, "next")) text_add(out, "; it has not ended: run it again to go on");
}

void race_print(const json_t *data, struct text *out) {
    const json_t *race = json_object_get(data, "race"), *round, *left;
    size_t i, k;
    text_add(out, "\nrace: ");
    summary(race, out);
    text_add(out, "\n");
    json_array_foreach(json_object_get(race, "rounds"), i, round) {
        text_add(out, "after %-8.0f %s leads, %zu of %.0f left the race\n", data_number(round, "samples"),
                 name_in(round, "leader"), json_array_size(json_object_get(round, "left")),
                 data_number(round, "cells"));
        json_array_foreach(json_object_get(round, "left"), k, left)
            text_add(out, "  %s: %.3g +- %.2g behind\n", name_in(left, "cell"), data_number(left, "delta"),
                     data_number(left, "error"));
    }
    outcome(data, out);
    race_risk(race, "\n", out);
    text_add(out, "\n");
}

static void add_words(struct text *out, struct text *words) {
    if (words->data) markup_add(out, words->data);
    out->failed |= words->failed;
    text_release(words);
}

void race_markup(const json_t *data, struct text *out) {
    const json_t *race = json_object_get(data, "race"), *round, *left;
    size_t i, k;
    text_add(out, "<section id=\"race\">\n<h2>The race</h2>\n<p>");
    struct text words = {0};
    summary(race, &words);
    add_words(out, &words);
    text_add(out, ". A cell is left behind as it is once its paired difference to the leader is beyond its error "
                  "(delete-block jackknife, Bonferroni over the cells in the round).</p>\n"
                  "<div class=\"scroll\"><table>\n<thead><tr><th class=\"n\">after samples</th><th class=\"n\">cells"
                  "</th><th>leader</th><th>left behind, by</th></tr></thead>\n<tbody>\n");
    json_array_foreach(json_object_get(race, "rounds"), i, round) {
        text_add(out, "<tr><td class=\"n\">%.0f</td><td class=\"n\">%.0f</td><td>", data_number(round, "samples"),
                 data_number(round, "cells"));
        markup_add(out, name_in(round, "leader"));
        text_add(out, "</td><td>");
        json_array_foreach(json_object_get(round, "left"), k, left) {
            text_add(out, k ? "<br>" : "");
            markup_add(out, name_in(left, "cell"));
            text_add(out, ": %.3g \xc2\xb1 %.2g", data_number(left, "delta"), data_number(left, "error"));
        }
        text_add(out, "</td></tr>\n");
    }
    text_add(out, "</tbody>\n</table></div>\n<p>");
    words = (struct text){0};
    outcome(data, &words);
    race_risk(race, "; ", &words);
    add_words(out, &words);
    text_add(out, ".</p>\n</section>\n");
}
