/* The key `evaluate` of a job. */
#include "job/job_evaluate.h"

#include "base/text.h"
#include "format/json_file.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *const metric_names[] = {"fid",  "sfid",  "fid_infinity", "kid", "is",         "prdc", "cmmd",
                                    "mind", "vendi", "fld",          "fdr", "clip-score", NULL};
_Static_assert(sizeof metric_names / sizeof *metric_names == METRIC_KINDS + 1, "a name for every enum metric");
const char *const evaluated_file_names[] = {"reference", "validation", "text", NULL};

#define AT(member) offsetof(struct job, evaluate.member)

/* ---- metrics ---- */

const char *metric_guess(const char *name) {
    static const struct {
        const char *theirs, *ours;
    } others[] = {
        /* StyleGAN's, torch-fidelity's, ADM's, prdc's */
        {"fid50k", "fid"},
        {"fid50k_full", "fid"},
        {"frechet_inception_distance", "fid"},
        {"fid_inf", "fid_infinity"},
        {"kid50k", "kid"},
        {"kid50k_full", "kid"},
        {"kernel_inception_distance", "kid"},
        {"mmd", "kid"},
        {"is50k", "is"},
        {"isc", "is"},
        {"inception_score", "is"},
        {"pr50k3", "prdc"},
        {"pr50k3_full", "prdc"},
        {"prc", "prdc"},
        {"pr", "prdc"},
        {"precision", "prdc"},
        {"recall", "prdc"},
        {"density", "prdc"},
        {"coverage", "prdc"},
        {"spatial_fid", "sfid"},
        {"clip_mmd", "cmmd"},
        {"monge_inception_distance", "mind"},
        {"vendi_score", "vendi"},
        {"feature_likelihood_divergence", "fld"},
        {"fd_ratio", "fdr"},
        {"clip_score", "clip-score"},
        {"clipscore", "clip-score"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcasecmp(name, others[i].theirs) == 0) return others[i].ours;
    return text_nearest(name, metric_names);
}

static int fail_metric(const struct key_reader *reader, const char *path, size_t index, const json_t *value) {
    const char *name = json_string_value(value);
    char *item = text_new("%s[%zu]", path, index);
    struct text expected = {0};
    text_add_names(&expected, metric_names, ", ", " or ");
    int rc = item && !expected.failed
                 ? key_fail_name(reader, item, expected.data, value, name ? metric_guess(name) : NULL)
                 : error_memory(reader->err);
    text_release(&expected);
    free(item);
    return rc;
}

static int read_metrics(KEY_READ_ARGUMENTS) {
    unsigned *metrics = member;
    if (json_array_size(value) == 0) return key_fail(reader, path, key->expected, value);
    *metrics = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        int metric = text_find(json_string_value(json_array_get(value, i)), metric_names);
        if (metric < 0) return fail_metric(reader, path, i, json_array_get(value, i));
        *metrics |= 1u << metric;
    }
    return 0;
}

static json_t *write_metrics(const struct key *key, const void *member) {
    (void)key;
    json_t *names = json_array();
    for (unsigned metric = 0; metric_names[metric]; metric++)
        if (*(const unsigned *)member >> metric & 1) json_list_add(&names, json_string(metric_names[metric]));
    return names;
}

static const struct key_kind METRICS = {read_metrics, write_metrics};

/* ---- names of networks ---- */

bool network_name_fits(const char *name) {
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return length > 0 && length < NETWORK_NAME && name[length] == '\0';
}

/* ---- features: a network, or a list of them, each a path or {name, path} ---- */

static const struct key path_key = {.name = "path", .kind = &KEY_PATH, .expected = "a path"};

static int check_name(const struct key_reader *reader, const char *path, const char *name) {
    if (network_name_fits(name)) return 0;
    return key_error(reader, path, "expected a name of at most %d letters, digits, _ and -, found \"%.80s\"",
                     NETWORK_NAME - 1, name);
}

/* `none`, a path, or {name, path}. */
static int read_network(KEY_READ_ARGUMENTS) {
    struct named_path *to = member;
    const json_t *file = json_is_object(value) ? json_object_get(value, "path") : value;
    const char *text = json_string_value(file), *name = json_string_value(json_object_get(value, "name"));
    if (json_is_object(value) && (!name || !text || json_object_size(value) != 2))
        return key_fail(reader, path, key->expected, value);
    if (name && check_name(reader, path, name) != 0) return -1;
    if (name && !(to->name = strdup(name))) return error_memory(reader->err);
    return text && strcmp(text, "none") == 0 ? 0 : KEY_PATH.read(reader, key, path, file, &to->path);
}

/* An item of a list or map, which `read` puts into the next place of *paths. */
static int read_item(const struct key_reader *reader, const struct key *key, char *path, const json_t *value,
                     struct named_paths *paths, int (*read)(KEY_READ_ARGUMENTS)) {
    int rc = !path ? error_memory(reader->err)
             : paths->count == EVALUATED_MOST
                 ? key_error(reader, path, "expected at most %d, found more", EVALUATED_MOST)
                 : read(reader, key, path, value, &paths->list[paths->count++]);
    free(path);
    return rc;
}

static int read_features(KEY_READ_ARGUMENTS) {
    struct named_paths *networks = member;
    networks->count = json_is_array(value) ? 0 : 1;
    if (!json_is_array(value)) return read_network(reader, key, path, value, &networks->list[0]);
    if (json_array_size(value) == 0) return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (read_item(reader, key, text_new("%s[%zu]", path, i), json_array_get(value, i), networks, read_network) != 0)
            return -1;
    return 0;
}

