/* A solver that is a table of coefficients, read and checked. */
#include "job/multistep.h"

#include "base/text.h"
#include "format/json_file.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *const multistep_names[] = {"epsilon", "x0", "velocity", NULL};

/* A network's float32 has 24 bits: behind a larger coefficient its rounding alone is larger than a sample. */
static const double COEFFICIENT_MOST = 1e8;
static const char a_coefficient[] = "a number from -1e8 to 1e8";

static bool is_finite_number(const json_t *value) {
    return json_is_number(value) && isfinite(json_number_value(value));
}

static bool is_coefficient(const json_t *value) {
    return json_is_number(value) && fabs(json_number_value(value)) <= COEFFICIENT_MOST;
}

static int check_times(const json_t *times, struct error *err) {
    char where[32];
    if (json_array_size(times) < 2)
        return json_refuse(err, "times", "a list of two or more times from noise to data", times);
    for (size_t i = 0; i < json_array_size(times); i++) {
        const json_t *time = json_array_get(times, i);
        double t = json_number_value(time);
        snprintf(where, sizeof where, "times[%zu]", i);
        if (!is_finite_number(time) || t < 0) return json_refuse(err, where, "a time of 0 or more", time);
        if (i > 0 && t >= json_number_value(json_array_get(times, i - 1)))
            return json_refuse(err, where, "a time below the one before", time);
    }
    return 0;
}

/* The kind that a step names; -1: none, or more than one. */
static int kind_of(const json_t *step) {
    int found = -1, count = 0;
    for (int kind = 0; multistep_names[kind]; kind++)
        if (json_object_get(step, multistep_names[kind])) {
            found = kind;
            count++;
        }
    return count == 1 ? found : -1;
}

static int check_step(const json_t *step, size_t i, int expected, struct error *err) {
    char where[64], what[64];
    int kind = kind_of(step);
    snprintf(where, sizeof where, "steps[%zu]", i);
    if (kind < 0 || json_object_size(step) != 2)
        return json_refuse(err, where, "{x: a, epsilon (or x0, or velocity): [b0, b1, ...]}", step);
    if (kind != expected) return json_refuse(err, where, "the same of epsilon, x0 and velocity as in steps[0]", step);
    snprintf(where, sizeof where, "steps[%zu].x", i);
    if (!is_coefficient(json_object_get(step, "x")))
        return json_refuse(err, where, a_coefficient, json_object_get(step, "x"));
    const json_t *list = json_object_get(step, multistep_names[kind]);
    size_t most = i + 1 < MULTISTEP_MOST ? i + 1 : MULTISTEP_MOST, count = json_array_size(list);
    snprintf(where, sizeof where, "steps[%zu].%s", i, multistep_names[kind]);
    snprintf(what, sizeof what, "a list of 1 to %zu numbers, the newest first", most);
    if (count < 1 || count > most) return json_refuse(err, where, what, list);
    for (size_t k = 0; k < count; k++)
        if (!is_coefficient(json_array_get(list, k)))
            return json_refuse(err, where, a_coefficient, json_array_get(list, k));
    return 0;
}

/* Of made, whatever else people say there. */
static int keep_made(json_t *table, const json_t *made) {
    static const struct {
        const char *name;
        json_type type;
    } told[] = {{"by", JSON_STRING},    {"model_sha256", JSON_STRING}, {"table_sha256", JSON_STRING},
                {"seeds", JSON_STRING}, {"keys", JSON_OBJECT},         {"chosen_by", JSON_OBJECT}};
    json_t *kept = json_object();
    int rc = kept ? 0 : -1;
    for (size_t i = 0; i < sizeof told / sizeof *told && rc == 0; i++) {
        json_t *value = json_object_get(made, told[i].name);
        if (value && json_typeof(value) == told[i].type) rc = json_object_set(kept, told[i].name, value);
    }
    if (rc == 0 && json_object_size(kept) > 0) rc = json_object_set(table, "made", kept);
    json_decref(kept);
    return rc;
}

int multistep_read(json_t **table, const json_t *json, struct error *err) {
    static const char *const known[] = {"times", "steps", "name", "source", "made", NULL};
    const json_t *times = json_object_get(json, "times"), *steps = json_object_get(json, "steps");
    const char *key;
    json_t *value;
    if (!json_is_object(json)) return json_refuse(err, "the table", "a map of times and steps", json);
    if (json_object_get(json, "ops"))
        return error_set(err, CODE_DATA, "ops: a table has none: a plan is sampler: {plan: FILE}");
    json_object_foreach((json_t *)json, key, value) {
        if (text_find(key, known) < 0)
            return error_set(err, CODE_DATA, "%.40s: unknown key; expected times, steps, name, source or made", key);
    }
    if (check_times(times, err) != 0) return -1;
    if (!json_is_array(steps)) return json_refuse(err, "steps", "a list", steps);
    if (json_array_size(steps) + 1 != json_array_size(times))
        return error_set(err, CODE_DATA, "steps: expected %zu, one less than the times, found %zu",
                         json_array_size(times) - 1, json_array_size(steps));
    int kind = kind_of(json_array_get(steps, 0));
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (check_step(json_array_get(steps, i), i, kind, err) != 0) return -1;
    json_t *read = json_pack("{sO sO}", "times", times, "steps", steps);
    if (!read || keep_made(read, json_object_get(json, "made")) != 0) {
        json_decref(read);
        return error_memory(err);
    }
    json_decref(*table);
    *table = read;
    return 0;
}

int multistep_digest(const json_t *table, char hex[SHA256_HEX], struct error *err) {
    struct text text = {0};
    size_t steps = multistep_steps(table);
    for (size_t i = 0; i <= steps; i++) text_add(&text, "%.17g ", multistep_time(table, i));
    text_add(&text, "%s", multistep_names[multistep_kind(table)]);
    for (size_t i = 0; i < steps; i++) {
        double a, b[MULTISTEP_MOST];
        size_t count = multistep_step(table, i, &a, b);
        text_add(&text, "; %.17g", a);
        for (size_t k = 0; k < count; k++) text_add(&text, " %.17g", b[k]);
    }
    if (!text.failed) sha256_bytes(text.data, text.length, hex);
    int rc = text.failed ? error_memory(err) : 0;
    text_release(&text);
    return rc;
}

size_t multistep_steps(const json_t *table) {
    return json_array_size(json_object_get(table, "steps"));
}

double multistep_time(const json_t *table, size_t i) {
    return json_number_value(json_array_get(json_object_get(table, "times"), i));
}

enum multistep_kind multistep_kind(const json_t *table) {
    return (enum multistep_kind)kind_of(json_array_get(json_object_get(table, "steps"), 0));
}

size_t multistep_step(const json_t *table, size_t i, double *a, double *b) {
    const json_t *step = json_array_get(json_object_get(table, "steps"), i);
    const json_t *list = json_object_get(step, multistep_names[kind_of(step)]);
    *a = json_number_value(json_object_get(step, "x"));
    for (size_t k = 0; k < json_array_size(list); k++) b[k] = json_number_value(json_array_get(list, k));
    return json_array_size(list);
}
