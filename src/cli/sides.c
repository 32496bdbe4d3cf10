/* Sides of a comparison that a command line names. */
#include "cli/sides.h"

#include "base/digests.h"
#include "base/files.h"
#include "base/text.h"
#include "eval/side_read.h"
#include "export/rows.h"
#include "format/npy.h"
#include "run/run.h"
#include "shard/store.h"
#include "work/evaluation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the networks ---- */

/* "NAME=PATH", "PATH" or "none". */
static int take_network(struct named_path *network, const char *text, struct error *err) {
    const char *equals = strchr(text, '=');
    char *name = equals ? strndup(text, (size_t)(equals - text)) : NULL;
    bool there = false;
    if (equals && !name) return error_memory(err);
    if (equals && (!network_name_fits(name) || file_exists(text, &there, err) != 0 || there)) {
        free(name);
        name = NULL;
    }
    const char *path = name ? equals + 1 : text;
    network->name = name;
    if (strcmp(path, "none") == 0) return 0;
    return (network->path = strdup(path)) ? 0 : error_memory(err);
}

/* Those of a run that was evaluated with several. */
static int take_from_run(struct named_paths *networks, const char *dir, struct error *err) {
    json_t *document;
    struct job job;
    char *path = text_new("%s/run.json", dir);
    bool run = false;
    int rc = path ? file_exists(path, &run, err) : error_memory(err);
    free(path);
    if (rc != 0 || !run) return rc;
    if (document_read(&document, dir, err) != 0) return -1;
    rc = job_from_json(&job, json_object_get(document, "job"), "run.json", err);
    const struct named_paths *theirs = &job.evaluate.features;
    for (size_t i = 0; rc == 0 && theirs->count > 1 && i < theirs->count; i++) {
        const struct named_path *from = &theirs->list[i];
        struct named_path *to = &networks->list[networks->count++];
        if ((from->name && !(to->name = strdup(from->name))) || (from->path && !(to->path = strdup(from->path))))
            rc = error_memory(err);
    }
    if (rc == 0) job_release(&job);
    json_decref(document);
    return rc;
}

/* One network under two names would be two tests of one thing. */
static int check_same(const struct named_path *one, const struct named_path *other, struct error *err) {
    char sha256[2][SHA256_HEX] = {"", ""};
    if (one->path && digest_file(one->path, sha256[0], err) != 0) return -1;
    if (other->path && digest_file(other->path, sha256[1], err) != 0) return -1;
    if (strcmp(sha256[0], sha256[1]) != 0) return 0;
    return error_set(err, CODE_USAGE, "--features: %s and %s are the same network: name each once", one->name,
                     other->name);
}

static int name_all(struct named_paths *networks, struct error *err) {
    for (size_t i = 0; networks->count > 1 && i < networks->count; i++) {
        struct named_path *network = &networks->list[i];
        char name[NETWORK_NAME];
        if (!network->name && network_name(network->path, name, err) != 0) return -1;
        if (!network->name && !(network->name = strdup(name))) return error_memory(err);
        for (size_t k = 0; k < i; k++)
            if (strcmp(networks->list[k].name, network->name) == 0)
                return error_set(err, CODE_USAGE,
                                 "two feature networks are called %s: say --features NAME=FILE for one of them",
                                 network->name);
        for (size_t k = 0; k < i; k++)
            if (check_same(&networks->list[k], network, err) != 0) return -1;
    }
    return 0;
}

int sides_networks(struct named_paths *networks, const struct option_list *features, const char *a, const char *b,
                   struct error *err) {
    *networks = (struct named_paths){.count = 0};
    if (features->count > EVALUATED_MOST)
        return error_set(err, CODE_USAGE, "--features: expected at most %d, found %zu", EVALUATED_MOST,
                         features->count);
    for (size_t i = 0; i < features->count; i++)
        if (take_network(&networks->list[networks->count++], features->items[i], err) != 0) return -1;
    const char *const runs[] = {a, b};
    for (size_t i = 0; i < 2 && networks->count == 0; i++)
        if (runs[i] && take_from_run(networks, runs[i], err) != 0) return -1;
    return name_all(networks, err);
}

