/* A sweep as a list of overrides, one a cell. */
#include "job/sweep.h"

#include "base/text.h"
#include "config/expand.h"
#include "format/json_file.h"

#include <stdlib.h>
#include <string.h>

enum { CELLS_MOST = 100000, COMBINATIONS_MOST = 1000000 };

struct reading {
    const struct job_file *file;
    const char *path;
    const char *const *overrides; /* the caller's */
    size_t overrides_count;
    struct sweep *sweep;
    struct error *err;
    json_t *names;       /* those of its cells, as keys */
    double combinations; /* of all lists, before skip and only */
};

static const char NO_KEYS[] = "expected keys of the job with lists of values, as sampler.nfe: [5, 10]; found none";

static int mistake(const struct reading *reading, const char *what) {
    return error_set(reading->err, CODE_DATA, "%s: sweep: %s", reading->path, what);
}

void sweep_release(struct sweep *sweep) {
    for (size_t i = 0; i < sweep->count; i++) {
        struct sweep_cell *cell = &sweep->cells[i];
        for (size_t k = 0; k < cell->count; k++) free((char *)cell->overrides[k]);
        free(cell->overrides);
        json_decref(cell->values);
        free(cell->name);
    }
    json_decref(sweep->race);
    free(sweep->cells);
    free(sweep->dir);
    *sweep = (struct sweep){0};
}

/* "10", "heun", "[1,2]": as in a folder's name. New. */
static char *value_text(const json_t *value) {
    return json_is_string(value) ? strdup(json_string_value(value))
                                 : json_text(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

/* A value that is a map stands for its keys: {solver: ddim, eta: 1} under `sampler` is sampler.solver and sampler.eta.
 */
static int flatten(json_t *choice, const char *key, const json_t *value) {
    const char *name;
    json_t *member;
    if (!json_is_object(value)) return json_object_set(choice, key, (json_t *)value);
    json_object_foreach((json_t *)value, name, member) {
        char *path = text_new("%s.%s", key, name);
        int rc = path ? flatten(choice, path, member) : -1;
        free(path);
        if (rc != 0) return -1;
    }
    return 0;
}

/* Does every key that the rule names have one of the rule's values? */
static bool matches(const json_t *rule, const json_t *choice) {
    const char *key;
    json_t *allowed, *item;
    json_object_foreach((json_t *)rule, key, allowed) {
        const json_t *value = json_object_get(choice, key);
        bool found = value && !json_is_array(allowed) && json_equal(value, allowed);
        size_t i;
        json_array_foreach(allowed, i, item) found |= value && json_equal(value, item);
        if (!found) return false;
    }
    return true;
}

static bool any_matches(const json_t *rules, const json_t *choice) {
    size_t i;
    json_t *rule;
    if (json_is_object(rules)) return matches(rules, choice);
    json_array_foreach(rules, i, rule) if (matches(rule, choice)) return true;
    return false;
}

/* The last words of the choice's keys and their values, with the whole key where two end in one word. New. */
static json_t *short_values(const json_t *choice) {
    json_t *values = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)choice, key, value) {
        const char *dot = strrchr(key, '.'), *word = dot ? dot + 1 : key;
        json_map_add(&values, json_object_get(values, word) ? key : word, json_incref(value));
    }
    return values;
}

static char *cell_name(const json_t *values) {
    struct text name = {0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)values, key, value) {
        char *text = value_text(value);
        text_add(&name, "%s%s=%s", name.length ? "," : "", key, text ? text : "");
        name.failed |= !text;
        free(text);
    }
    for (char *c = name.data; c && *c; c++)
        if (*c == '/' || *c == ' ' || *c == '"') *c = '_';
    for (char *c = name.data; c && *c;) { /* a name that is no folder's: text_is_name */
        bool plain;
        size_t length = text_character(c, &plain);
        if (!plain) memset(c, '_', length);
        c += length;
    }
    if (name.failed) text_release(&name);
    return name.data;
}

/* New: the cell's folder, as JSON, which YAML reads the same. */
static char *dir_override(const char *sweep, const char *name) {
    char *dir = text_new("%s/%s", sweep, name), *literal = dir ? path_literal(dir) : NULL;
    json_t *string = literal ? json_string(literal) : NULL;
    char *quoted = string ? json_text(string, JSON_ENCODE_ANY) : NULL;
    char *override = quoted ? text_new("output.dir=%s", quoted) : NULL;
    json_decref(string);
    free(quoted);
    free(literal);
    free(dir);
    return override;
}

