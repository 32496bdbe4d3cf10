/* The numbers of metric/score.h as lines. */
#include "cli/print_values.h"

#include "base/print.h"
#include "eval/precision.h"
#include "format/json_file.h"
#include "job/job.h"
#include "metric/values.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* values[NETWORK.NAME + suffix]; NAN: none. */
static double value_of(const json_t *values, const char *network, const char *name, const char *suffix) {
    char key[2 * NETWORK_NAME];
    snprintf(key, sizeof key, "%s%s%s%s", network ? network : "", network ? "." : "", name, suffix);
    const json_t *value = json_object_get(values, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void print_estimate(const json_t *values, const char *network, const char *name) {
    double value = value_of(values, network, name, ""), error = value_of(values, network, name, "_error");
    int width = 4 - (int)strlen(name);
    if (!isnan(value)) printf("%-14s %.6g\n", name, value);
    if (!isnan(error))
        printf("%s_corrected%*s %.6g +- %.2g, 95 %% interval %.6g to %.6g\n", name, width > 0 ? width : 0, "",
               value_of(values, network, name, "_corrected"), error, value_of(values, network, name, "_low"),
               value_of(values, network, name, "_high"));
}

static void print_difference(const json_t *values, const char *network, const char *name) {
    char key[NETWORK_NAME], chance[P_TEXT];
    snprintf(key, sizeof key, "%s_delta", name);
    double value = value_of(values, network, key, ""), p = value_of(values, network, key, "_p"),
           corrected = value_of(values, network, key, "_p_holm");
    if (isnan(value)) return;
    p_text(chance, isnan(corrected) ? p : corrected);
    printf("%-14s %.6g +- %.2g, 95 %% interval %.6g to %.6g, %s", key, value, value_of(values, network, key, "_error"),
           value_of(values, network, key, "_low"), value_of(values, network, key, "_high"), chance);
    printf("%s\n", isnan(corrected) ? "" : " (Holm)");
}

void values_print(const json_t *values, const char *network) {
    static const char *const intervals[] = {"fid", "sfid", "cmmd", "mind", "fdr", "clip-score"}, *const spreads[] = {
                                                                                                     "kid", "is"};
    static const char *const paired[] = {"fid", "sfid", "kid_full", "cmmd", "mind", "fdr", "clip-score"};
    static const char *const rest[] = {"fid_infinity", "precision", "recall", "density",
                                       "coverage",     "vendi",     "fld",    "fld_gap"};
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) print_estimate(values, network, intervals[i]);
    for (size_t i = 0; i < sizeof paired / sizeof *paired; i++) print_difference(values, network, paired[i]);
    for (size_t i = 0; i < sizeof spreads / sizeof *spreads; i++) {
        double value = value_of(values, network, spreads[i], ""), std = value_of(values, network, spreads[i], "_std");
        if (!isnan(value)) printf("%-14s %.6g", spreads[i], value);
        if (!isnan(std)) printf(", standard deviation %.2g", std);
        if (!isnan(value)) printf("\n");
    }
    print_estimate(values, network, "kid_full");
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        double value = value_of(values, network, rest[i], "");
        if (!isnan(value)) printf("%-14s %.6g\n", rest[i], value);
    }
}

void values_print_mean(const json_t *values) {
    if (isnan(value_of(values, NULL, "fdr", ""))) return;
    printf("\nmean over the networks\n");
    print_estimate(values, NULL, "fdr");
    print_difference(values, NULL, "fdr");
}

json_t *values_samples(const struct network_sides *sides) {
    json_t *samples = json_object();
    for (size_t i = 0; i < OPERANDS; i++)
        if (sides->of[i]) json_map_add(&samples, operand_names[i], values_count(sides->of[i]));
    return samples;
}

void values_print_samples(const struct network_sides *sides, const char *const paths[OPERANDS]) {
    for (size_t i = 0; i < OPERANDS; i++) {
        char text[100] = "statistics, which do not say of how many samples";
        if (!sides->of[i]) continue;
        const struct sample_counts counts = values_counts(sides->of[i]);
        if (counts.statistics) snprintf(text, sizeof text, "statistics of %" PRIu64 " samples", counts.statistics);
        if (!counts.own) snprintf(text, sizeof text, "%zu samples", counts.rows);
        char beside[60] = "";
        if (counts.own && counts.rows) snprintf(beside, sizeof beside, ", beside features of %zu", counts.rows);
        print_line(stdout, "%-14s %s: %s%s", operand_names[i], paths[i], text, beside);
    }
}

json_t *values_network(const struct network_sides *sides) {
    const char *name = NULL, *sha256 = NULL;
    json_t *unknown = json_array();
    for (size_t i = 0; i < OPERANDS; i++) {
        if (!sides->of[i]) continue;
        if (!name && sides->of[i]->name[0]) name = sides->of[i]->name;
        if (!sha256 && sides->of[i]->network[0]) sha256 = sides->of[i]->network;
        if (!sides->of[i]->network[0] || sides->of[i]->foreign) json_list_add(&unknown, json_string(operand_names[i]));
    }
    return json_pack("{s:s?, s:s?, s:o}", "name", name, "sha256", sha256, "unknown", unknown);
}

void values_print_network(const struct network_sides *sides) {
    json_t *network = values_network(sides), *operand;
    const char *name = json_string_value(json_object_get(network, "name")),
               *sha256 = json_string_value(json_object_get(network, "sha256"));
    size_t i;
    printf("network        %s%s%.12s%s", name ? name : "", name && sha256 ? " " : "", sha256 ? sha256 : "",
           sha256 && json_array_size(json_object_get(network, "unknown")) ? "; " : "");
    json_array_foreach(json_object_get(network, "unknown"), i, operand)
        printf("%s%s", i ? ", " : "unknown of ", json_string_value(operand));
    printf("\n");
    json_decref(network);
}