void sides_networks_release(struct named_paths *networks) {
    for (size_t i = 0; i < networks->count; i++) {
        free(networks->list[i].name);
        free(networks->list[i].path);
    }
    networks->count = 0;
}

/* ---- a run ---- */

struct reader { /* of a run's samples */
    struct rows *rows;
    uint64_t next;
};

static int read_rows(void *context, size_t count, void *to, struct error *err) {
    struct reader *reader = context;
    char *out = to;
    const struct row *row;
    for (uint64_t got; count > 0; count -= (size_t)got, reader->next += got) {
        if (rows_at(reader->rows, reader->next, &row, &got, err) != 0) return -1;
        if (got > count) got = count;
        memcpy(out, row->bytes, (size_t)got * row->size);
        out += (size_t)got * row->size;
    }
    return 0;
}

/* A run's samples through networks that it was not evaluated with. */
static int extract_run(struct side *sides, const struct run *run, const struct extraction *how, struct error *err) {
    const struct sample_form form = card_sample(&run->card);
    struct reader reader = {.next = 0};
    bool floats = run->job.output.dtype == SAMPLE_FLOAT32;
    if (run->job.output.dtype == SAMPLE_FLOAT16)
        return error_set(err, CODE_DATA,
                         "%s holds float16 samples, which compare does not send through a network: say evaluate: "
                         "{features: ...} in its job and evaluate it",
                         run->dir);
    if (!sample_bounded(&form))
        return error_set(err, CODE_DATA,
                         "%s holds samples without a range, which compare does not send through a network: say "
                         "evaluate: {features: ...} in its job and evaluate it",
                         run->dir);
    if (rows_open(&reader.rows, run, NULL, run->job.evaluate.count, floats ? ROW_STORED : ROW_PIXELS, err) != 0)
        return -1;
    struct picture_source source = {.name = run->dir,
                                    .count = (size_t)rows_count(reader.rows),
                                    .height = form.height,
                                    .width = form.width,
                                    .channels = form.channels,
                                    .floats = floats,
                                    .low = form.low,
                                    .high = form.high,
                                    .read = read_rows,
                                    .context = &reader};
    int rc = extract(sides, &source, how, err);
    rows_close(reader.rows);
    return rc;
}

/* Has a run every feature of the network that the metrics take? */
static bool has_kinds(const struct network *network, const struct extraction *how) {
    bool wanted[FEATURE_KINDS] = {[FEATURES_SPATIAL] = how->spatial};
    for (enum metric metric = 0; metric < METRIC_KINDS; metric++)
        if (how->metrics >> metric & 1) wanted[features_of_metric(metric)] = true;
    for (enum feature_kind kind = 0; kind < FEATURE_KINDS; kind++) {
        int output = network_find(network, kind);
        if (wanted[kind] && output >= 0 && !network->outputs[output].wanted) return false;
    }
    return true;
}

/* Which of its networks the run was evaluated with this one as; evaluated_count: none that made what is needed. */
static int find_evaluated(const struct run *run, const char *path, const struct extraction *how, size_t *found,
                          struct error *err) {
    struct network network;
    *found = run->evaluated_count;
    if (run->evaluated_count == 0) return 0;
    if (network_open(&network, path, &run->card, 0, err) != 0) return -1;
    if (run->job.output.dtype != SAMPLE_UINT8)
        network_take_floats(&network, &run->card, run->job.output.dtype == SAMPLE_FLOAT16);
    *found = 0;
    while (*found < run->evaluated_count && strcmp(network.key, run->evaluated[*found].network.key) != 0) ++*found;
    if (*found < run->evaluated_count && !has_kinds(&run->evaluated[*found].network, how))
        *found = run->evaluated_count;
    network_release(&network);
    return 0;
}

