/* Shard files on disk: written, read, compared with what they should be, listed. */
#include "shard/store.h"

#include "base/draft.h"
#include "base/files.h"
#include "base/text.h"
#include "shard/frames.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SHARD_FORMAT = 1 };

const char *const shard_state_names[] = {"unknown", "good", "missing", "damaged", "foreign", "stale", "foreign"};

static char *folder_path(const char *run_dir, const char *network, const char *output) {
    return network[0] ? text_new("%s/features/%.12s/%s", run_dir, network, output)
                      : text_new("%s/%s", run_dir, output ? output : "samples");
}

char *store_path(const char *run_dir, const char *network, const char *output, shard_id id) {
    char *folder = folder_path(run_dir, network, output);
    char *path = folder ? text_new("%s/%06" PRIu64 ".npy.zst", folder, id.value) : NULL;
    free(folder);
    return path;
}

char *store_seeds(const uint64_t *seeds, uint64_t count) {
    struct text text = {0};
    for (uint64_t i = 0, last; i < count; i = last + 1) {
        for (last = i; last + 1 < count && seeds[last] != UINT64_MAX && seeds[last + 1] == seeds[last] + 1; last++) {}
        text_add(&text, last > i ? "%s%" PRIu64 "-%" PRIu64 : "%s%" PRIu64, i ? "," : "", seeds[i], seeds[last]);
    }
    if (text.failed) text_release(&text);
    return text.data;
}

static json_t *length_at(const void *npy, uint64_t axis) {
    return json_integer((json_int_t)((const struct npy *)npy)->shape[axis]);
}

static json_t *label_at(const void *meta, uint64_t row) {
    return json_integer(((const struct shard_meta *)meta)->labels[row]);
}

static json_t *condition_at(const void *of, uint64_t row) {
    const struct shard_meta *meta = of;
    return json_integer((json_int_t)meta->condition_row(meta->run, meta->first + row));
}

static json_t *scale_at(const void *of, uint64_t row) {
    const struct shard_meta *meta = of;
    return json_real(meta->scale(meta->run, meta->first + row));
}

/* A list of the first `count` values of `of`. New, or NULL. */
static json_t *list_of(json_t *(*value_at)(const void *of, uint64_t index), const void *of, uint64_t count) {
    json_t *values = json_array();
    for (uint64_t i = 0; i < count; i++)
        if (json_array_append_new(values, value_at(of, i)) != 0) {
            json_decref(values);
            return NULL;
        }
    return values;
}

/* The JSON frame without sha256 and check: all of it is known before the rows are. New, or NULL. */
static json_t *describe(const struct shard_meta *meta, const struct npy *npy) {
    char descr[NPY_DESCR], *seeds = store_seeds(meta->seeds, meta->rows);
    npy_descr(npy, descr);
    json_t *about = json_pack("{si ss sI ss so ss so}", "format", SHARD_FORMAT, "fingerprint", meta->fingerprint,
                              "shard", (json_int_t)meta->id.value, "seeds", seeds, "labels",
                              meta->labels ? list_of(label_at, meta, meta->rows) : json_null(), "dtype", descr, "shape",
                              list_of(length_at, npy, (uint64_t)npy->rank));
    free(seeds);
    if ((!meta->condition_row || json_object_set_new(about, "rows", list_of(condition_at, meta, meta->rows)) == 0) &&
        (!meta->scale || json_object_set_new(about, "scales", list_of(scale_at, meta, meta->rows)) == 0) &&
        (!meta->network[0] || json_object_set_new(about, "network", json_string(meta->network)) == 0) &&
        (!meta->samples[0] || json_object_set_new(about, "samples", json_string(meta->samples)) == 0) &&
        (!meta->output || json_object_set_new(about, "output", json_string(meta->output)) == 0))
        return about;
    json_decref(about);
    return NULL;
}

