/* Reading and opening a run document, and the small questions every rank asks of it. */
#include "base/text.h"
#include "cluster/build.h"
#include "format/json_file.h"
#include "job/decoder.h"
#include "job/job_conditions.h"
#include "sample/labels.h"
#include "job/fingerprint.h"
#include "run/run.h"
#include "sample/noise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* plan_digest where the job's plan is a file; else "". */
static int run_plan_digest(const struct run *run, char hex[SHA256_HEX], struct error *err) {
    struct plan plan;
    hex[0] = '\0';
    if (!run->sampler.plan) return 0;
    if (document_read_plan(&plan, run->document, err) != 0) return -1;
    int rc = plan_digest(&plan, hex, err);
    plan_release(&plan);
    return rc;
}

/* Why there is no run.json: a sweep has one in each of its cells. */
static int no_document(const char *dir, struct error *err) {
    char *path = text_new("%s/sweep.json", dir);
    json_t *sweep = NULL;
    int rc = path ? json_file_read_if_there(&sweep, path, err) : error_memory(err);
    const json_t *cells = json_object_get(sweep, "cells");
    const char *first = json_string_value(json_object_get(json_array_get(cells, 0), "cell"));
    if (rc == 0 && first)
        error_set(err, CODE_DATA, "%s is the folder of a sweep of %zu cells: name one of them, such as %s/%s", dir,
                  json_array_size(cells), dir, first);
    else if (rc == 0) error_set(err, CODE_DATA, "%s is no run directory: it has no run.json", dir);
    json_decref(sweep);
    free(path);
    return -1;
}

int document_read(json_t **document, const char *dir, struct error *err) {
    char *path = text_new("%s/run.json", dir);
    if (!path) return error_memory(err);
    int rc = json_file_read_if_there(document, path, err);
    if (rc == 0 && !*document) rc = no_document(dir, err);
    else if (rc == 0 && (rc = build_check_format(*document, RUN_FORMAT, path, err)) != 0) {
        json_decref(*document);
        *document = NULL;
    }
    free(path);
    return rc;
}

int run_fingerprint(struct fingerprint *fingerprint, const struct run *run, const struct job *job,
                    const struct card *card, const char *decoder, struct error *err) {
    const json_t *keys = json_object_get(run->document, "keys");
    char plan[SHA256_HEX];
    if (run_plan_digest(run, plan, err) != 0) return -1;
    const struct file_digests files = {.plan = plan,
                                       .model = run_sha256(run, MODEL_SHA256),
                                       .guide = run_sha256(run, GUIDE_SHA256),
                                       .labels = run_sha256(run, LABELS_SHA256),
                                       .initial = run_sha256(run, INITIAL_SHA256),
                                       .decoder = decoder,
                                       .scales = run_sha256(run, SCALES_SHA256),
                                       .conditions = json_object_get(keys, "conditions")};
    return fingerprint_make(fingerprint, job, card, &run->sampler, &files,
                            (int)json_integer_value(json_object_get(keys, "plan_version")), err);
}

int run_check(const struct run *run, struct error *err) {
    struct fingerprint now;
    if (run_fingerprint(&now, run, &run->job, &run->card, run_sha256(run, DECODER_SHA256), err) != 0) return -1;
    int rc = fingerprint_compare(json_object_get(run->document, "keys"), now.keys, run->dir, err);
    fingerprint_release(&now);
    return rc == 0 ? 0 : error_prefix(err, "run.json was changed, or another version of qtaylor wrote it");
}

/* A plan that was packed was whole then. */
static int look_at_plan(struct run *run, struct error *err) {
    const json_t *json = json_object_get(run->document, "plan"), *nfe = json_object_get(json, "nfe");
    const char *solver = json_string_value(json_object_get(json, "solver"));
    struct plan plan;
    if (!plan_is_packed(json)) {
        if (plan_check_seal(json, json_object_get(run->document, "plan_sha256"), "run.json", err) != 0 ||
            document_read_plan(&plan, run->document, err) != 0)
            return -1;
        plan_release(&plan);
    }
    snprintf(run->plan.solver, sizeof run->plan.solver, "%s", solver ? solver : "plan");
    run->plan.nfe = (int)json_integer_value(nfe);
    run->plan.model_calls = (int)json_integer_value(json_object_get(json, "model_calls"));
    run->plan.adaptive = json_object_get(json, "adaptive") != NULL;
    return 0;
}