/* The features of an open run, those made when it was evaluated where they are the ones asked for. */
static int read_features(struct side *sides, const struct run *run, const struct extraction *how, struct error *err) {
    struct named_path left[EVALUATED_MOST]; /* borrowed */
    struct side made[EVALUATED_MOST] = {0};
    size_t places[EVALUATED_MOST], found;
    struct extraction rest = {.count = 0};
    if (!how && run->evaluated_count == 0)
        return error_set(err, CODE_DATA,
                         "%s has no features, for its job has no evaluate: block: say --features NET, the feature "
                         "network its samples go through, or --features none for their pixels",
                         run->dir);
    if (!how) return evaluation_side(run, 0, sides, err);
    for (size_t i = 0; i < how->count; i++) {
        if (find_evaluated(run, how->networks[i].path, how, &found, err) != 0) return -1;
        if (found < run->evaluated_count && evaluation_side(run, found, &sides[i], err) != 0) return -1;
        if (found < run->evaluated_count) continue;
        left[rest.count] = how->networks[i];
        places[rest.count++] = i;
    }
    if (rest.count == 0) return 0;
    size_t count = rest.count;
    rest = *how;
    rest.networks = left;
    rest.count = count;
    int rc = extract_run(made, run, &rest, err);
    for (size_t i = 0; i < count; i++) sides[places[i]] = made[i];
    return rc;
}

/* A sample's name is its seed, as in its picture's (image_names_mark); its text is that of its conditions' row. */
static int name_rows(struct side *side, const struct run *run, struct error *err) {
    const struct seeds *seeds = &run->job.seeds;
    uint64_t most = run->job.evaluate.count, count = most && most < seeds->count ? most : seeds->count;
    char text[24];
    if (marks_new(&side->names, count, err) != 0) return -1;
    for (uint64_t i = 0; i < count; i++)
        side->names.list[i] = sha256_mark(text, (size_t)sprintf(text, "%" PRIu64, seeds_at(seeds, i)));
    side->texts = run->condition_rows;
    if (run->condition_rows > 0 && !(side->text_rows = evaluation_text_rows(run, count))) return error_memory(err);
    return 0;
}

static int read_run(struct side *sides, const char *dir, const struct extraction *how, struct error *err) {
    json_t *document;
    struct run run;
    if (document_read(&document, dir, err) != 0 || run_open(&run, document, dir, true, err) != 0) return -1;
    run.keeps_latents = false;
    int rc = read_features(sides, &run, how, err);
    for (size_t i = 0; rc == 0 && i < (how ? how->count : 1); i++) rc = name_rows(&sides[i], &run, err);
    run_close(&run);
    return rc;
}

/* ---- any side ---- */

/* One operand; sides are empty. */
static int read_one(struct side *sides, bool *run, const char *path, const struct extraction *how, uint64_t count,
                    struct error *err) {
    char *document = text_new("%s/run.json", path);
    if (!document) return error_memory(err);
    int rc = file_exists(document, run, err);
    if (rc == 0) rc = *run ? read_run(sides, path, how, err) : side_read(sides, path, how, err);
    free(document);
    for (size_t i = 0; rc == 0 && how && i < how->count; i++) /* a run may have another for it */
        if (how->networks[i].name && sides[i].name[0])
            snprintf(sides[i].name, NETWORK_NAME, "%s", how->networks[i].name);
    for (size_t i = 0; rc == 0 && count > 0 && i < (how ? how->count : 1); i++)
        rc = side_cut(&sides[i], (size_t)count, path, err);
    return rc;
}

/* Is each name in "NAME=FILE,NAME=FILE" a network's, and there once? */
static int check_names(const char *operand, const struct named_path *networks, size_t count, struct error *err) {
    bool seen[EVALUATED_MOST] = {false};
    for (const char *item = operand; item; item = strchr(item, ',') ? strchr(item, ',') + 1 : NULL) {
        int length = (int)strcspn(item, "=,");
        size_t i = 0;
        while (i < count && (item[length] != '=' || strncmp(networks[i].name, item, (size_t)length) != 0 ||
                             networks[i].name[length] != '\0'))
            i++;
        if (i < count && seen[i]) return error_set(err, CODE_USAGE, "%s: %.*s is there twice", operand, length, item);
        if (i < count) {
            seen[i] = true;
            continue;
        }
        error_set(err, CODE_USAGE,
                  "%s: no file is there by that name, and as NAME=FILE,... \"%.*s\" is no network's: "
                  "they are called",
                  operand, (int)strcspn(item, ","), item);
        for (i = 0; i < count; i++) error_suffix(err, "%s %s", i ? "," : "", networks[i].name);
        return -1;
    }
    return 0;
}