/* What the rows and the JSON frame say of values at the ends of the range. */
static void count_ends(struct shard_info *info, const struct npy *npy, const unsigned char *rows, const json_t *about) {
    const json_t *clipped = json_object_get(about, "clipped");
    if (npy->type != NPY_UINT8) return;
    for (size_t i = 0; i < npy_bytes(npy); i++) info->saturated += rows[i] == 0 || rows[i] == UINT8_MAX;
    info->counted = json_is_integer(clipped) && json_integer_value(clipped) >= 0;
    if (info->counted) info->clipped = (uint64_t)json_integer_value(clipped);
}

/* Does the JSON frame name the array that its .npy header describes? */
static bool agree(const json_t *about, const struct npy *npy) {
    char descr[NPY_DESCR];
    const json_t *dtype = json_object_get(about, "dtype"), *shape = json_object_get(about, "shape");
    npy_descr(npy, descr);
    bool same = json_is_string(dtype) && strcmp(json_string_value(dtype), descr) == 0 &&
                json_array_size(shape) == (size_t)npy->rank;
    for (int i = 0; same && i < npy->rank; i++)
        same = json_integer_value(json_array_get(shape, (size_t)i)) == (json_int_t)npy->shape[i];
    return same;
}

int store_write(const char *path, const struct shard_meta *meta, const struct npy *npy, const void *rows, int level,
                const struct file_guard *guard, struct shard_info *info, struct error *err) {
    char *file = NULL;
    size_t size;
    json_t *about = describe(meta, npy);
    *info = (struct shard_info){0};
    int rc = about ? frames_digest(npy, rows, info->sha256, err) : error_memory(err);
    if (rc == 0 &&
        (json_object_set_new(about, "sha256", json_string(info->sha256)) != 0 ||
         (meta->counted && json_object_set_new(about, "clipped", json_integer((json_int_t)meta->clipped)) != 0)))
        rc = error_memory(err);
    if (rc == 0) rc = frames_encode(npy, rows, about, level, &file, &size, err);
    if (rc == 0) rc = file_write_guarded(path, file, size, guard, err);
    if (rc == 0) {
        info->file_bytes = size;
        count_ends(info, npy, rows, about);
    }
    free(file);
    json_decref(about);
    return rc;
}

/* store_read with messages that leave the path of a damaged file to the caller. */
static int read_whole(const char *path, struct npy *npy, void **rows, json_t **about, struct shard_info *info,
                      struct error *err) {
    char *file;
    size_t size;
    *rows = NULL;
    *about = NULL;
    *info = (struct shard_info){0};
    if (frames_check_end(path, err) != 0 || file_read(path, &file, &size, err) != 0) return -1;
    info->file_bytes = size;
    int rc = frames_decode(file, size, npy, rows, about, err);
    free(file);
    if (rc == 0) rc = frames_digest(npy, *rows, info->sha256, err);
    const json_t *sha256 = json_object_get(*about, "sha256");
    if (rc == 0 && (!json_is_string(sha256) || strcmp(json_string_value(sha256), info->sha256) != 0))
        rc = error_set(err, CODE_DATA, "the sha256 of its .npy stream is not the one it names");
    if (rc == 0 && !agree(*about, npy))
        rc = error_set(err, CODE_DATA, "its JSON frame and its .npy header describe different arrays");
    if (rc == 0) count_ends(info, npy, *rows, *about);
    if (rc != 0) {
        json_decref(*about);
        free(*rows);
        *about = NULL;
        *rows = NULL;
    }
    return rc;
}

int store_read(const char *path, struct npy *npy, void **rows, json_t **json, struct shard_info *info,
               struct error *err) {
    json_t *about;
    int rc = read_whole(path, npy, rows, &about, info, err);
    if (rc != 0 && err->code == CODE_DATA) error_prefix(err, "%s is damaged", path);
    if (json) *json = about;
    else json_decref(about);
    return rc;
}

