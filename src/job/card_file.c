/* Finding a card inside a model file; the inputs that a card names. */
#include "base/files.h"
#include "base/text.h"
#include "format/zip_file.h"
#include "job/card.h"
#include "job/card_inputs.h"
#include "job/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse_json(json_t **json, const char *data, size_t size, const char *where, struct error *err) {
    json_error_t at;
    *json = json_loadb(data, size, JSON_REJECT_DUPLICATES, &at);
    if (*json) return 0;
    return error_set(err, CODE_DATA, "%s:%d:%d: expected JSON, found %s", where, at.line, at.column, at.text);
}

/* The position of extra/NAME, under whatever the archive calls its root folder; -1 when there is none. */
static int find_extra(zip_int64_t *found, zip_t *archive, const char *name, const char *path, struct error *err) {
    zip_int64_t count = zip_get_num_entries(archive, 0);
    char *wanted = text_new("/extra/%s", name);
    int rc = wanted ? 0 : error_memory(err);
    *found = -1;
    for (zip_int64_t i = 0; rc == 0 && i < count; i++) {
        const char *entry = zip_get_name(archive, (zip_uint64_t)i, 0);
        size_t length = entry ? strlen(entry) : 0, tail = strlen(wanted);
        if (!entry ||
            (strcmp(entry, wanted + 1) != 0 && (length <= tail || strcmp(entry + length - tail, wanted) != 0)))
            continue;
        if (*found >= 0) rc = error_set(err, CODE_DATA, "%s holds %s twice: export the model again", path, wanted + 1);
        *found = i;
    }
    free(wanted);
    return rc;
}

static int read_entry(json_t **json, zip_t *archive, zip_uint64_t index, const char *where, struct error *err) {
    enum { LARGEST = 64 << 20 };
    char *data;
    size_t size;
    if (zip_read_member(archive, index, LARGEST, where, &data, &size, err) != 0) return -1;
    int rc = parse_json(json, data, size, where, err);
    free(data);
    return rc;
}

static bool is_model_card(const char *name) {
    return strcmp(name, "diffusion.json") == 0;
}

/* Where a JSON model has the extra file of this name. */
static const char *member_of(const char *name) {
    return is_model_card(name) ? "card" : strcmp(name, "decoder.json") == 0 ? "decoder" : "features";
}

/* A package's metadata: names and texts. *metadata new. */
static int read_metadata(json_t **metadata, zip_t *archive, const char *path, struct error *err) {
    char *where = text_new("%s: metadata", path);
    int rc = where ? read_entry(metadata, archive, (zip_uint64_t)model_package_metadata(archive), where, err)
                   : error_memory(err);
    free(where);
    if (rc == 0 && !json_is_object(*metadata)) {
        json_decref(*metadata);
        *metadata = NULL;
        rc = error_set(err, CODE_DATA, "%s: metadata: expected a JSON map", path);
    }
    return rc;
}

/* *json NULL: the file has none. */
static int read_package(json_t **json, zip_t *archive, const char *path, const char *name, struct error *err) {
    json_t *metadata = NULL;
    if (read_metadata(&metadata, archive, path, err) != 0) return -1;
    const char *text = json_string_value(json_object_get(metadata, name));
    char *where = text_new("%s: metadata: %s", path, name);
    int rc = !where ? error_memory(err) : !text ? 0 : parse_json(json, text, strlen(text), where, err);
    free(where);
    json_decref(metadata);
    return rc;
}

