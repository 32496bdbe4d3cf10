/* A race of a sweep's cells: who left when, and what was saved. */
#include "report/data.h"
#include "report/markup.h"
#include "report/race.h"

#include <math.h>

static void summary(const json_t *race, struct text *out) {
    double samples = data_number(race, "samples"), of = data_number(race, "of");
    const char *metric = json_string_value(json_object_get(race, "metric"));
    text_add(out, "%g cells by %s, confidence %g: %.0f of %.0f samples were made, %.0f %% saved",
             data_number(race, "cells"), metric ? metric : "?", data_number(race, "confidence"), samples, of,
             of > 0 ? 100 * (1 - samples / of) : 0);
}

static const char *name_in(const json_t *object, const char *key) {
    const char *name = json_string_value(json_object_get(object, key));
    return name ? name : "?";
}

void race_print(const json_t *race, struct text *out) {
    const json_t *round, *left;
    size_t i, k;
    text_add(out, "\nrace: ");
    summary(race, out);
    text_add(out, "\n");
    json_array_foreach(json_object_get(race, "rounds"), i, round) {
        text_add(out, "after %-8.0f %s leads, %zu of %.0f left\n", data_number(round, "samples"),
                 name_in(round, "leader"), json_array_size(json_object_get(round, "left")),
                 data_number(round, "cells"));
        json_array_foreach(json_object_get(round, "left"), k, left)
            text_add(out, "  %s: %.3g +- %.2g behind\n", name_in(left, "cell"), data_number(left, "delta"),
                     data_number(left, "error"));
    }
}

static void add_name(struct text *out, const json_t *object, const char *key) {
    markup_add(out, name_in(object, key));
}

void race_markup(const json_t *race, struct text *out) {
    const json_t *round, *left;
    size_t i, k;
    text_add(out, "<section id=\"race\">\n<h2>The race</h2>\n<p>");
    struct text words = {0};
    summary(race, &words);
    markup_add(out, words.data);
    out->failed |= words.failed;
    text_release(&words);
    text_add(out, ". A cell is left behind as it is once its paired difference to the leader is beyond its error "
                  "(delete-block jackknife, Bonferroni over the cells in the round).</p>\n"
                  "<div class=\"scroll\"><table>\n<thead><tr><th class=\"n\">after samples</th><th class=\"n\">cells"
                  "</th><th>leader</th><th>left behind, by</th></tr></thead>\n<tbody>\n");
    json_array_foreach(json_object_get(race, "rounds"), i, round) {
        text_add(out, "<tr><td class=\"n\">%.0f</td><td class=\"n\">%.0f</td><td>", data_number(round, "samples"),
                 data_number(round, "cells"));
        add_name(out, round, "leader");
        text_add(out, "</td><td>");
        json_array_foreach(json_object_get(round, "left"), k, left) {
            text_add(out, k ? "<br>" : "");
            add_name(out, left, "cell");
            text_add(out, ": %.3g \xc2\xb1 %.2g", data_number(left, "delta"), data_number(left, "error"));
        }
        text_add(out, "</td></tr>\n");
    }
    text_add(out, "</tbody>\n</table></div>\n</section>\n");
}
