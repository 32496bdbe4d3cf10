/* model: what a network is, whether it is a function of its row, how fast it is, and the batch and workers to take. */
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/members.h"
#include "format/json_file.h"
#include "job/card.h"
#include "job/model_file.h"
#include "sample/proof.h"
#include "sample/speed.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { PROOF_BATCH = 8 };

struct model_options {
    const char *model;
    struct option_list set;
    uint64_t batch;
    int device; /* enum device_kind */
    bool json;
};

struct trial {
    struct card card;
    struct shim_model *model;
    int device;
};

/* ---- the proof ---- */

/* A job that asks it at the first, a middle and the last time of a sampler that every card can take. */
static int make_job(struct job *job, const struct trial *trial, const char *path, struct error *err) {
    const struct card *card = &trial->card;
    json_t *asked = json_pack("{s:s, s:{s:s}, s:i, s:s, s:i, s:{s:s, s:i, s:o}, s:{s:s, s:s}}", "name", "model",
                              "model", "path", path, "seeds", 0, "labels", card->classes > 0 ? "balanced" : "none",
                              "batch", card->batch > 0 ? card->batch : PROOF_BATCH, "sampler", "solver", "ddim", "nfe",
                              3, "guidance", json_real(card->null_label >= 0 ? 1.5 : 1), "output", "dir", ".", "dtype",
                              "float32");
    char *text = asked ? json_text(asked, JSON_COMPACT) : NULL;
    json_decref(asked);
    int rc = text ? job_parse(job, text, path, NULL, NULL, 0, err) : error_memory(err);
    free(text);
    return rc;
}

static int prove(const struct trial *trial, const char *path, double *difference, struct error *err) {
    struct job job;
    struct sampler sampler = {0};
    struct plan plan = {0};
    struct text warnings = {0};
    if (make_job(&job, trial, path, err) != 0) return -1;
    int rc = plan_resolve(&sampler, &job.sampler, &trial->card, err);
    if (rc == 0) rc = plan_compile(&plan, &sampler, &trial->card, &warnings, err);
    const struct proof_model of = {
        .job = &job, .plan = &plan, .sampler = &sampler, .card = &trial->card, .model = trial->model};
    if (rc == 0) rc = proof_of_model(&of, difference, err);
    text_release(&warnings);
    plan_release(&plan);
    sampler_release(&sampler);
    job_release(&job);
    return rc;
}

/* ---- speed ---- */

static int measure(json_t *speeds, const struct trial *trial, uint64_t only, struct error *err) {
    struct speed_trial timed = {.card = &trial->card, .model = trial->model, .device = trial->device};
    size_t fixed = trial->card.batch > 0 ? (size_t)trial->card.batch : (size_t)only;
    struct speed_range range = {.first = fixed ? fixed : 1, .last = fixed ? fixed : SPEED_LARGEST, .fewest = 1};
    range.most = trial->device == SHIM_CPU ? omp_get_num_procs() : SPEED_GPU_WORKERS;
    return speed_middle(&timed, err) == 0 ? speed_measure(speeds, &timed, range, err) : -1;
}

/* ---- what was found ---- */

static void print_found(const json_t *found, const char *path) {
    const json_t *speeds = json_object_get(found, "speeds"), *best = json_object_get(found, "recommended");
    double difference = number_at(found, "row_difference");
    char *card = json_text(json_object_get(found, "card"), JSON_COMPACT | JSON_REAL_PRECISION(6));
    size_t i;
    json_t *speed;
    print_line(stdout, "%s: %s, on %s", path, text_at(found, "form"), text_at(found, "machine"));
    print_line(stdout, "card        %.300s", card ? card : "");
    free(card);
    printf("output      finite for unit normals at the first, a middle and the last time; the same when asked again\n");
    if (difference > 0)
        printf("rows        with other samples in the batch they change by up to %.1e of the largest output\n",
               difference);
    else printf("rows        the same bits whatever else is in the batch\n");
    printf("\n%8s %8s %12s %14s\n", "batch", "workers", "rows/s", "peak memory");
    json_array_foreach(speeds, i, speed)
        printf("%8lld %8lld %12.1f %10.0f MiB\n", whole_at(speed, "batch"), whole_at(speed, "workers"),
               speed_rate(speed), (double)whole_at(speed, "peak_bytes") / (1 << 20));
    printf(
        "\nIn the job, for one rank on this machine: batch: %lld, workers: %lld (%.1f model calls of a row a second)\n",
        whole_at(best, "batch"), whole_at(best, "workers"), speed_rate(best));
}

