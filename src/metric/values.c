/* Numbers with their errors in JSON. */
#include "metric/values.h"

#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sample_counts values_counts(const struct side *side) {
    struct sample_counts counts = {.rows = 0};
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++) {
        const struct view *view = &side->views[kind];
        if (view->features.rows) counts.rows = view->features.count;
        if (!view->statistics.dim || (view->features.rows && !view->own)) continue;
        counts.own = true;
        if (view->statistics.count) counts.statistics = view->statistics.count;
    }
    return counts;
}

json_t *values_count(const struct side *side) {
    const struct sample_counts counts = values_counts(side);
    uint64_t count = counts.own ? counts.statistics : counts.rows;
    return count ? json_integer((json_int_t)count) : json_null();
}

int value_set(json_t *values, const char *name, double value, struct error *err) {
    if (!isfinite(value))
        return error_set(err, CODE_DATA, "%s is not a finite number: the features are too large", name);
    return json_object_set_new(values, name, json_real(value)) == 0 ? 0 : error_memory(err);
}

/* NAME, NAME_error, ... */
static int set_named(json_t *values, const char *name, const char *suffix, double value, struct error *err) {
    char whole[256];
    snprintf(whole, sizeof whole, "%s%s", name, suffix);
    return value_set(values, whole, value, err);
}

static int set_estimate(json_t *values, const char *name, const struct estimate *estimate, struct error *err) {
    if (set_named(values, name, "_error", estimate->error, err) != 0 ||
        set_named(values, name, "_low", estimate->low, err) != 0)
        return -1;
    return set_named(values, name, "_high", estimate->high, err);
}

/* NAME_without: the value without each block, from which `report` takes paired differences. */
static int set_without(json_t *values, const char *name, const double without[JACKKNIFE_BLOCKS], struct error *err) {
    char whole[128];
    json_t *list = json_array();
    snprintf(whole, sizeof whole, "%s_without", name);
    for (int i = 0; i < JACKKNIFE_BLOCKS; i++) json_list_add(&list, json_real(without[i]));
    return json_object_set_new(values, whole, list) == 0 ? 0 : error_memory(err);
}

int value_set_jackknifed(json_t *values, const char *name, const double numbers[1 + JACKKNIFE_BLOCKS], bool enough,
                         struct error *err) {
    struct estimate estimate;
    if (value_set(values, name, numbers[0], err) != 0) return -1;
    if (!enough) return 0;
    jackknife(numbers[0], numbers + 1, &estimate);
    bool unbiased = strcmp(name, "kid_full") == 0; /* on the reference's side too, whose chance may put it below 0 */
    if (!estimate.rounded && estimate.high < 0 && !unbiased)
        log_warn("%s: the interval of its corrected value lies below 0, where no true value is: the samples are not "
                 "independent of the reference (are the same images in both, or images made from the "
                 "same starting noise?)",
                 name);
    if (set_named(values, name, "_corrected", estimate.corrected, err) != 0 ||
        set_without(values, name, numbers + 1, err) != 0)
        return -1;
    if (!estimate.rounded) return set_estimate(values, name, &estimate, err);
    log_warn("%s: it has no standard error: whichever block of samples is left out it is %.6g to within rounding; "
             "either their features are all the same, or some on either side are too large to tell these apart",
             name, numbers[0]);
    return 0;
}

int value_set_uncorrected(json_t *values, const char *name, const double numbers[1 + JACKKNIFE_BLOCKS],
                          struct error *err) {
    return value_set(values, name, numbers[0], err) == 0 ? set_without(values, name, numbers + 1, err) : -1;
}

bool value_get_jackknifed(const json_t *values, const char *name, double numbers[1 + JACKKNIFE_BLOCKS]) {
    char whole[128];
    snprintf(whole, sizeof whole, "%s_without", name);
    const json_t *list = json_object_get(values, whole);
    if (json_array_size(list) != JACKKNIFE_BLOCKS) return false;
    numbers[0] = json_number_value(json_object_get(values, name));
    for (size_t k = 0; k < JACKKNIFE_BLOCKS; k++) numbers[1 + k] = json_number_value(json_array_get(list, k));
    return true;
}