/* *json NULL: the file has none. */
static int read_archive(json_t **json, const char *path, const char *name, struct error *err) {
    zip_t *archive;
    uint64_t bytes;
    if (zip_of_file(&archive, &bytes, path, "a whole zip archive", err) != 0) return -1;
    if (model_package_metadata(archive) >= 0) {
        int rc = read_package(json, archive, path, name, err);
        zip_discard(archive);
        return rc;
    }
    zip_int64_t index;
    int found = find_extra(&index, archive, name, path, err);
    char *where = text_new("%s: %s", path, name);
    const char *kind = model_archive_kind(archive);
    int rc = found != 0 ? -1
             : !where   ? error_memory(err)
             : index < 0 && kind
                 ? error_set(err, CODE_DATA, "%s: expected a TorchScript archive or an AOTInductor package, found %s",
                             path, kind)
             : index < 0 ? 0
                         : read_entry(json, archive, (zip_uint64_t)index, where, err);
    free(where);
    zip_discard(archive);
    return rc;
}

static int read_json_model(json_t **json, const char *path, const char *name, struct error *err) {
    char *data;
    size_t size;
    json_t *model = NULL;
    if (file_read(path, &data, &size, err) != 0) return -1;
    int rc = parse_json(&model, data, size, path, err);
    if (rc == 0) { *json = json_incref(json_object_get(model, member_of(name))); }
    json_decref(model);
    free(data);
    return rc;
}

/* The first bytes of a file, which tell its kind however large it is. *size: of them. */
static int read_start(char start[16], size_t *size, const char *path, struct error *err) {
    int fd = file_open(path, O_RDONLY, err);
    if (fd < 0) return -1;
    ssize_t got = read(fd, start, 16);
    int failed = got < 0 ? errno : 0;
    close(fd);
    if (failed) return error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(failed));
    *size = (size_t)got;
    return 0;
}

static bool is_archive(const char start[16], size_t size) {
    return size >= 4 && memcmp(start, "PK\3\4", 4) == 0;
}

/* *json NULL: the file has none. */
static int read_json(json_t **json, const char *model_path, const char *name, struct error *err) {
    *json = NULL;
    char start[16] = {0};
    size_t got;
    if (read_start(start, &got, model_path, err) != 0) return -1;
    if (is_archive(start, got)) return read_archive(json, model_path, name, err);
    if (got && strchr("{ \t\r\n", start[0])) return read_json_model(json, model_path, name, err);
    const char *kind = model_file_kind(start, got);
    return error_set(err, CODE_DATA, "%s: expected a TorchScript archive (zip) or a JSON model, found %s", model_path,
                     kind ? kind : "neither");
}

#define EXPECTED "%s: expected a card (extra/%s, or that name in a package's metadata) inside, found "

