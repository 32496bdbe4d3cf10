/* tune: fits few-step samplers to a job's own model. */
#include "base/files.h"
#include "base/log.h"
#include "base/print.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "cluster/build.h"
#include "cli/command.h"
#include "format/json_file.h"
#include "job/multistep.h"
#include "run/run.h"
#include "sample/model.h"
#include "tune/tune.h"
#include "work/place.h"
#include "work/proof.h"
#include "work/evaluation.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATHS = 128, TEACHER_STEPS = 24, SAMPLES_JUDGED = 2000, SAMPLES_LEAST = 200, PUBLISHED = 50000 };

struct tune_options {
    const char *job, *nfe, *output;
    struct option_list set;
    uint64_t paths, teacher, order, samples;
    bool no_fid, json;
};

/* ---- what is asked ---- */

static int read_nfes(struct tuning *asked, const char *list, struct error *err) {
    char *copy = strdup(list ? list : "4,5,6,8,10");
    int rc = copy ? 0 : error_memory(err);
    char *rest = copy;
    for (char *word; rc == 0 && (word = strsep(&rest, ","));) {
        uint64_t nfe;
        if (!text_to_u64(word, &nfe) || nfe < 1 || nfe > 100 || asked->nfes_count == TUNE_NFES)
            rc = error_set(err, CODE_USAGE,
                           "--nfe %s: expected a list such as 4,5,6,8,10, of at most %d numbers from 1 to 100", list,
                           TUNE_NFES);
        else asked->nfes[asked->nfes_count++] = (int)nfe;
    }
    free(copy);
    return rc;
}

static int read_options(struct tuning *asked, const struct tune_options *options, struct error *err) {
    size_t paths = options->paths ? (size_t)options->paths : PATHS;
    if (paths < 8 || paths > 100000)
        return error_set(err, CODE_USAGE, "--paths %zu: expected a number from 8 to 100000", paths);
    if (options->teacher > 10000 || options->teacher == 1)
        return error_set(err, CODE_USAGE, "--teacher %" PRIu64 ": expected a number of steps from 2 to 10000",
                         options->teacher);
    if (options->order > TUNE_ORDERS)
        return error_set(err, CODE_USAGE, "--order %" PRIu64 ": expected 1 to %d", options->order, TUNE_ORDERS);
    asked->select = asked->judge = paths / 4;
    asked->fit = paths - asked->select - asked->judge;
    asked->teacher = options->teacher ? (int)options->teacher : TEACHER_STEPS;
    asked->order = (int)options->order;
    asked->samples = options->no_fid ? 0 : options->samples ? (size_t)options->samples : SAMPLES_JUDGED;
    if (options->samples && options->samples < SAMPLES_LEAST)
        return error_set(err, CODE_USAGE, "--samples %" PRIu64 ": expected at least %d", options->samples,
                         SAMPLES_LEAST);
    return read_nfes(asked, options->nfe, err);
}

/* What can't be tuned, said before a model is loaded. */
static int refuse(const struct run *run, struct error *err) {
    const struct sampler *sampler = &run->sampler;
    const struct guidance *guidance = &sampler->guidance;
    if (run->job.initial)
        return error_set(err, CODE_DATA, "initial: tune starts from noise: leave it out (--set initial=null)");
    if (sampler->plan || sampler->nfe == 0)
        return error_set(err, CODE_DATA,
                         "sampler.%s: tune needs the range of a sampler with a grid: say --set sampler=null --set "
                         "sampler.solver=ddim --set sampler.nfe=10 and what else is meant",
                         sampler->plan ? "plan" : "solver");
    if (!isnan(guidance->momentum) && guidance->momentum != 0)
        return error_set(err, CODE_DATA,
                         "sampler.guidance.momentum: it depends on the steps taken, so that no finer solution is a "
                         "teacher: tune without it");
    if (sampler->final == FINAL_MEAN || sampler->final == FINAL_TWEEDIE || sampler->final == FINAL_ACP0)
        return error_set(err, CODE_DATA, "sampler.final: tune ends with none, zero or denoise: say one of them");
    return 0;
}