/* Who gets which label, row of the conditions and scale. */
static int read_lists(struct run *run, struct error *err) {
    const json_t *conditions = json_member(run->document, "keys", "conditions");
    run->condition_rows = (uint64_t)json_integer_value(json_object_get(conditions, "count"));
    if (conditions && run->condition_rows == 0)
        return error_set(err, CODE_DATA, "run.json: keys.conditions.count: expected the number of rows, found none");
    const struct lists_of of = {.job = &run->job,
                                .classes = run->card.classes,
                                .seeds = run->all_seeds,
                                .condition_rows = run->condition_rows,
                                .labels = run_sha256(run, LABELS_SHA256),
                                .rows = run_sha256(run, ROWS_SHA256),
                                .scales = run_sha256(run, SCALES_SHA256),
                                .dir = run->dir,
                                .samples = run->fingerprint,
                                .latents = run->latents,
                                .latents_of = json_string_value(json_object_get(run->document, "latents_of")),
                                .layout = &run->layout};
    return lists_read(&run->lists, &of, err);
}

int run_open(struct run *run, json_t *document, const char *dir, bool evaluate, struct error *err) {
    *run = (struct run){.document = document};
    const json_t *asked = json_object_get(document, "job");
    if ((asked ? job_from_json(&run->job, asked, "run.json", err)
               : error_set(err, CODE_DATA, "run.json: no job in it")) != 0) {
        run_close(run);
        return -1;
    }
    run->job.evaluate.enabled &= evaluate;
    run->all_seeds = run->job.seeds.count;
    run->keeps_latents = run->job.output.latents != LATENTS_NONE;
    const char *fingerprint = json_string_value(json_object_get(document, "fingerprint"));
    json_int_t rows = json_integer_value(json_object_get(document, "shard_rows"));
    if (!fingerprint || strlen(fingerprint) != SHA256_HEX - 1) {
        error_set(err, CODE_DATA, "run.json: fingerprint: expected 64 hex digits, found %s",
                  fingerprint ? fingerprint : "none");
        goto fail;
    }
    const json_t *keys = json_object_get(document, "keys");
    if (json_is_object(keys) && fingerprint_digest(keys, run->fingerprint, err) != 0) goto fail;
    if (strcmp(run->fingerprint, fingerprint) != 0) {
        error_set(err, CODE_DATA, "run.json: its fingerprint is not that of its keys: the file was changed");
        goto fail;
    }
    if (fingerprint_of_latents(keys, run->latents, err) != 0) goto fail;
    if (!(run->dir = strdup(dir ? dir : run->job.output.dir))) {
        error_memory(err);
        goto fail;
    }
    const json_t *guide = json_object_get(document, "guide"), *decoder = json_object_get(document, "decoder");
    if (card_parse(&run->card, json_object_get(document, "card"), "run.json: card", err) != 0 ||
        (json_is_object(guide) && card_add_guide(&run->card, guide, "run.json: guide", err) != 0) ||
        (run->job.decode.path && decoder_add(&run->card, &run->job, decoder, err) != 0) ||
        job_add_nulls(&run->job, &run->card, err) != 0 ||
        plan_resolve(&run->sampler, &run->job.sampler, &run->card, err) != 0 || look_at_plan(run, err) != 0 ||
        layout_init(&run->layout, document_samples(document, run->all_seeds), (uint64_t)run->job.batch, (uint64_t)rows,
                    1, err) != 0)
        goto fail;
    if (read_lists(run, err) != 0) goto fail;
    seeds_cut(&run->job.seeds, run->layout.samples);
    if (run->job.evaluate.enabled && run_open_networks(run, err) != 0) goto fail;
    return 0;
fail:
    run_close(run);
    return -1;
}

void run_close_networks(struct run *run) {
    for (size_t i = 0; i < run->evaluated_count; i++) {
        network_release(&run->evaluated[i].network);
        for (int which = 0; which < EVALUATED_FILES; which++) free(run->evaluated[i].files[which].made);
    }
    free(run->evaluated);
    run->evaluated = NULL;
    run->evaluated_count = 0;
}

void run_close(struct run *run) {
    run_close_networks(run);
    lists_release(&run->lists);
    sampler_release(&run->sampler);
    card_release(&run->card);
    if (run->job.name) job_release(&run->job);
    free(run->dir);
    json_decref(run->document);
    *run = (struct run){0};
}