/* The file of a network in "NAME=FILE,NAME=FILE": new. CODE_USAGE: it has none. */
static int file_of(char **file, const char *operand, const char *name, struct error *err) {
    size_t length = strlen(name);
    for (const char *item = operand; item; item = strchr(item, ',') ? strchr(item, ',') + 1 : NULL) {
        if (strncmp(item, name, length) != 0 || item[length] != '=') continue;
        const char *path = item + length + 1;
        return (*file = strndup(path, strcspn(path, ","))) ? 0 : error_memory(err);
    }
    return error_set(err, CODE_USAGE, "%s: expected a file for each feature network, NAME=FILE,..., found none for %s",
                     operand, name);
}

int sides_read(struct side *sides, bool *run, const char *operand, const struct extraction *how, uint64_t first,
               struct error *err) {
    struct extraction with = how ? *how : (struct extraction){.count = 1};
    size_t count = with.count;
    bool there = true;
    int rc = 0;
    with.first = (size_t)first;
    memset(sides, 0, count * sizeof *sides);
    if (count > 1 && strchr(operand, '=') && file_exists(operand, &there, err) != 0) return -1;
    if (there) rc = read_one(sides, run, operand, how ? &with : NULL, first, err);
    else rc = check_names(operand, how->networks, count, err);
    for (size_t i = 0; rc == 0 && !there && i < count; i++) {
        struct extraction one = with;
        char *file = NULL;
        one.networks = &how->networks[i];
        one.count = 1;
        rc = file_of(&file, operand, how->networks[i].name, err);
        if (rc == 0) rc = read_one(&sides[i], run, file, &one, first, err);
        free(file);
    }
    for (size_t i = 0; rc != 0 && i < count; i++) side_release(&sides[i]);
    return rc;
}

int sides_read_texts(struct side *sides, const char *operand, const struct named_paths *networks, struct error *err) {
    size_t count = networks->count > 1 ? networks->count : 1;
    bool there = true;
    int rc = 0;
    memset(sides, 0, count * sizeof *sides);
    if (count > 1 && file_exists(operand, &there, err) != 0) return -1;
    if (count > 1 && there)
        return error_set(err, CODE_USAGE, "--text: say which network's image features they go with: NAME=%s", operand);
    if (count > 1 && check_names(operand, networks->list, count, err) != 0) return -1;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct error none;
        char *file = NULL;
        if (count > 1 && file_of(&file, operand, networks->list[i].name, &none) != 0) {
            if (none.code != CODE_USAGE) rc = (*err = none, -1);
            continue;
        }
        rc = side_read(&sides[i], file ? file : operand, NULL, err);
        free(file);
    }
    for (size_t i = 0; rc != 0 && i < count; i++) side_release(&sides[i]);
    return rc;
}

int sides_indices(struct score_options *options, char **file, const char *path, struct error *err) {
    struct npy npy;
    size_t offset;
    *file = NULL;
    if (!path) return 0;
    if (npy_read(&npy, file, &offset, path, err) != 0) return -1;
    char found[NPY_TEXT];
    npy_text(&npy, found);
    if (npy.type != NPY_INT64 || npy.rank != 3 || npy.shape[0] < 1 || npy.shape[1] != 2 || npy.shape[2] < 2)
        return error_set(err, CODE_DATA, "%s: expected int64 [subsets, 2, size], found %s", path, found);
    memmove(*file, *file + offset, npy_bytes(&npy)); /* aligned */
    options->indices = (const int64_t *)(const void *)*file;
    options->subsets = npy.shape[0];
    options->size = npy.shape[2];
    return 0;
}