static int describe(json_t **found, const struct trial *trial, const char *path, double difference,
                    const json_t *speeds, struct error *err) {
    char machine[64], sha256[SHA256_HEX];
    json_t *form;
    if (model_file_digest(path, sha256, err) != 0 || model_form(&form, path, err) != 0) return -1;
    shim_describe_device(trial->device, machine, sizeof machine);
    *found = json_pack("{s:s, s:s, s:O, s:f, s:O, s:O}", "sha256", sha256, "machine", machine, "card", trial->card.json,
                       "row_difference", difference, "speeds", speeds, "recommended", speed_recommended(speeds));
    bool added = *found && json_object_update(*found, form) == 0;
    json_decref(form);
    return added ? 0 : error_memory(err);
}

static int model(const struct call *call, struct error *err) {
    const struct model_options *options = call->options;
    struct trial trial = {0};
    double difference = 0;
    json_t *found = NULL;
    if (command_read_card(&trial.card, options->model, &options->set, err) != 0) return -1;
    int rc = 0;
    if (trial.card.inputs_count > 0)
        rc = error_set(err, CODE_DATA,
                       "%s: its card has inputs, and their rows are a job's: `qtaylor run JOB` proves it before the "
                       "first sample",
                       options->model);
    if (rc == 0 && trial.card.batch > 0 && options->batch && options->batch != (uint64_t)trial.card.batch)
        rc = error_set(err, CODE_USAGE, "--batch: the file was made for batches of %d alone", trial.card.batch);
    if (rc == 0)
        rc = command_load_model(&trial.model, options->model, (enum device_kind)options->device, &trial.device, err);
    if (rc == 0) rc = prove(&trial, options->model, &difference, err);
    json_t *speeds = json_array();
    if (rc == 0) rc = speeds ? measure(speeds, &trial, options->batch, err) : error_memory(err);
    if (rc == 0) rc = describe(&found, &trial, options->model, difference, speeds, err);
    if (rc == 0 && options->json) rc = print_json(found, err);
    else if (rc == 0) print_found(found, options->model);
    json_decref(found);
    json_decref(speeds);
    shim_model_free(trial.model);
    card_release(&trial.card);
    return rc;
}

static const struct option_row rows[] = {
    OPTION(OPERAND, model_options, model, "MODEL"),
    OPTION(COUNT, model_options, batch, "batch", .argument = "N", .help = "this batch alone"),
    OPTION(LIST, model_options, set, "set", .argument = "KEY=VALUE",
           .help = "override a key of the card, as in --set prediction=v"),
    OPTION(CHOICE, model_options, device, "device", .help = "where the network runs", .choices = device_names),
    ROW_JSON(model_options),
};

const struct command command_model = {
    "model", "Try a network: card, form, independence of rows, and speed for batches and workers",
    "It is called as `run` would before the first sample: its output must be finite, the same when asked again, and a\n"
    "row's must not depend on the other rows (65). Then batches of 1, 2, 4, ... rows are timed with one worker and "
    "with\n"
    "one a core (two on a GPU), until larger ones bring nothing. Peak memory is that of the whole process so far, on\n"
    "the host. It is the batch that a job's bits depend on: choose it once.\n" MODEL_IS_CODE,
    OPTION_TABLE(rows, model_options), model};