/* ---- feature networks ---- */

static int check_names(const struct run *run, struct error *err) {
    for (size_t i = 0; i < run->evaluated_count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct network *one = &run->evaluated[k].network, *other = &run->evaluated[i].network;
            if (strcmp(one->key, other->key) == 0)
                return error_set(err, CODE_DATA, "evaluate.features: %s and %s are the same network: name each once",
                                 one->name, other->name);
            if (strcmp(one->name, other->name) == 0)
                return error_set(err, CODE_DATA,
                                 "evaluate.features: two networks are called %s: give one another name, {name: ..., "
                                 "path: ...}",
                                 one->name);
        }
    return 0;
}

static struct evaluated *find_network(struct run *run, const char *name) {
    for (size_t i = 0; i < run->evaluated_count; i++)
        if (strcmp(run->evaluated[i].network.name, name) == 0) return &run->evaluated[i];
    return NULL;
}

static int give_files(struct run *run, enum evaluated_file which, struct error *err) {
    const struct named_paths *files = &run->job.evaluate.files[which];
    bool named = files->list[0].name, needed = which == EVALUATED_REFERENCE;
    for (size_t i = 0; i < run->evaluated_count && !named && files->count > 0; i++)
        run->evaluated[i].files[which].path = files->list[files->count == 1 ? 0 : i].path;
    for (size_t i = 0; i < files->count && named; i++) {
        struct evaluated *evaluated = find_network(run, files->list[i].name);
        if (!evaluated)
            return error_set(err, CODE_DATA, "evaluate.%s: no network of evaluate.features is called %s",
                             evaluated_file_names[which], files->list[i].name);
        evaluated->files[which].path = files->list[i].path;
    }
    for (size_t i = 0; i < run->evaluated_count && needed; i++)
        if (!run->evaluated[i].files[which].path)
            return error_set(err, CODE_DATA, "evaluate.%s: none for the network %s", evaluated_file_names[which],
                             run->evaluated[i].network.name);
    return 0;
}

int run_open_networks(struct run *run, struct error *err) {
    const struct named_paths *networks = &run->job.evaluate.features;
    if (!(run->evaluated = calloc(networks->count + 1, sizeof *run->evaluated))) return error_memory(err);
    for (size_t i = 0; i < networks->count; i++) {
        struct evaluated *evaluated = &run->evaluated[run->evaluated_count++];
        evaluated->path = networks->list[i].path;
        if (network_open(&evaluated->network, evaluated->path, &run->card, run->job.evaluate.metrics, err) != 0)
            return err->code == CODE_IO ? error_prefix(err, "evaluate.features") : -1;
        if (run->job.output.dtype != SAMPLE_UINT8)
            network_take_floats(&evaluated->network, &run->card, run->job.output.dtype == SAMPLE_FLOAT16);
        if (networks->list[i].name) snprintf(evaluated->network.name, NETWORK_NAME, "%s", networks->list[i].name);
    }
    int rc = check_names(run, err);
    for (enum evaluated_file which = 0; rc == 0 && which < EVALUATED_FILES; which++) rc = give_files(run, which, err);
    return rc;
}

const char *run_evaluated_file(const struct run *run, size_t network, enum evaluated_file which) {
    const struct evaluated_with *file = &run->evaluated[network].files[which];
    return file->made ? file->made : file->path;
}

static const char *digest_of(const struct evaluated *evaluated, int which) {
    return which == NETWORK_DIGESTS ? evaluated->network.sha256 : evaluated->files[which].sha256;
}

json_t *run_digests(const struct run *run, int which) {
    if (run->evaluated_count == 1) return json_string(digest_of(&run->evaluated[0], which));
    json_t *all = json_object();
    for (size_t i = 0; all && i < run->evaluated_count; i++)
        json_map_add(&all, run->evaluated[i].network.name, json_string(digest_of(&run->evaluated[i], which)));
    return all;
}

const struct network_output *run_output(const struct run *run, int output) {
    return &run->evaluated[output / NETWORK_OUTPUTS].network.outputs[output % NETWORK_OUTPUTS];
}

/* ---- */

