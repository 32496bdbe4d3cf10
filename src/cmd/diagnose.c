/* diagnose: how far the premise of the quasi-Taylor method holds on a model, and which clock, grid and order suit it.
 */
#include "base/print.h"
#include "cli/command.h"
#include "cmd/diagnose_print.h"
#include "diagnose/diagnose.h"
#include "run/run.h"
#include "tune/tune.h"
#include "work/proof.h"
#include "sample/conditions.h"
#include "sample/model.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATHS = 100 };

/* ---- the job ---- */

static int set_up(struct diagnosis *asked, const struct run *run, uint64_t wanted, struct error *err) {
    const struct job *job = &run->job;
    int device;
    if (model_device(job->device, 0, "device:", &device, err) != 0) return -1;
    if (job->initial)
        return error_set(err, CODE_DATA, "initial: diagnose starts from noise: leave it out (--set initial=null)");
    if (wanted > job->seeds.count)
        return error_set(err, CODE_DATA, "--count %" PRIu64 ", but the job has %" PRIu64 " seeds", wanted,
                         job->seeds.count);
    if (wanted == 0) wanted = job->seeds.count < PATHS ? job->seeds.count : PATHS;
    *asked = (struct diagnosis){.sampler = &run->sampler,
                                .card = &run->card,
                                .noise = job->noise,
                                .paths = (size_t)wanted,
                                .device = device,
                                .batch = job->batch};
    asked->workers = job->workers ? job->workers : device == SHIM_CPU ? omp_get_num_procs() : 1;
    int share = (int)((asked->paths + (size_t)asked->workers - 1) /
                      (size_t)asked->workers); /* something for every worker */
    if (run->card.batch == 0 && share < asked->batch) asked->batch = share;
    return 0;
}

enum { TEACHER_STEPS = 24, FITTED_LEAST = 8, FITTED_STEPS = 100 };

/* findings.fits: what qtaylor tune could gain, on the same paths; where it can't, a note says why. */
static int add_fits(json_t *found, const struct diagnosis *asked, struct error *err) {
    struct tuning tuning = {.sampler = asked->sampler,
                            .card = asked->card,
                            .model = asked->model,
                            .guide = asked->guide,
                            .device = asked->device,
                            .workers = asked->workers,
                            .batch = asked->batch,
                            .noise = asked->noise,
                            .select = asked->paths / 4,
                            .judge = asked->paths / 4,
                            .seeds = asked->seeds,
                            .labels = asked->labels,
                            .conditions = asked->conditions,
                            .condition_rows = asked->condition_rows,
                            .teacher = TEACHER_STEPS,
                            .nfes = {asked->sampler->nfe},
                            .nfes_count = 1};
    json_t *fits = NULL;
    int rc = tune_possible(asked->sampler, err);
    tuning.fit = asked->paths - tuning.select - tuning.judge;
    if (rc == 0 && (asked->paths < FITTED_LEAST || asked->sampler->nfe > FITTED_STEPS))
        rc = error_set(err, CODE_DATA, "fits need %d paths and at most %d evaluations, there are %zu and %d",
                       FITTED_LEAST, FITTED_STEPS, asked->paths, asked->sampler->nfe);
    if (rc == 0) rc = tune_gains(&fits, &tuning, err);
    if (rc == 0) return json_object_set_new(found, "fits", fits) == 0 ? 0 : error_memory(err);
    if (err->code != CODE_DATA) return -1;
    return json_array_append_new(json_object_get(found, "notes"),
                                 json_sprintf("no sampler was fitted: %s", err->message)) == 0
               ? 0
               : error_memory(err);
}

static int diagnose_run(const struct run *run, uint64_t wanted, json_t **found, struct error *err) {
    struct diagnosis asked;
    char message[SHIM_ERROR];
    if (set_up(&asked, run, wanted, err) != 0) return -1;
    uint64_t *seeds = calloc(asked.paths, sizeof *seeds);
    int64_t *labels = calloc(asked.paths, sizeof *labels);
    uint64_t *rows = calloc(asked.paths, sizeof *rows);
    struct conditions *conditions = NULL;
    int rc = seeds && labels && rows ? 0 : error_memory(err);
    for (size_t i = 0; i < asked.paths && rc == 0; i++) {
        seeds[i] = seeds_at(&run->job.seeds, i);
        labels[i] = run_label(run, i);
        if (run->condition_rows > 0) rows[i] = run_row(run, i);
    }
    asked.seeds = seeds;
    if (rc == 0) rc = conditions_open(&conditions, &run->card, &run->job, err);
    if (conditions) asked.condition_rows = rows;
    asked.conditions = conditions;
    if (run->card.classes > 0) asked.labels = labels;
    if (rc == 0 && shim_start(run->job.precision == PRECISION_TF32, message) != 0)
        rc = error_set(err, CODE_INTERNAL, "%s", message);
    if (rc == 0)
        rc = model_load(&asked.model, "model", run->job.model.path, run_sha256(run, MODEL_SHA256), asked.device, err);
    const char *guide = run->sampler.guidance.model;
    if (rc == 0 && guide)
        rc = model_load(&asked.guide, "the guiding model", guide, run_sha256(run, GUIDE_SHA256), asked.device, err);
    const struct cell cell = {
        .run = *run, .tag = "", .model = asked.model, .guide = asked.guide, .conditions = conditions};
    if (rc == 0) rc = prove_models(&cell, asked.device, err);
    if (rc == 0) rc = diagnose(found, &asked, err);
    if (rc == 0) rc = add_fits(*found, &asked, err);
    conditions_close(conditions);
    shim_model_free(asked.guide);
    shim_model_free(asked.model);
    free(rows);
    free(labels);
    free(seeds);
    return rc;
}

struct diagnose_options {
    const char *job;
    struct option_list set;
    uint64_t count;
    bool json;
};

/* The job is read without its evaluation, which is not asked for here. */
static int diagnose_job(const struct call *call, struct error *err) {
    const struct diagnose_options *options = call->options;
    const char *overrides[options->set.count + 1];
    struct run run;
    json_t *document, *found = NULL;
    size_t count = options->set.count;
    memcpy(overrides, options->set.items, count * sizeof *overrides);
    overrides[count++] = "evaluate=null";
    int rc = command_one_job(&document, options->job, overrides, count, "diagnose", "taylor", err);
    if (rc != 0 || run_open(&run, document, NULL, false, err) != 0) return -1;
    rc = diagnose_run(&run, options->count, &found, err);
    if (rc == 0 && options->json) rc = print_json(found, err);
    else if (rc == 0) rc = diagnose_print(found, err);
    json_decref(found);
    run_close(&run);
    return rc;
}

static const struct option_row rows[] = {ROW_JOB(diagnose_options), ROW_SET(diagnose_options),
                                         ROW_COUNT(diagnose_options), ROW_JSON(diagnose_options)};

const struct command command_diagnose = {
    "diagnose",
    "Measure how far the quasi-Taylor method's premise holds on a model, and which clock, grid and order suit it",
    "Paths of the first N seeds (100) are integrated finely, and compared with it: how constant epsilon is along them, "
    "the\n"
    "ideal derivatives with finite differences, one step of each order from the exact path, and whole samples, at half "
    "the\n"
    "job's NFE, at it and at twice it; and what qtaylor tune could gain at the job's NFE. Every number comes with its "
    "standard error over paths (--json has "
    "all).\n" MODEL_IS_CODE,
    OPTION_TABLE(rows, diagnose_options), diagnose_job};