static json_t *write_network(const struct named_path *network) {
    json_t *path = network->path ? KEY_PATH.write(&path_key, &network->path) : json_string("none");
    return network->name && path ? json_pack("{s:s, s:o}", "name", network->name, "path", path) : path;
}

static json_t *write_features(const struct key *key, const void *member) {
    const struct named_paths *networks = member;
    (void)key;
    if (networks->count == 1) return write_network(&networks->list[0]);
    json_t *list = json_array();
    for (size_t i = 0; i < networks->count; i++) json_list_add(&list, write_network(&networks->list[i]));
    return list;
}

/* ---- files that belong to a network: one for all, a list in the networks' order, or a map by their names ---- */

static int read_file(KEY_READ_ARGUMENTS) {
    return KEY_PATH.read(reader, key, path, value, &((struct named_path *)member)->path);
}

static int read_files(KEY_READ_ARGUMENTS) {
    struct named_paths *files = member;
    const char *name;
    json_t *entry;
    files->count = 0;
    if (json_is_string(value)) return read_file(reader, key, path, value, &files->list[files->count++]);
    if (json_array_size(value) == 0 && json_object_size(value) == 0)
        return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (read_item(reader, key, text_new("%s[%zu]", path, i), json_array_get(value, i), files, read_file) != 0)
            return -1;
    json_object_foreach((json_t *)value, name, entry) {
        if (read_item(reader, key, text_new("%s.%s", path, name), entry, files, read_file) != 0) return -1;
        if (!(files->list[files->count - 1].name = strdup(name))) return error_memory(reader->err);
    }
    return 0;
}

static json_t *write_files(const struct key *key, const void *member) {
    const struct named_paths *files = member;
    if (files->count == 0) return json_null();
    if (files->count == 1 && !files->list[0].name) return KEY_PATH.write(key, &files->list[0].path);
    json_t *list = files->list[0].name ? json_object() : json_array();
    for (size_t i = 0; i < files->count; i++) {
        json_t *path = KEY_PATH.write(key, &files->list[i].path);
        if (files->list[0].name) json_map_add(&list, files->list[i].name, path);
        else json_list_add(&list, path);
    }
    return list;
}

/* ---- the table ---- */

static const struct key until_rows[] = {
    {"fid_error", &KEY_NUMBER, offsetof(struct job, evaluate.fid_error), .expected = "a number above 0",
     .required = true, KEY_RANGE(DBL_MIN, DBL_MAX)},
};
static const struct key_table until_table = KEY_TABLE(until_rows);

static int read_until(KEY_READ_ARGUMENTS) { /* the member is the job */
    if (!json_is_object(value)) return key_fail(reader, path, key->expected, value);
    return keys_read(reader, &until_table, path, value, member);
}

static json_t *write_until(const struct key *key, const void *member) {
    (void)key;
    return isnan(((const struct job *)member)->evaluate.fid_error) ? json_null() : keys_write(&until_table, member);
}

static const struct key_kind FEATURES = {read_features, write_features}, FILES = {read_files, write_files},
                             UNTIL = {read_until, write_until};
static const struct key evaluate_rows[] = {
    {"features", &FEATURES, AT(features),
     .expected = "a feature network's path, or none; or a list of these, or of {name: ..., path: ...}",
     .required = true},
    {"reference", &FILES, AT(files[EVALUATED_REFERENCE]),
     .expected = "the path of reference statistics (.npz), features or images", .required = true},
    {"validation", &FILES, AT(files[EVALUATED_VALIDATION]),
     .expected = "the path of statistics (.npz), features or images of a second set"},
    {"text", &FILES, AT(files[EVALUATED_TEXT]), .expected = "the path of the texts' features (.npy)"},
    {"metrics", &METRICS, AT(metrics), .expected = "a list such as [fid, kid]"},
    {"count", &KEY_INT64, AT(count), .expected = "a whole number from 2 to 9e15, or 0 for all samples",
     KEY_RANGE(0, 9e15)},
    {"until", &UNTIL, 0, .expected = "a map with fid_error"},
};
static const struct key_table evaluate_table = KEY_TABLE(evaluate_rows);

/* A file for each network, one for all of them, or some by name. */
static int check_number(const struct key_reader *reader, const char *path, const struct job *job, int kind) {
    size_t networks = job->evaluate.features.count;
    const struct named_paths *files = &job->evaluate.files[kind];
    if (files->count <= 1 || files->list[0].name || files->count == networks) return 0;
    char *below = text_new("%s.%s", path, evaluated_file_names[kind]);
    int rc = below ? key_error(reader, below,
                               "expected one for all, or one for each of the %zu networks of features in their order, "
                               "found %zu",
                               networks, files->count)
                   : error_memory(reader->err);
    free(below);
    return rc;
}

int job_read_evaluate(KEY_READ_ARGUMENTS) {
    struct job *job = member;
    (void)key;
    job->evaluate.enabled = true;
    job->evaluate.metrics = 1; /* fid */
    int rc = keys_read(reader, &evaluate_table, path, value, member);
    for (int kind = 0; rc == 0 && kind < EVALUATED_FILES; kind++) rc = check_number(reader, path, job, kind);
    return rc;
}

json_t *job_write_evaluate(const struct key *key, const void *member) {
    (void)key;
    return ((const struct job *)member)->evaluate.enabled ? keys_write(&evaluate_table, member) : json_null();
}

static void release(struct named_paths *paths) {
    for (size_t i = 0; i < paths->count; i++) {
        free(paths->list[i].name);
        free(paths->list[i].path);
    }
}

void job_release_evaluate(struct job *job) {
    release(&job->evaluate.features);
    for (int kind = 0; kind < EVALUATED_FILES; kind++) release(&job->evaluate.files[kind]);
}