static int fill_overrides(const struct reading *reading, struct sweep_cell *cell, const json_t *choice) {
    const char *key;
    json_t *value;
    size_t most = reading->overrides_count + json_object_size(choice) + 1;
    cell->overrides = calloc(most, sizeof *cell->overrides);
    if (!cell->overrides) return -1;
    for (size_t i = 0; i < reading->overrides_count; i++)
        cell->overrides[cell->count++] = strdup(reading->overrides[i]);
    json_object_foreach((json_t *)choice, key, value) {
        char *text = json_text(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        cell->overrides[cell->count++] = text ? text_new("%s=%s", key, text) : NULL;
        free(text);
    }
    if (!(cell->overrides[cell->count++] = dir_override(reading->sweep->dir, cell->name))) return -1;
    for (size_t i = 0; i < cell->count; i++)
        if (!cell->overrides[i]) return -1;
    return 0;
}

static int add_cell(const struct reading *reading, const json_t *choice) {
    struct sweep *sweep = reading->sweep;
    if (sweep->count == CELLS_MOST) return mistake(reading, "more than 100,000 cells: make it smaller");
    if ((sweep->count & (sweep->count - 1)) == 0) { /* grow at powers of two */
        struct sweep_cell *cells = realloc(sweep->cells, (sweep->count ? 2 * sweep->count : 1) * sizeof *cells);
        if (!cells) return error_memory(reading->err);
        sweep->cells = cells;
    }
    if (json_object_size(choice) == 0) return mistake(reading, NO_KEYS);
    struct sweep_cell *cell = &sweep->cells[sweep->count++];
    *cell = (struct sweep_cell){.values = short_values(choice)};
    cell->name = cell->values ? cell_name(cell->values) : NULL;
    if (!cell->name || fill_overrides(reading, cell, choice) != 0) return error_memory(reading->err);
    if (strlen(cell->name) > 200)
        return mistake(reading, "a cell's name is longer than 200 characters: use fewer keys or shorter values");
    if (json_object_get(reading->names, cell->name))
        return error_set(reading->err, CODE_DATA, "%s: sweep: the cell %s is there twice", reading->path, cell->name);
    return json_object_set_new(reading->names, cell->name, json_true()) == 0 ? 0 : error_memory(reading->err);
}

static bool is_rule(const char *key) {
    return strcmp(key, "skip") == 0 || strcmp(key, "only") == 0;
}

/* Every combination of the lists from `key` on. */
static int expand(const struct reading *reading, json_t *product, void *key, json_t *choice) {
    while (key && is_rule(json_object_iter_key(key))) key = json_object_iter_next(product, key);
    if (!key) {
        const json_t *skip = json_object_get(product, "skip"), *only = json_object_get(product, "only");
        if ((skip && any_matches(skip, choice)) || (only && !any_matches(only, choice))) return 0;
        return add_cell(reading, choice);
    }
    const json_t *values = json_object_iter_value(key);
    for (size_t i = 0; i < json_array_size(values); i++) {
        json_t *next = json_whole_copy(choice);
        int rc = next && flatten(next, json_object_iter_key(key), json_array_get(values, i)) == 0
                     ? expand(reading, product, json_object_iter_next(product, key), next)
                     : error_memory(reading->err);
        json_decref(next);
        if (rc != 0) return -1;
    }
    return 0;
}

static int expected(const struct reading *reading, const char *key, const char *what, const json_t *value) {
    char *found = value_text(value);
    error_set(reading->err, CODE_DATA, "%s: sweep: %s: expected %s, found %.200s", reading->path, key, what,
              found ? found : "?");
    free(found);
    return -1;
}

/* `skip` and `only` name keys that a choice may have; others would say nothing. */
static int check_rule(const struct reading *reading, const char *name, const json_t *rules, const json_t *keys) {
    const char *key;
    json_t *allowed;
    for (size_t i = 0; i < (json_is_array(rules) ? json_array_size(rules) : 1); i++) {
        const json_t *rule = json_is_array(rules) ? json_array_get(rules, i) : rules;
        if (json_object_size(rule) == 0) return expected(reading, name, "maps of key: [values]", rule);
        json_object_foreach((json_t *)rule, key, allowed) {
            if (!json_object_get(keys, key)) return expected(reading, name, "keys of the lists beside it", rule);
        }
    }
    return 0;
}

static int check_rules(const struct reading *reading, const json_t *product) {
    json_t *keys = json_object(), *values, *value; /* keys: of {sampler: [{solver: ddim}]} sampler.solver */
    const char *key;
    size_t i;
    int rc = keys ? 0 : error_memory(reading->err);
    json_object_foreach((json_t *)product, key, values) {
        json_array_foreach(values, i, value) {
            if (rc == 0 && !is_rule(key) && flatten(keys, key, value) != 0) rc = error_memory(reading->err);
        }
    }
    json_object_foreach((json_t *)product, key, values) {
        if (rc == 0 && is_rule(key)) rc = check_rule(reading, key, values, keys);
    }
    json_decref(keys);
    return rc;
}

static int read_product(struct reading *reading, json_t *product) {
    const char *key;
    json_t *values;
    double combinations = 1;
    if (!json_is_object(product)) return mistake(reading, "expected a map of key: [values], or a list of such maps");
    json_object_foreach(product, key, values) {
        bool rule = is_rule(key);
        if (!rule) combinations *= (double)json_array_size(values);
        if (!rule && json_array_size(values) == 0) return expected(reading, key, "a list of values", values);
    }
    if ((reading->combinations += combinations) > COMBINATIONS_MOST)
        return mistake(reading, "more than 1,000,000 combinations, skipped ones counted too: make it smaller");
    if (check_rules(reading, product) != 0) return -1;
    json_t *choice = json_object();
    int rc = choice ? expand(reading, product, json_object_iter(product), choice) : error_memory(reading->err);
    json_decref(choice);
    return rc;
}

/* Takes `race` away, which stands beside the lists or in a map of its own. */
static int take_race(struct reading *reading, json_t *products) {
    json_t *race = json_is_object(products) ? json_object_get(products, "race") : NULL;
    reading->sweep->race = race ? json_incref(race) : NULL;
    if (race) return json_object_del(products, "race");
    for (size_t i = json_array_size(products); i-- > 0;) {
        json_t *product = json_array_get(products, i);
        if (!(race = json_object_get(product, "race"))) continue;
        if (json_object_size(product) > 1 || reading->sweep->race)
            return mistake(reading, "race: in a list of maps it stands once, in a map of its own: - {race: {...}}");
        reading->sweep->race = json_incref(race);
        json_array_remove(products, i);
    }
    return 0;
}

/* The folder that the cells' folders go to, as a job's own would be named. */
static int sweep_dir(char **found, const json_t *root, const char *path, struct error *err) {
    const char *dir = json_string_value(json_object_get(json_object_get(root, "output"), "dir"));
    const char *name = json_string_value(json_object_get(root, "name"));
    if (dir) return path_expand(found, dir, err) == 0 ? 0 : error_prefix(err, "%s: output.dir", path);
    char *of_file = name ? NULL : job_name_of_file(path);
    *found = name || of_file ? text_new("runs/%s", name ? name : of_file) : NULL;
    free(of_file);
    return *found ? 0 : error_memory(err);
}

/* New: the file's tree under the caller's overrides. */
static int read_root(const struct reading *reading, json_t **root) {
    json_t *places = json_object(); /* not asked for */
    *root = json_deep_copy(reading->file->root);
    int rc = places && *root ? 0 : error_memory(reading->err);
    for (size_t i = 0; rc == 0 && json_is_object(*root) && i < reading->overrides_count; i++)
        rc = job_override(*root, places, reading->overrides[i], reading->err);
    json_decref(places);
    return rc;
}

int sweep_read(struct sweep *sweep, const struct job_file *file, const char *const *overrides, size_t count,
               struct error *err) {
    json_t *root = NULL;
    const char *path = file->source.name;
    *sweep = (struct sweep){0};
    struct reading reading = {file, path, overrides, count, sweep, err, json_object(), 0};
    int rc = reading.names ? read_root(&reading, &root) : error_memory(err);
    json_t *products = json_object_get(root, "sweep");
    if (rc == 0 && products) {
        rc = sweep_dir(&sweep->dir, root, path, err);
        if (rc == 0) rc = take_race(&reading, products);
        if (rc == 0 && !json_is_array(products)) rc = read_product(&reading, products);
        for (size_t i = 0; rc == 0 && i < json_array_size(products); i++)
            rc = read_product(&reading, json_array_get(products, i));
        if (rc == 0 && sweep->count == 0)
            rc = mistake(&reading, reading.combinations > 0 ? "it has no cells: skip and only leave none" : NO_KEYS);
    }
    json_decref(reading.names);
    json_decref(root);
    if (rc != 0) sweep_release(sweep);
    return rc;
}

int sweep_find(const struct sweep *sweep, const char *which, const struct sweep_cell **cell, struct error *err) {
    uint64_t number;
    if (sweep->count == 0) return error_set(err, CODE_USAGE, "--cell %s: this job has no sweep", which);
    for (size_t i = 0; i < sweep->count; i++)
        if (strcmp(sweep->cells[i].name, which) == 0) return *cell = &sweep->cells[i], 0;
    if (!text_to_u64(which, &number) || number >= sweep->count)
        return error_set(
            err, CODE_USAGE,
            "--cell: expected a number from 0 to %zu or a cell's name (qtaylor plan JOB --cells lists them), found %s",
            sweep->count - 1, which);
    *cell = &sweep->cells[number];
    return 0;
}