/* Seeds behind the job's, so that what is fitted never sees what is made. */
static int other_seeds(struct run *run, const struct tuning *asked, uint64_t **seeds, int64_t **labels,
                       struct error *err) {
    size_t paths = asked->fit + asked->select + asked->judge + asked->samples;
    uint64_t last = 0, given = run->job.seeds.count;
    for (size_t i = 0; i < run->job.seeds.ranges_count; i++) {
        const struct seed_range *range = &run->job.seeds.ranges[i];
        if (range->first + range->count - 1 > last) last = range->first + range->count - 1;
    }
    uint64_t most = run->job.noise == NOISE_PHILOX ? UINT64_MAX : UINT32_MAX;
    if (last >= most - paths)
        return error_set(err, CODE_DATA, "seeds: there are no %zu behind the largest, %" PRIu64 ", to tune with", paths,
                         last);
    char *text = text_new("%" PRIu64 "-%" PRIu64, last + 1, last + paths);
    struct seeds own = run->job.seeds;
    *seeds = calloc(paths, sizeof **seeds);
    *labels = calloc(paths, sizeof **labels);
    int rc = text && *seeds && *labels ? seeds_parse(&run->job.seeds, text, err) : error_memory(err);
    if (rc != 0) run->job.seeds = own;
    else seeds_release(&own);
    for (size_t i = 0; rc == 0 && i < paths; i++) {
        bool listed = run->job.labels.rule == LABELS_FILE; /* spread over the file's */
        (*seeds)[i] = last + 1 + i;
        (*labels)[i] = listed && run->card.classes > 0 ? run->labels[i * given / paths] : run_label(run, i);
    }
    free(text);
    return rc;
}

/* ---- what is written ---- */

static json_t *at(const json_t *json, const char *key) {
    return json_object_get(json, key);
}

static int write_table(const char *folder, const json_t *found, const json_t *one, const struct run *run,
                       struct error *err) {
    json_int_t nfe = json_integer_value(at(one, "nfe"));
    char *path = text_new("%s/tuned-nfe%lld.json", folder, (long long)nfe);
    json_t *made = json_pack("{ss ss? sO sO* sO sO* sO sO sO sO sO sO sO}", "by", "qtaylor tune", "model_sha256",
                             run_sha256(run, MODEL_SHA256), "error", at(one, "error"), "fid", at(one, "fid"), "rival",
                             at(one, "rival"), "delta", at(one, "delta"), "ratio", at(one, "ratio"), "ratio_error",
                             at(one, "ratio_error"), "grid", at(one, "grid"), "order", at(one, "order"), "polished",
                             at(one, "polished"), "teacher", at(found, "teacher"), "paths", at(found, "paths"));
    const json_t *table = at(one, "table");
    json_t *file = json_pack("{so sO sO so}", "name", json_sprintf("tuned-nfe%lld", (long long)nfe), "times",
                             at(table, "times"), "steps", at(table, "steps"), "made", made);
    int rc = path && file ? json_file_write(path, file, err) : error_memory(err);
    json_decref(file);
    free(path);
    return rc;
}

/* The sampler of an NFE that is recommended: the table, or the registry's where that is nearer to the teacher. */
static json_t *cell_of(const json_t *one, bool table) {
    if (!table) return json_deep_copy(at(at(one, "rival"), "sampler"));
    return json_pack("{ss so}", "solver", "table", "table",
                     json_sprintf("tuned-nfe%lld.json", (long long)json_integer_value(at(one, "nfe"))));
}

