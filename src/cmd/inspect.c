/* inspect: any file of a run described as JSON. */
#include "base/files.h"
#include "base/text.h"
#include "cli/command.h"
#include "eval/statistics.h"
#include "job/card.h"
#include "job/model_file.h"
#include "format/json_file.h"
#include "shard/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each describes one kind of file as JSON (new), reading and verifying all of it. */
static int inspect_shard(const char *path, json_t **about, struct error *err) {
    struct npy npy;
    void *rows = NULL;
    struct shard_info info;
    json_t *frame = NULL;
    if (store_read(path, &npy, &rows, &frame, &info, err) != 0) return -1;
    free(rows);
    *about = json_pack("{s:s, s:b, s:s, s:I, s:o}", "kind", "shard", "verified", 1, "sha256", info.sha256, "file_bytes",
                       (json_int_t)info.file_bytes, "frame", frame);
    return 0;
}

static int inspect_statistics(const char *path, json_t **about, struct error *err) {
    struct statistics statistics;
    if (statistics_read(&statistics, path, "", err) != 0) return -1;
    double trace = 0;
    for (size_t i = 0; i < statistics.dim; i++) trace += statistics.sigma[i * statistics.dim + i];
    if (!isfinite(trace)) { /* JSON has no such number */
        statistics_release(&statistics);
        return error_set(err, CODE_DATA, "%s: the trace of sigma is not a finite number", path);
    }
    *about = json_pack("{s:s, s:I, s:I, s:f, s:s, s:s*}", "kind", "reference statistics", "dim",
                       (json_int_t)statistics.dim, "count", (json_int_t)statistics.count, "trace", trace, "network",
                       statistics.network, "recipe", statistics.recipe[0] ? statistics.recipe : NULL);
    statistics_release(&statistics);
    return 0;
}

static int inspect_model(const char *path, json_t **about, struct error *err) {
    static const struct {
        const char *extra, *kind;
    } kinds[] = {
        {"diffusion.json", "diffusion model"}, {"decoder.json", "decoder"}, {"features.json", "feature network"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        json_t *card = NULL, *form = NULL;
        char hex[SHA256_HEX];
        if (card_find_extra(&card, path, kinds[i].extra, err) != 0) return -1;
        if (!card) continue;
        int rc = model_file_digest(path, hex, err);
        if (rc == 0) rc = model_form(&form, path, err);
        if (rc == 0) {
            *about = json_pack("{s:s, s:s}", "kind", kinds[i].kind, "sha256", hex);
            if (json_object_update(*about, form) != 0 || json_object_set(*about, "card", card) != 0)
                rc = error_memory(err);
            json_decref(form);
        }
        json_decref(card);
        return rc;
    }
    return error_set(err, CODE_DATA, "%s: no card of a model, a decoder or a feature network in it", path);
}

static int inspect_json(const char *path, json_t **about, struct error *err) {
    return json_file_read(about, path, err);
}

static int inspect_lines(const char *path, json_t **about, struct error *err) {
    char *data, *rest;
    size_t size;
    int number = 0, rc = 0;
    if (file_read(path, &data, &size, err) != 0) return -1;
    json_t *records = json_array();
    if (strlen(data) < size) rc = error_set(err, CODE_DATA, "%s: there is a zero byte in it", path);
    for (char *line = strtok_r(data, "\n", &rest); line && rc == 0; line = strtok_r(NULL, "\n", &rest)) {
        json_t *record = json_loads(line, 0, NULL);
        number++;
        if (!record) rc = error_set(err, CODE_DATA, "%s:%d: expected one JSON record a line", path, number);
        else json_list_add(&records, record);
    }
    if (rc == 0) *about = json_pack("{s:s, s:i, s:O}", "kind", "records", "count", number, "records", records);
    json_decref(records);
    free(data);
    return rc;
}

static const struct {
    const char *suffix;
    int (*inspect)(const char *path, json_t **about, struct error *err);
} kinds[] = {
    {".npy.zst", inspect_shard}, {".npz", inspect_statistics}, {".pt", inspect_model},
    {".pt2", inspect_model},     {".json", inspect_json},      {".jsonl", inspect_lines},
};

static int inspect_file(const char *path, json_t **about, struct error *err) {
    bool there;
    if (file_exists(path, &there, err) != 0) return -1;
    if (!there) return error_set(err, CODE_IO, "there is no file %s", path);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!text_ends_in(path, kinds[i].suffix)) continue;
        if (kinds[i].inspect(path, about, err) != 0) return -1;
        return *about ? 0 : error_memory(err);
    }
    return error_set(err, CODE_USAGE,
                     "%s: expected a shard (.npy.zst), reference (.npz), network (.pt, .pt2), .json or .jsonl", path);
}

struct inspect_options {
    const char *file;
    bool json; /* it always is */
};

static int inspect(const struct call *call, struct error *err) {
    const struct inspect_options *options = call->options;
    json_t *about = NULL;
    int rc = inspect_file(options->file, &about, err);
    if (rc == 0) rc = print_json(about, err);
    json_decref(about);
    return rc;
}

static const struct option_row rows[] = {
    OPTION(OPERAND, inspect_options, file, "FILE"),
    ROW_JSON(inspect_options),
};

const struct command command_inspect = {
    "inspect", "Describe a file: shard, model, feature network, reference, run.json, manifest",
    "The result is JSON; the file is read and checked whole.\n", OPTION_TABLE(rows, inspect_options), inspect};