/* Does a whole file say of itself what it should say? The first key that differs decides, in this order. */
static const struct {
    const char *key;
    enum shard_state state;
    const char *what;
} judgements[] = {
    {"fingerprint", SHARD_OTHERS, "made by another job"},
    {"format", SHARD_FOREIGN, "written in another format"},
    {"network", SHARD_FOREIGN, "made by another feature network"},
    {"output", SHARD_FOREIGN, "another output"},
    {"shard", SHARD_FOREIGN, "a copy of another shard"},
    {"seeds", SHARD_STALE, "made for other seeds"},
    {"labels", SHARD_STALE, "made for other labels"},
    {"rows", SHARD_STALE, "made for other rows of the conditions"},
    {"scales", SHARD_STALE, "made with other scales of guidance"},
    {"samples", SHARD_STALE, "made of other samples"},
    {"dtype", SHARD_DAMAGED, "of the wrong type"},
    {"shape", SHARD_DAMAGED, "of the wrong shape"},
};

/* A member as text for a message, cut to fit `out`. */
static void show(const json_t *about, const char *key, char out[64]) {
    const json_t *value = json_object_get(about, key);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    snprintf(out, 64, "%s", text ? text : "nothing");
    if (text && strlen(text) > 63) strcpy(out + 60, "...");
    free(text);
}

static enum shard_state state_by_frame(const json_t *about, const json_t *expected, bool any_labels,
                                       struct error *why) {
    for (size_t i = 0; i < sizeof judgements / sizeof *judgements; i++) {
        const char *key = judgements[i].key;
        if (any_labels && strcmp(key, "labels") == 0) continue;
        const json_t *there = json_object_get(about, key), *wanted = json_object_get(expected, key);
        if (strcmp(key, "samples") == 0 && !(there && wanted)) continue; /* not known */
        if (there == wanted || (there && wanted && json_equal(there, wanted))) continue;
        char found[64], should[64];
        show(about, key, found);
        show(expected, key, should);
        error_set(why, CODE_DATA, "%s: expected %s %s, found %s", judgements[i].what, key, should, found);
        return judgements[i].state;
    }
    return SHARD_GOOD;
}

/* store_check, and the JSON frame of a good file (*about new, else NULL). */
static int check(const char *path, const struct shard_meta *expected, const struct npy *npy, enum shard_state *state,
                 struct shard_info *info, void **rows, json_t **about, struct error *why, struct error *err) {
    struct npy found;
    json_t *wanted = NULL;
    int rc = 0;
    *why = (struct error){.code = CODE_OK};
    *info = (struct shard_info){0};
    *state = SHARD_MISSING;
    *rows = NULL;
    *about = NULL;
    bool there;
    if (file_exists(path, &there, err) != 0) return -1;
    if (!there) return 0;
    *state = SHARD_DAMAGED;
    if (read_whole(path, &found, rows, about, info, why) != 0) {
        if (why->code != CODE_DATA) rc = (*err = *why, -1);
    } else if (!(wanted = describe(expected, npy))) {
        rc = error_memory(err);
    } else {
        *state = state_by_frame(*about, wanted, expected->any_labels, why);
    }
    if (*state != SHARD_GOOD) {
        *info = (struct shard_info){0};
        free(*rows);
        json_decref(*about);
        *rows = NULL;
        *about = NULL;
    }
    json_decref(wanted);
    return rc;
}

int store_check(const char *path, const struct shard_meta *expected, const struct npy *npy, enum shard_state *state,
                struct shard_info *info, void **rows_out, struct error *why, struct error *err) {
    struct error ignored;
    json_t *about;
    void *rows;
    int rc = check(path, expected, npy, state, info, &rows, &about, why ? why : &ignored, err);
    if (rows_out) *rows_out = rows;
    else free(rows);
    json_decref(about);
    return rc;
}

int store_yields(const char *path, enum shard_state state, const struct error *why, struct error *err) {
    if (state != SHARD_OTHERS) return 0;
    return error_set(err, CODE_DATA,
                     "%s is %s; it is not replaced: choose another output.dir (is its samples/ a link to another "
                     "run's?), or, if nobody needs it, remove the file",
                     path, why->message);
}