/* compare.yaml: the job itself, a cell a table and one a rival. */
static int write_comparison(const char *folder, const json_t *found, const struct run *run, const char *dir,
                            struct error *err) {
    json_t *job = json_deep_copy(at(run->document, "job")), *own = at(job, "sampler"), *cells = json_array(), *one;
    json_t *sampler = json_object();
    static const char *const kept[] = {"guidance", "clip", "state"};
    size_t i;
    bool whole = job && cells && sampler;
    for (i = 0; whole && i < sizeof kept / sizeof *kept; i++)
        if (at(own, kept[i])) whole = json_object_set(sampler, kept[i], at(own, kept[i])) == 0;
    json_array_foreach(at(found, "tuned"), i, one) {
        if (json_is_true(at(one, "wins"))) whole = whole && json_array_append_new(cells, cell_of(one, true)) == 0;
        whole = whole && json_array_append_new(cells, cell_of(one, false)) == 0;
    }
    whole = whole && json_object_set_new(job, "sampler", json_incref(sampler)) == 0 &&
            json_object_set_new(job, "sweep", json_pack("{sO}", "sampler", cells)) == 0 &&
            json_object_set_new(at(job, "output"), "dir", json_string(dir)) == 0;
    char *path = text_new("%s/compare.yaml", folder);
    int rc = whole && path ? json_file_write(path, job, err) : error_memory(err);
    free(path);
    json_decref(sampler);
    json_decref(cells);
    json_decref(job);
    return rc;
}

static int write_all(const char *folder, const json_t *found, const struct run *run, struct error *err) {
    json_t *one;
    size_t i;
    char *absolute = path_absolute(folder), *dir = absolute ? text_new("%s/compare", absolute) : NULL;
    int rc = dir ? folder_make(folder, err) : error_memory(err);
    json_array_foreach(at(found, "tuned"), i, one) {
        if (rc == 0 && json_is_true(at(one, "wins"))) rc = write_table(folder, found, one, run, err);
    }
    if (rc == 0) rc = write_comparison(folder, found, run, dir, err);
    free(dir);
    free(absolute);
    return rc;
}

/* ---- what is printed ---- */