int values_put(json_t *to, const char *network, json_t *values, struct error *err) {
    const char *name;
    json_t *value;
    json_object_foreach(values, name, value) {
        char *whole = network ? text_new("%s.%s", network, name) : strdup(name);
        int rc = whole ? json_object_set(to, whole, value) : -1;
        free(whole);
        if (rc != 0) return error_memory(err);
    }
    return 0;
}

/* The NAME of "NAME_without"; false: another key. */
static bool name_of(const char *key, char name[128]) {
    static const char suffix[] = "_without";
    if (!text_ends_in(key, suffix)) return false;
    snprintf(name, 128, "%.*s", (int)(strlen(key) - strlen(suffix)), key);
    return true;
}

int values_difference(json_t *to, const json_t *one, const json_t *other, struct error *err) {
    const char *key;
    json_t *list, *copy = json_whole_copy(one); /* `to` may be `one` */
    int rc = copy ? 0 : error_memory(err);
    json_object_foreach(copy, key, list) {
        double mine[1 + JACKKNIFE_BLOCKS], theirs[1 + JACKKNIFE_BLOCKS];
        char name[128], delta[140];
        struct estimate estimate, own;
        if (rc != 0 || !name_of(key, name) || !value_get_jackknifed(copy, name, mine) ||
            !value_get_jackknifed(other, name, theirs))
            continue;
        jackknife(mine[0], mine + 1, &own);
        jackknife_difference(mine, theirs, &estimate);
        if (estimate.rounded && (own.rounded || estimate.error > 0)) { /* 0: the same sets */
            log_warn("%s_delta is left out: the difference has no standard error, to within rounding", name);
            continue;
        }
        snprintf(delta, sizeof delta, "%s_delta", name);
        if ((rc = value_set(to, delta, estimate.corrected, err)) == 0 &&
            (rc = set_estimate(to, delta, &estimate, err)) == 0)
            rc = set_named(to, delta, "_p", jackknife_p(&estimate), err);
    }
    json_decref(copy);
    return rc;
}

int values_holm(json_t *values, struct error *err) {
    size_t count = 0, most = json_object_size(values);
    double *p = malloc((most + 1) * sizeof *p);
    json_t *copy = json_whole_copy(values), *value;
    const char *key;
    int rc = p && copy ? 0 : error_memory(err);
    json_object_foreach(copy, key, value) if (rc == 0 && text_ends_in(key, "_delta_p"))
        p[count++] = json_real_value(value);
    if (rc == 0) rc = holm(p, count, err);
    bool several = count > 1;
    count = 0;
    json_object_foreach(copy, key, value) if (rc == 0 && several && text_ends_in(key, "_delta_p"))
        rc = set_named(values, key, "_holm", p[count++], err);
    json_decref(copy);
    free(p);
    return rc;
}

int values_mean(json_t *values, const char *name, struct error *err) {
    double sums[1 + JACKKNIFE_BLOCKS] = {0}, numbers[1 + JACKKNIFE_BLOCKS];
    size_t count = 0;
    bool enough = true, corrected = true;
    const char *key;
    json_t *value;
    json_object_foreach(values, key, value) {
        char whole[2 * NETWORK_NAME];
        const char *dot = strrchr(key, '.');
        if (!dot || strcmp(dot + 1, name) != 0) continue;
        snprintf(whole, sizeof whole, "%s_corrected", key);
        corrected &= json_object_get(values, whole) != NULL;
        enough = enough && value_get_jackknifed(values, key, numbers);
        if (!enough) numbers[0] = json_number_value(value);
        for (int k = 0; k <= (enough ? JACKKNIFE_BLOCKS : 0); k++) sums[k] += numbers[k];
        count++;
    }
    for (int k = 0; k <= JACKKNIFE_BLOCKS; k++) sums[k] /= (double)count;
    if (count == 0) return 0;
    return enough && !corrected ? value_set_uncorrected(values, name, sums, err)
                                : value_set_jackknifed(values, name, sums, enough, err);
}