int store_load(const char *path, const struct shard_meta *expected, const struct npy *npy, enum shard_state *state,
               void **rows, int64_t *labels, struct error *why, struct error *err) {
    struct shard_info info;
    json_t *about;
    int rc = check(path, expected, npy, state, &info, rows, &about, why, err);
    const json_t *list = json_object_get(about, "labels");
    for (size_t i = 0; labels && i < expected->rows; i++)
        labels[i] = json_is_array(list) ? json_integer_value(json_array_get(list, i)) : -1;
    json_decref(about);
    return rc;
}

/* "" where there are no conditions; new, or NULL. */
static char *rows_text(const struct shard_meta *meta) {
    if (!meta->condition_row) return strdup("");
    uint64_t *rows = malloc(meta->rows * sizeof *rows);
    for (uint64_t i = 0; rows && i < meta->rows; i++) rows[i] = meta->condition_row(meta->run, meta->first + i);
    char *list = rows ? store_seeds(rows, meta->rows) : NULL;
    char *text = list ? text_new("\"conditions\": \"%s\", ", list) : NULL;
    free(list);
    free(rows);
    return text;
}

int store_manifest_text(struct text *text, const struct shard_meta *metas, const struct shard_info *infos, size_t count,
                        struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!infos[i].sha256[0]) continue;
        char *seeds = store_seeds(metas[i].seeds, metas[i].rows), *rows = rows_text(&metas[i]);
        text_add(text,
                 "{\"id\": %" PRIu64 ", \"seeds\": \"%s\", \"rows\": %" PRIu64
                 ", %s\"sha256\": \"%s\", \"bytes\": %" PRIu64 "}\n",
                 metas[i].id.value, seeds ? seeds : "", metas[i].rows, rows ? rows : "", infos[i].sha256,
                 infos[i].file_bytes);
        if (!seeds || !rows || text->failed) rc = error_memory(err);
        free(rows);
        free(seeds);
    }
    return rc;
}

int store_manifest(const char *run_dir, const struct shard_meta *metas, const struct shard_info *infos, size_t count,
                   const struct file_guard *guard, struct error *err) {
    struct text text = {0};
    char *path = text_new("%s/manifest.jsonl", run_dir);
    int rc = path ? store_manifest_text(&text, metas, infos, count, err) : error_memory(err);
    if (rc == 0) rc = file_write_guarded(path, text.data ? text.data : "", text.length, guard, err);
    text_release(&text);
    free(path);
    return rc;
}

void store_payload_digest(const struct shard_info *infos, size_t count, char hex[SHA256_HEX]) {
    struct sha256 *hash = sha256_new();
    hex[0] = '\0';
    if (!hash) return;
    for (size_t i = 0; i < count; i++) sha256_add(hash, infos[i].sha256, strlen(infos[i].sha256));
    sha256_finish(hash, hex);
}

bool store_names(const char *name, uint64_t shards, shard_id *id) {
    char number[32], canonical[48];
    snprintf(number, sizeof number, "%.*s", (int)strcspn(name, "."), name);
    if (!text_to_u64(number, &id->value) || id->value >= shards) return false;
    snprintf(canonical, sizeof canonical, "%06" PRIu64 ".npy.zst", id->value);
    return strcmp(canonical, name) == 0;
}

int store_strangers(const char *run_dir, const char *network, const char *output, uint64_t shards, struct text *names,
                    size_t *count, struct error *err) {
    char *folder = folder_path(run_dir, network, output);
    struct dirent **entries = NULL;
    if (!folder) return error_memory(err);
    int found = scandir(folder, &entries, NULL, alphasort), rc = 0;
    if (found < 0 && !file_absent(errno)) rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    for (int i = 0; i < found; i++) {
        const char *name = entries[i]->d_name;
        shard_id id;
        if (name[0] != '.' && !store_names(name, shards, &id)) {
            char shown[TEXT_VISIBLE * sizeof entries[i]->d_name]; /* a line each */
            text_make_visible(shown, sizeof shown, name, "");
            text_add(names, "%s/%s\n", folder, shown);
            (*count)++;
        }
        free(entries[i]);
    }
    free(entries);
    free(folder);
    return rc == 0 && names->failed ? error_memory(err) : rc;
}
