/* The making of the list; cells.c has what is done with it. */
#include "run/cells.h"

#include "base/log.h"
#include "base/text.h"
#include "config/override.h"
#include "format/json_file.h"
#include "job/fingerprint.h"
#include "job/sweep.h"
#include "metric/sweep_race.h"
#include "sample/automatic.h"
#include "run/claim.h"
#include "run/redecode.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *dir_of(const json_t *document) {
    return json_string_value(json_member(json_object_get(document, "job"), "output", "dir"));
}

/* What two cells of the same samples have in common, as text: new. */
static char *samples_key(const json_t *document) {
    const json_t *job = json_object_get(document, "job");
    json_t *key = json_pack("[O?, O?, O?]", json_object_get(document, "fingerprint"), json_object_get(job, "seeds"),
                            json_object_get(job, "evaluate"));
    char *text = key ? json_text(key, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(key);
    return text;
}

/* Members of documents that many cells have alike: the list holds each value once. */
static const char *const shared_names[] = {"plan", "keys", "sampler", "card", "guide", "decoder", "versions"};
enum { OF_SAMPLER = 3 /* the first of these */, SHARED_NAMES = sizeof shared_names / sizeof *shared_names };

/* A list in the making. */
struct listing {
    const struct job_file *file;
    json_t *cells, *values; /* arrays of the list */
    json_t *samples;        /* samples_key: number of the first cell that has them */
    json_t *indices;        /* a shared member's name and the sampler's text: where in values the last of these is */
    struct automatic *automatic; /* the same for all */
    struct error *err;
};

/* Where in the list's values this one is; -1: out of memory. */
static json_int_t share_value(struct listing *listing, const char *key, json_t *value) {
    const json_t *known = json_object_get(listing->indices, key);
    if (known && json_equal(json_array_get(listing->values, (size_t)json_integer_value(known)), value))
        return json_integer_value(known);
    json_int_t index = (json_int_t)json_array_size(listing->values);
    bool kept = json_array_append(listing->values, value) == 0 &&
                json_object_set_new(listing->indices, key, json_integer(index)) == 0;
    return kept ? index : -1;
}

/* The fingerprint's keys name the sampler and the card again: the same values, not copies. */
static bool thin_keys(struct listing *listing, json_t *document) {
    json_t *keys = json_object_get(document, "keys"), *sampler = json_object_get(document, "sampler");
    const json_t *known = json_object_get(listing->indices, "card ");
    json_t *card = known ? json_array_get(listing->values, (size_t)json_integer_value(known)) : NULL;
    return (!json_equal(json_object_get(keys, "sampler"), sampler) || json_object_set(keys, "sampler", sampler) == 0) &&
           (!json_equal(json_object_get(keys, "card"), card) || json_object_set(keys, "card", card) == 0);
}

/* Moves what many documents have alike out of this one. New: {name: index}; NULL when out of memory. */
static json_t *share_members(struct listing *listing, json_t *document) {
    char *sampler = json_text(json_object_get(document, "sampler"), JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_t *shared = sampler ? json_object() : NULL;
    bool whole = shared && thin_keys(listing, document);
    for (size_t i = 0; whole && i < SHARED_NAMES; i++) {
        bool plan = strcmp(shared_names[i], "plan") == 0;
        json_t *value = json_object_get(document, shared_names[i]);
        json_t *kept = plan ? plan_pack_json(value) : json_incref(value);
        if (plan) whole = json_object_set(document, "plan_sha256", json_object_get(kept, "sha256")) == 0;
        char *key = text_new("%s %s", shared_names[i], i < OF_SAMPLER ? sampler : "");
        json_int_t index = key && kept ? share_value(listing, key, kept) : -1;
        whole = whole && key &&
                (!value || (index >= 0 && json_object_set_new(shared, shared_names[i], json_integer(index)) == 0 &&
                            json_object_set_new(document, shared_names[i], json_null()) == 0)); /* keeps its place */
        json_decref(kept);
        free(key);
    }
    free(sampler);
    if (whole) return shared;
    json_decref(shared);
    return NULL;
}

/* Takes the document over. */
static int list_one(json_t **list, const char *dir, json_t *document, struct error *err) {
    *list = json_pack("{s:s, s:b, s:[{s:i, s:s, s:o}]}", "dir", dir, "sweep", false, "cells", "same_as", 0, "dir", dir,
                      "document", document);
    return *list ? 0 : error_memory(err);
}

static int settled_document(json_t **document, const struct job_file *file, const char *const *overrides, size_t count,
                            struct automatic *automatic, struct error *err) {
    if (document_make(document, file, overrides, count, automatic, err) != 0) return -1;
    if (claim_settle(*document, err) == 0) return 0;
    json_decref(*document);
    *document = NULL;
    return -1;
}

static int add_cell(struct listing *listing, const struct sweep_cell *from) {
    struct error *err = listing->err;
    json_t *document = NULL, *shared = NULL;
    size_t number = json_array_size(listing->cells);
    log_about("cell %s", from->name);
    int rc = settled_document(&document, listing->file, from->overrides, from->count, listing->automatic, err);
    log_about_all();
    if (rc != 0) return error_prefix(err, "cell %s", from->name);
    char *key = samples_key(document);
    const json_t *same = key ? json_object_get(listing->samples, key) : NULL;
    json_t *cell = json_pack("{s:s, s:O, s:I, s:s}", "name", from->name, "values", from->values, "same_as",
                             same ? json_integer_value(same) : (json_int_t)number, "dir", dir_of(document));
    bool whole = key && cell && json_array_append(listing->cells, cell) == 0;
    if (whole && !same)
        whole = json_object_set_new(listing->samples, key, json_integer((json_int_t)number)) == 0 &&
                (shared = share_members(listing, document)) && json_object_set(cell, "shared", shared) == 0 &&
                json_object_set(cell, "document", document) == 0;
    free(key);
    json_decref(shared);
    json_decref(cell);
    json_decref(document);
    return whole ? 0 : error_memory(err);
}

/* A string, or null where the bytes are no UTF-8. */
static json_t *string_or_null(const char *text) {
    json_t *string = text ? json_string(text) : NULL;
    return string ? string : json_null();
}

/* How the sweep was asked for: new, or NULL when out of memory. */
static json_t *asked(const struct job_file *file, const char *const *overrides, size_t count) {
    char *here = getcwd(NULL, 0);
    json_t *given = json_array();
    for (size_t i = 0; i < count; i++) json_list_add(&given, string_or_null(overrides[i]));
    json_t *job = json_pack("{s:o, s:o, s:o, s:o}", "path", string_or_null(file->path), "directory",
                            string_or_null(here), "overrides", given, "text", string_or_null(file->source.text));
    free(here);
    return job;
}

static int model_calls(const struct listing *listing, const json_t *cell) {
    const json_t *index = json_member(cell, "shared", "plan");
    const json_t *plan = json_array_get(listing->values, (size_t)json_integer_value(index));
    return (int)json_integer_value(json_object_get(plan, "model_calls")); /* null, of an adaptive one: 0 */
}

static int check_race(const struct listing *listing, const struct race *race, struct race_costs *costs) {
    const json_t *first = NULL, *cell;
    size_t i;
    json_array_foreach(listing->cells, i, cell) {
        const json_t *document = json_object_get(cell, "document"), *job = json_object_get(document, "job");
        const struct race_cell of = {json_string_value(json_object_get(cell, "name")), job,
                                     (uint64_t)json_integer_value(json_object_get(document, "shard_rows")),
                                     model_calls(listing, cell)};
        if (!job) continue; /* it has another's samples */
        if (!first) first = document;
        const struct race_cell other = {NULL, json_object_get(first, "job"),
                                        (uint64_t)json_integer_value(json_object_get(first, "shard_rows")), 0};
        if (race_check(race, &of, &other, listing->file->path, listing->err) != 0) return -1;
        race_cost_add(costs, &of);
    }
    race_warn(costs, listing->file->path);
    return 0;
}

/* What the cells that are there were made with holds for new ones. */
static int recall_cells(struct automatic *automatic, const struct sweep *sweep, struct error *err) {
    bool found = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && !found && i < sweep->count; i++) {
        char *dir = text_new("%s/%s", sweep->dir, sweep->cells[i].name);
        rc = dir ? automatic_recall(automatic, &found, dir, err) : error_memory(err);
        free(dir);
    }
    return rc;
}

static int list_sweep(json_t **list, struct job_file *file, const struct sweep *sweep, const char *const *overrides,
                      size_t count, struct automatic *automatic, struct error *err) {
    struct listing listing = {file, json_array(), json_array(), json_object(), json_object(), automatic, err};
    int rc = listing.cells && listing.values && listing.samples && listing.indices ? 0 : error_memory(err);
    if (rc == 0) rc = recall_cells(automatic, sweep, err);
    /* Read; not to be copied a cell. */
    if (rc == 0) rc = override_apply(file->root, file->places, "sweep=null", NULL, err);
    log_once("cells");
    for (size_t i = 0; rc == 0 && i < sweep->count; i++) rc = add_cell(&listing, &sweep->cells[i]);
    log_once(NULL);
    struct race rules;
    struct race_costs costs = {0};
    if (rc == 0 && sweep->race) rc = race_read(&rules, sweep->race, file->path, err);
    if (rc == 0 && sweep->race) rc = check_race(&listing, &rules, &costs);
    if (rc == 0) {
        json_t *calls = costs.unequal ? json_pack("[i, i]", costs.least, costs.most) : NULL;
        json_t *race = costs.cells > 1 ? json_pack("{s:s, s:f, s:o*}", "metric", race_metrics[rules.metric],
                                                   "confidence", rules.confidence, "model_calls", calls)
                                       : NULL;
        *list = json_pack("{s:s, s:b, s:o*, s:o, s:O, s:O}", "dir", sweep->dir, "sweep", true, "race", race, "job",
                          asked(file, overrides, count), "values", listing.values, "cells", listing.cells);
        rc = *list ? 0 : error_memory(err);
    }
    json_decref(listing.indices);
    json_decref(listing.samples);
    json_decref(listing.values);
    json_decref(listing.cells);
    return rc;
}

static int list_job(json_t **list, const struct job_file *file, const char *const *overrides, size_t count,
                    struct automatic *automatic, struct error *err) {
    json_t *document;
    if (settled_document(&document, file, overrides, count, automatic, err) != 0) return -1;
    char sha256[SHA256_HEX];
    json_t *plan = NULL; /* of one job it is not packed */
    int rc = document_plan_json(&plan, document, err);
    if (rc == 0) rc = plan_json_digest(plan, sha256, err);
    if (rc == 0 && (json_object_set(document, "plan", plan) != 0 ||
                    json_object_set_new(document, "plan_sha256", json_string(sha256)) != 0))
        rc = error_memory(err);
    json_decref(plan);
    if (rc == 0) return list_one(list, dir_of(document), document, err);
    json_decref(document);
    return -1;
}

int cells_list(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count, int cores,
               struct error *err) {
    struct sweep sweep = {0};
    struct automatic automatic;
    struct job_file file;
    *list = NULL;
    automatic_init(&automatic, cores);
    if (job_file_read(&file, job_path, err) != 0) return -1;
    int rc = sweep_read(&sweep, &file, overrides, overrides_count, err);
    if (rc == 0)
        rc = sweep.count > 0 ? list_sweep(list, &file, &sweep, overrides, overrides_count, &automatic, err)
                             : list_job(list, &file, overrides, overrides_count, &automatic, err);
    sweep_release(&sweep);
    job_file_release(&file);
    return rc;
}

int cells_list_cell(json_t **list, const char *job_path, const char *const *overrides, size_t overrides_count,
                    const char *which, int cores, struct error *err) {
    struct sweep sweep = {0};
    struct automatic automatic;
    struct job_file file;
    const struct sweep_cell *cell;
    *list = NULL;
    if (job_file_read(&file, job_path, err) != 0) return -1;
    int rc = sweep_read(&sweep, &file, overrides, overrides_count, err);
    if (rc == 0) rc = sweep_find(&sweep, which, &cell, err);
    if (rc == 0 && sweep.race) log_warn("%s: --cell: one cell is no race: it gets all its samples", job_path);
    automatic_init(&automatic, cores);
    if (rc == 0) rc = recall_cells(&automatic, &sweep, err);
    if (rc == 0) rc = list_job(list, &file, cell->overrides, cell->count, &automatic, err);
    sweep_release(&sweep);
    job_file_release(&file);
    return rc;
}

int cells_list_run(json_t **list, const char *dir, struct error *err) {
    json_t *document;
    *list = NULL;
    if (path_check_utf8(dir, err) != 0) return -1;
    return document_read(&document, dir, err) == 0 ? list_one(list, dir, document, err) : -1;
}

/* Why the document does not go on with the run in its folder: *err, or, of another decoder's pictures of the same
 * latents, what to do about that. */
static void explain_decoder(const json_t *document, const struct other_decoder *decoder, struct error *err) {
    const char *dir = dir_of(document);
    char here[SHA256_HEX], there[SHA256_HEX];
    struct error ignored;
    json_t *older;
    if (document_read(&older, dir, &ignored) != 0) return;
    if (fingerprint_of_latents(json_object_get(document, "keys"), here, &ignored) == 0 &&
        fingerprint_of_latents(json_object_get(older, "keys"), there, &ignored) == 0 && strcmp(here, there) == 0 &&
        !json_equal(json_object_get(document, "fingerprint"), json_object_get(older, "fingerprint")))
        error_set(err, CODE_DATA,
                  "%s holds the pictures of another decoder (or of another `batch` of it) than %s: %s, or remove that "
                  "folder",
                  dir, decoder->path,
                  decoder->name ? "give this one another name in the list, {path: ..., name: NAME}"
                                : "choose another --output");
    json_decref(older);
}

int cells_list_redecoded(json_t **list, const char *dir, const struct other_decoder *decoder, const char *output,
                         struct error *err) {
    json_t *document;
    *list = NULL;
    if (path_check_utf8(dir, err) != 0 || path_check_utf8(decoder->path, err) != 0 ||
        path_check_utf8(output, err) != 0 || redecode_document(&document, dir, decoder, output, err) != 0)
        return -1;
    if (claim_settle(document, err) == 0) return list_one(list, dir_of(document), document, err);
    if (err->code == CODE_DATA) explain_decoder(document, decoder, err);
    json_decref(document);
    return -1;
}