static double value_of(const json_t *json, const char *key) {
    const json_t *value = at(json, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* "unipc of order 2, quadratic" */
static void print_rival(const json_t *sampler) {
    const json_t *grid = at(sampler, "grid"), *order = at(sampler, "order");
    char *text = json_is_string(grid) ? strdup(json_string_value(grid)) : json_dumps(grid, JSON_COMPACT);
    printf("%s", json_string_value(at(sampler, "solver")));
    if (order) printf(" of order %g", json_number_value(order));
    print_line(stdout, ", %s", text ? text : "");
    free(text);
}

static void print_one(const json_t *one) {
    const json_t *rival = at(one, "rival"), *fid = at(one, "fid"), *theirs = at(rival, "fid"),
                 *delta = at(one, "delta");
    printf("%4lld  %9.5f %9.5f  %5.3f +- %.3f", (long long)json_integer_value(at(one, "nfe")), value_of(rival, "error"),
           value_of(one, "error"), value_of(one, "ratio"), value_of(one, "ratio_error"));
    if (fid || theirs)
        printf("  %8.4f %8.4f  %+.4f +- %.4f", value_of(theirs, "fid_corrected"), value_of(fid, "fid_corrected"),
               value_of(delta, "fid_delta"), value_of(delta, "fid_delta_error"));
    printf("  %s, order %lld%s%s; ", json_string_value(at(one, "grid")),
           (long long)json_integer_value(at(one, "order")), json_is_true(at(one, "polished")) ? ", polished" : "",
           json_is_true(at(one, "wins")) ? "" : " (not written)");
    print_rival(at(rival, "sampler"));
}

static void print_found(const json_t *found, const char *folder) {
    const json_t *teacher = at(found, "teacher");
    json_t *one;
    size_t i;
    double rows = value_of(found, "model_rows"), whole = 0;
    printf("teacher: %s with %lld evaluations, its own error about %.1e (rms; samples have %.3g)\n\n",
           json_string_value(at(teacher, "solver")), (long long)json_integer_value(at(teacher, "nfe")),
           value_of(teacher, "error"), value_of(teacher, "spread"));
    bool fids = json_integer_value(at(found, "samples")) > 0;
    printf("      rms distance to the fine samples%s\n", fids ? "      FID, corrected" : "");
    printf(" NFE   registry     table   ratio          %s\n", fids ? "  registry    table  difference" : "");
    json_array_foreach(at(found, "tuned"), i, one) {
        print_one(one);
        whole += (double)PUBLISHED * value_of(one, "nfe");
    }
    printf("\n%.0f model evaluations of a sample, %.1f %% of what %d samples at %s NFE take\n", rows,
           100 * rows / whole, PUBLISHED, json_array_size(at(found, "tuned")) > 1 ? "each of these" : "this");
    print_line(stdout, "use one:      sampler: {solver: table, table: %s/tuned-nfeN.json}", folder);
    print_line(stdout, "compare all:  qtaylor run %s/compare.yaml; qtaylor report %s/compare", folder, folder);
}

/* ---- ranks ---- */

/* The job's first feature network and its reference. */
static int load_judge(struct run *run, struct tuning *asked, struct side *reference, struct error *err) {
    struct network *network = &run->evaluated[0].network;
    const char *path = run->evaluated[0].path;
    double ignored;
    run->job.evaluate.metrics = 1 << METRIC_FID; /* no other one judges */
    if (network_load(network, path, asked->device, err) != 0 ||
        network_prove(network, path, (size_t)run->job.batch, &ignored, err) != 0 ||
        evaluation_reference(run, 0, EVALUATED_REFERENCE, reference, err) != 0 ||
        evaluation_fits(run, 0, (const struct side *[EVALUATED_FILES]){reference}, false, err) != 0)
        return -1;
    asked->network = network;
    asked->reference = reference;
    return side_factor(reference, 1 << METRIC_FID, err);
}

static int tune_models(json_t **found, struct tuning *asked, struct run *run, struct error *err) {
    struct side reference = {.untyped = false};
    char message[SHIM_ERROR];
    const char *guide = run->sampler.guidance.model;
    int rc = 0;
    const struct sample_form form = card_sample(&run->card);
    if (run->card.inputs_count > 0 || run->card.decoder || !sample_bounded(&form))
        rc = error_set(
            err, CODE_DATA,
            "tune: expected a job without conditions and decode, of samples with a range: it follows no others");
    if (rc == 0 && shim_start(run->job.precision == PRECISION_TF32, message) != 0)
        rc = error_set(err, CODE_INTERNAL, "%s", message);
    if (rc == 0)
        rc = model_load(&asked->model, "model", run->job.model.path, run_sha256(run, MODEL_SHA256), asked->device, err);
    if (rc == 0 && guide)
        rc = model_load(&asked->guide, "the guiding model", guide, run_sha256(run, GUIDE_SHA256), asked->device, err);
    const struct cell cell = {.run = *run, .tag = "", .model = asked->model, .guide = asked->guide};
    if (rc == 0) rc = prove_models(&cell, asked->device, err);
    if (rc == 0 && asked->samples > 0) rc = load_judge(run, asked, &reference, err);
    rc = ranks_agree(asked->comm, rc, err);
    if (rc == 0) rc = tune(found, asked, err);
    side_release(&reference);
    shim_model_free(asked->guide);
    shim_model_free(asked->model);
    return rc;
}

static int tune_run(json_t **found, struct run *run, struct tuning *asked, struct error *err) {
    struct place place = {.device = SHIM_CPU};
    json_t *hosts = NULL;
    uint64_t *seeds = NULL;
    int64_t *labels = NULL;
    if (place_rank(asked->comm, &run->job, &place, &hosts, err) != 0) return -1;
    json_decref(hosts);
    asked->sampler = &run->sampler;
    asked->card = &run->card;
    asked->device = place.device;
    asked->workers = place.workers;
    asked->batch = run->job.batch;
    asked->noise = run->job.noise;
    asked->rounding = run->job.output.rounding;
    if (!run->job.evaluate.enabled || !(run->job.evaluate.metrics & 1 << METRIC_FID)) asked->samples = 0;
    int rc = refuse(run, err);
    if (rc == 0) rc = other_seeds(run, asked, &seeds, &labels, err);
    rc = ranks_agree(asked->comm, rc, err);
    asked->seeds = seeds;
    asked->labels = run->card.classes > 0 ? labels : NULL;
    if (rc == 0) rc = tune_models(found, asked, run, err);
    free(labels);
    free(seeds);
    return rc;
}

static int finish(const json_t *found, const struct run *run, const struct tune_options *options, struct error *err) {
    char *folder = options->output ? strdup(options->output) : text_new("%s-tuned", run->job.output.dir);
    int rc = folder ? write_all(folder, found, run, err) : error_memory(err);
    if (rc == 0 && options->json) rc = print_json(found, err);
    else if (rc == 0) print_found(found, folder);
    free(folder);
    return rc;
}

static int work(struct comm *comm, const struct call *call, void *context, struct error *err) {
    const struct tune_options *options = call->options;
    struct tuning *asked = context;
    json_t *document = NULL, *found = NULL;
    struct run run;
    asked->comm = comm;
    if (comm_rank(comm) == 0)
        command_one_job(&document, options->job, options->set.items, options->set.count, "tune", "ddim", err);
    if (document_share(comm, &document, err) != 0) return -1;
    int rc = run_open(&run, document, NULL, true, err);
    bool opened = rc == 0;
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = tune_run(&found, &run, asked, err);
    int written = rc == 0 && comm_rank(comm) == 0 ? finish(found, &run, options, err) : 0;
    if (rc == 0) rc = ranks_agree(comm, written, err);
    json_decref(found);
    if (opened) run_close(&run);
    return rc;
}

static int tune_job(const struct call *call, struct error *err) {
    struct tuning asked = {0};
    if (read_options(&asked, call->options, err) != 0) return -1;
    return command_ranks(call, work, &asked, err);
}

static const struct option_row rows[] = {
    ROW_JOB(tune_options),
    ROW_SET(tune_options),
    OPTION(STRING, tune_options, nfe, "nfe", .argument = "LIST", .help = "numbers of evaluations (4,5,6,8,10)"),
    OPTION(COUNT, tune_options, paths, "paths", .argument = "N",
           .help = "paths to fit, to choose and to judge with (128)"),
    OPTION(COUNT, tune_options, teacher, "teacher", .argument = "N", .help = "steps of the fine solution (24, of rk4)"),
    OPTION(COUNT, tune_options, samples, "samples", .argument = "N",
           .help = "samples of the FIDs that judge, where the job evaluates (2000)"),
    OPTION(FLAG, tune_options, no_fid, "no-fid", .help = "judge by the distance to the fine samples alone"),
    OPTION(COUNT, tune_options, order, "order", .argument = "N",
           .help = "evaluations that a step is fitted to, 1 to 4 (what is best of 2 and 3)"),
    ROW_OUTPUT(tune_options, "FOLDER"),
    ROW_JSON(tune_options),
};

const struct command command_tune = {
    "tune", "Fit few-step samplers to a job's own model: tables for sampler.table, never worse than the best solver",
    "Paths of seeds behind the job's are integrated finely. For each NFE every solver of the registry is compared "
    "with\n"
    "them, tables of coefficients are fitted along their own states on several grids, and the best one's times are\n"
    "polished. Where the job evaluates, the FID of other seeds chooses, else the distance on paths that nothing was\n"
    "fitted to. FOLDER (the job's output.dir and -tuned) gets tuned-nfeN.json where the table is better, and\n"
    "compare.yaml, a job that makes and evaluates all. mpirun's ranks share the work; the result is the same for any\n"
    "number of them.\n" MODEL_IS_CODE,
    OPTION_TABLE(rows, tune_options), tune_job};