static int no_card(const char *path, const char *name, struct error *err) {
    static const char *const others[][2] = {{"diffusion.json", "a model of samples"},
                                            {"decoder.json", "a decoder"},
                                            {"features.json", "a feature network"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct error ignored;
        json_t *there = NULL;
        if (read_json(&there, path, others[i][0], &ignored) != 0 || !there) continue;
        json_decref(there);
        return error_set(err, CODE_DATA, EXPECTED "that of %s (%s)", path, name, others[i][1], others[i][0]);
    }
    return error_set(err, CODE_DATA, EXPECTED "none%s", path, name,
                     is_model_card(name) ? "; it can be given in the job: model: {path: ..., card: {...}}" : "");
}

/* What this process read last: a sweep asks for its model's card once a cell. */
static struct {
    struct stat stat;
    char name[32];
    json_t *json; /* NULL: nothing */
} last;
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

int card_find_extra(json_t **json, const char *model_path, const char *name, struct error *err) {
    struct stat before, after;
    bool there, known = false;
    *json = NULL;
    if (file_look(model_path, &before, &there, err) != 0) return -1;
    pthread_mutex_lock(&last_lock);
    if (there && last.json && file_unchanged(&last.stat, &before) && strcmp(last.name, name) == 0)
        known = (*json = json_deep_copy(last.json)) != NULL;
    pthread_mutex_unlock(&last_lock);
    if (known) return 0;
    if (read_json(json, model_path, name, err) != 0) return -1;
    if (!*json || !there || stat(model_path, &after) != 0 || !file_unchanged(&before, &after) || !file_settled(&after))
        return 0;
    pthread_mutex_lock(&last_lock);
    json_decref(last.json);
    last.stat = before;
    snprintf(last.name, sizeof last.name, "%s", name);
    last.json = json_deep_copy(*json);
    pthread_mutex_unlock(&last_lock);
    return 0;
}

int card_read_extra(json_t **json, const char *model_path, const char *name, struct error *err) {
    if (card_find_extra(json, model_path, name, err) != 0) return -1;
    return *json ? 0 : no_card(model_path, name, err);
}

/* What a package was compiled for, out of its metadata: all but cards. */
static int add_target(json_t *form, zip_t *archive, const char *path, struct error *err) {
    json_t *metadata = NULL, *value;
    const char *name;
    if (read_metadata(&metadata, archive, path, err) != 0) return -1;
    int rc = 0;
    json_object_foreach(metadata, name, value) if (!text_ends_in(name, ".json") && rc == 0)
        rc = json_object_set(form, name, value) == 0 ? 0 : error_memory(err);
    json_decref(metadata);
    return rc;
}

int model_form(json_t **form, const char *path, struct error *err) {
    char start[16] = {0};
    size_t got;
    zip_t *archive = NULL;
    uint64_t bytes;
    if (read_start(start, &got, path, err) != 0 ||
        (is_archive(start, got) && zip_of_file(&archive, &bytes, path, "a whole zip archive", err) != 0))
        return -1;
    bool package = archive && model_package_metadata(archive) >= 0;
    *form = json_pack("{s:s}", "form", package ? "aoti" : archive ? "torchscript" : "closed form");
    int rc = !*form ? error_memory(err) : package ? add_target(*form, archive, path, err) : 0;
    if (archive) zip_discard(archive);
    if (rc != 0) json_decref(*form);
    return rc;
}

int card_add_guide(struct card *card, const json_t *json, const char *model_path, struct error *err) {
    struct card *guide = calloc(1, sizeof *guide);
    if (!guide) return error_memory(err);
    if ((json ? card_parse(guide, json, model_path, err) : card_read(guide, model_path, err)) != 0) {
        free(guide);
        return error_prefix(err, "sampler.guidance.model");
    }
    card->guide = guide;
    return 0;
}

int card_read(struct card *card, const char *model_path, struct error *err) {
    json_t *json = NULL;
    if (card_read_extra(&json, model_path, "diffusion.json", err) != 0) return -1;
    char *where = text_new("%s: card", model_path);
    int rc = where ? card_parse(card, json, where, err) : error_memory(err);
    free(where);
    json_decref(json);
    return rc;
}

/* ---- a job's keys over the file's ---- */

/* Both are maps, and of one kind. */
static bool mergeable(const json_t *theirs, const json_t *ours) {
    const json_t *kind = json_object_get(ours, "kind");
    return json_is_object(theirs) && json_is_object(ours) &&
           (!kind || json_equal(kind, json_object_get(theirs, "kind")));
}

/* Puts `ours` over the map and notes under its path what it replaces. */
static int merge(json_t *map, const json_t *ours, const char *path, json_t *overridden, struct error *err) {
    const char *name;
    json_t *value;
    int rc = 0;
    json_object_foreach((json_t *)ours, name, value) {
        json_t *theirs = json_object_get(map, name);
        char *below = text_new("%s%s%s", path, *path ? "." : "", name);
        if (!below) return error_memory(err);
        if (mergeable(theirs, value)) rc = merge(theirs, value, below, overridden, err);
        else if (!theirs || !json_equal(theirs, value))
            rc = json_object_set_new(overridden, below, json_pack("[O?, O]", theirs, value)) == 0 &&
                         json_object_set(map, name, value) == 0
                     ? 0
                     : error_memory(err);
        free(below);
        if (rc != 0) return -1;
    }
    return 0;
}

int card_read_under(struct card *card, const char *model_path, const json_t *over, struct error *err) {
    json_t *json = NULL, *overridden = json_object();
    bool there = false;
    int rc = overridden ? file_exists(model_path, &there, err) : error_memory(err);
    if (rc == 0 && there) rc = card_find_extra(&json, model_path, "diffusion.json", err);
    bool alone = !json;
    char *where = text_new(alone ? "the card's keys given (there is no card in %s)"
                                 : "%s: its card under the keys given",
                           model_path);
    if (rc == 0 && (!where || (alone && !(json = json_object())))) rc = error_memory(err);
    if (rc == 0 && !json_is_object(json)) rc = error_set(err, CODE_DATA, "%s: expected a map", where);
    if (rc == 0) rc = merge(json, over, "", overridden, err);
    if (rc == 0) rc = card_parse(card, json, where, err);
    if (rc == 0 && !alone && json_object_size(overridden) > 0) card->overridden = json_incref(overridden);
    json_decref(overridden);
    json_decref(json);
    free(where);
    return rc;
}

/* ---- the inputs that a card names ---- */

const char *const input_dtype_names[] = {"float32", "int64", "bool", NULL};

/* An argument of forward; not one that has its own place, nor a key beside the inputs in a job's conditions. */
static int read_name(KEY_READ_ARGUMENTS) {
    static const char *const taken[] = {"x", "t", "labels", "rows", "captions"};
    const char *name = json_string_value(value);
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    size_t length = name ? strspn(name, letters) : 0;
    bool good = name && length > 0 && !name[length] && length < sizeof((struct card_input *)0)->name &&
                (name[0] < '0' || name[0] > '9');
    for (size_t i = 0; good && i < sizeof taken / sizeof *taken; i++) good = strcmp(name, taken[i]) != 0;
    if (!good) return key_fail(reader, path, key->expected, value);
    memcpy(member, name, length + 1);
    return 0;
}

static int read_shape(KEY_READ_ARGUMENTS) { /* the member is the input */
    enum { LARGEST = 1 << 28 };
    struct card_input *input = member;
    size_t elements = 1;
    input->rank = (int)json_array_size(value);
    bool good = json_is_array(value) && input->rank <= INPUT_AXES;
    for (int i = 0; good && i < input->rank; i++) {
        json_int_t side = json_integer_value(json_array_get(value, (size_t)i)); /* 0 when it is no integer */
        good = side >= 1 && side <= LARGEST && (elements *= (size_t)side) <= LARGEST;
        input->shape[i] = (size_t)side;
    }
    return good ? 0 : key_fail(reader, path, key->expected, value);
}

#define AT(member) offsetof(struct card_input, member)
static const struct key_kind NAME = {read_name, NULL}, SHAPE = {read_shape, NULL};
static const struct key rows[] = {
    {"name", &NAME, AT(name), .expected = "the name of an argument of forward, but x, t, labels, rows and captions",
     .required = true},
    {"shape", &SHAPE, 0, .expected = "the shape of one row, at most 3 whole numbers of 1 or more", .required = true},
    {"dtype", &KEY_NAME, AT(dtype), .names = input_dtype_names},
    {"null", &KEY_STRING, AT(null), .expected = "\"zeros\", the path of a file with one row, or null",
     .nullable = true},
};
static const struct key_table input_keys = KEY_TABLE(rows);

int card_read_inputs(KEY_READ_ARGUMENTS) {
    struct card *card = member;
    if (!json_is_array(value) || json_array_size(value) > INPUTS_MOST)
        return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct card_input *input = &card->inputs[card->inputs_count++];
        char *below = text_new("%s[%zu]", path, i);
        int rc = below ? keys_read(reader, &input_keys, below, json_array_get(value, i), input)
                       : error_memory(reader->err);
        for (size_t k = 0; rc == 0 && k < i; k++)
            if (strcmp(card->inputs[k].name, input->name) == 0)
                rc = key_error(reader, below, "expected another name than that of %s[%zu], found \"%s\" twice", path, k,
                               input->name);
        free(below);
        if (rc != 0) return -1;
    }
    return 0;
}