const char *run_sha256(const struct run *run, const char *key) {
    const json_t *value = json_object_get(run->document, "keys");
    char name[32];
    for (size_t length; value && *key; key += length + (key[length] == '.')) {
        length = strcspn(key, ".");
        snprintf(name, sizeof name, "%.*s", (int)length, key);
        value = json_object_get(value, name);
    }
    return json_string_value(value);
}

int64_t run_label(const struct run *run, uint64_t position) {
    return labels_at(&run->job, &run->card, run->lists.labels, position);
}

uint64_t run_row(const struct run *run, uint64_t position) {
    return run->lists.rows ? (uint64_t)run->lists.rows[position]
                           : position % run->condition_rows; /* each: as many as samples */
}

double run_scale(const struct run *run, uint64_t position) {
    return run->lists.scales[run_row(run, position)];
}

static double scale_of(const void *run, uint64_t position) {
    return run_scale(run, position);
}

static uint64_t row_of(const void *run, uint64_t position) {
    return run_row(run, position);
}

bool run_wants(const struct run *run, int output) {
    if (output == LATENTS) return run->keeps_latents;
    return output == SAMPLES ||
           ((size_t)output < run->evaluated_count * NETWORK_OUTPUTS && run_output(run, output)->wanted);
}

/* float32, or half of it, [rows,C,H,W]. */
static struct npy floats_npy(bool half, size_t rows, int channels, int height, int width) {
    return (struct npy){.type = half ? NPY_FLOAT16 : NPY_FLOAT32,
                        .item = half ? sizeof(uint16_t) : sizeof(float),
                        .rank = 4,
                        .shape = {rows, (size_t)channels, (size_t)height, (size_t)width}};
}

struct npy run_npy(const struct run *run, shard_id shard, int output) {
    const struct sample_form form = card_sample(&run->card);
    size_t rows = (size_t)layout_rows(&run->layout, shard);
    if (output == LATENTS)
        return floats_npy(run->job.output.latents == LATENTS_FLOAT16, rows, run->card.channels, run->card.height,
                          run->card.width);
    if (output != SAMPLES)
        return (struct npy){
            .type = NPY_FLOAT32, .item = sizeof(float), .rank = 2, .shape = {rows, run_output(run, output)->dim}};
    size_t c = (size_t)form.channels, h = (size_t)form.height, w = (size_t)form.width;
    if (run->job.output.dtype == SAMPLE_UINT8)
        return (struct npy){.type = NPY_UINT8, .item = 1, .rank = 4, .shape = {rows, h, w, c}};
    return floats_npy(run->job.output.dtype == SAMPLE_FLOAT16, rows, form.channels, form.height, form.width);
}

struct shard_meta run_meta(const struct run *run, shard_id shard, int output, uint64_t *seeds, int64_t *labels) {
    struct shard_meta meta = {.id = shard, .rows = layout_rows(&run->layout, shard), .seeds = seeds};
    uint64_t first = layout_first(&run->layout, shard);
    /* EDM draws labels on the GPU: elsewhere nobody can tell which they were but the file. */
    meta.any_labels = run->job.labels.rule == LABELS_EDM && run->job.noise == NOISE_TORCH_CUDA &&
                      shim_device_count() == 0;
    meta.labels = run->card.classes > 0 && !meta.any_labels ? labels : NULL;
    for (uint64_t row = 0; row < meta.rows; row++) {
        seeds[row] = seeds_at(&run->job.seeds, first + row);
        if (meta.labels) labels[row] = run_label(run, first + row);
    }
    if (run->condition_rows > 0) {
        meta.condition_row = row_of;
        meta.scale = run->lists.scales ? scale_of : NULL;
        meta.run = run;
        meta.first = first;
    }
    memcpy(meta.fingerprint, output == LATENTS ? run->latents : run->fingerprint, SHA256_HEX);
    if (output == LATENTS) {
        meta.output = LATENTS_FOLDER;
    } else if (output != SAMPLES) {
        memcpy(meta.network, run->evaluated[output / NETWORK_OUTPUTS].network.key, SHA256_HEX);
        meta.output = run_output(run, output)->name;
    }
    return meta;
}

char *run_path(const struct run *run, shard_id shard, int output) {
    if (output < 0) return store_path(run->dir, "", output == LATENTS ? LATENTS_FOLDER : NULL, shard);
    return store_path(run->dir, run->evaluated[output / NETWORK_OUTPUTS].network.key, run_output(run, output)->name,
                      shard);
}
