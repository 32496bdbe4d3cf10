/* tune: fits few-step samplers to a job's own model. */
#include "base/files.h"
#include "base/log.h"
#include "base/print.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "cluster/build.h"
#include "cli/command.h"
#include "tune/folder.h"
#include "tune/found.h"
#include "format/json_file.h"
#include "job/decoder.h"
#include "run/run.h"
#include "sample/conditions.h"
#include "sample/model.h"
#include "tune/tune.h"
#include "cluster/place.h"
#include "work/proof.h"
#include "work/evaluation.h"
#include "work/reference_images.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* By default, and where all are asked for. */
enum { PATHS = 24, PATHS_THOROUGH = 128, TEACHER_STEPS = 15, STEPS_THOROUGH = 24 };
enum { SAMPLES_AFFORDABLE = 1, SAMPLES_THOROUGH = 4000, SAMPLES_LEAST = 200 };

struct tune_options {
    const char *job, *nfe, *output;
    struct option_list set;
    uint64_t paths, teacher, order, samples;
    bool no_fid, thorough, force, json;
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
        for (size_t i = 0; rc == 0 && i + 1 < asked->nfes_count; i++)
            if (asked->nfes[i] == (int)nfe)
                rc = error_set(err, CODE_USAGE, "--nfe %s: expected each number once, found %d twice", list, (int)nfe);
    }
    free(copy);
    return rc;
}

/* Samples of two FIDs at each NFE that keep all within 2 % of those published: what paths (the default's), contest and
 * fits leave of it. */
static size_t affordable(const struct tuning *asked) {
    enum { SHARE = 1000, CONTEST = 176, TEACHER = 1680 };
    double sum = 0;
    for (size_t i = 0; i < asked->nfes_count; i++) sum += asked->nfes[i];
    double each = (SHARE - CONTEST - TEACHER / sum) / 2;
    return each > SAMPLES_LEAST ? (size_t)each / 8 * 8 : SAMPLES_LEAST;
}

static int read_options(struct tuning *asked, const struct tune_options *options, struct error *err) {
    bool thorough = asked->thorough = options->thorough;
    size_t paths = options->paths ? (size_t)options->paths : thorough ? PATHS_THOROUGH : PATHS;
    if (paths < 8 || paths > 100000)
        return error_set(err, CODE_USAGE, "--paths %zu: expected a number from 8 to 100000", paths);
    if (options->teacher > 10000 || options->teacher == 1)
        return error_set(err, CODE_USAGE, "--teacher %" PRIu64 ": expected a number of steps from 2 to 10000",
                         options->teacher);
    if (options->order > TUNE_ORDERS)
        return error_set(err, CODE_USAGE, "--order %" PRIu64 ": expected 1 to %d", options->order, TUNE_ORDERS);
    asked->select = asked->judge = paths / 4;
    asked->fit = paths - asked->select - asked->judge;
    asked->teacher = options->teacher ? (int)options->teacher : thorough ? STEPS_THOROUGH : TEACHER_STEPS;
    asked->order = (int)options->order;
    asked->samples = options->no_fid    ? 0
                     : options->samples ? (size_t)options->samples
                     : thorough         ? SAMPLES_THOROUGH
                                        : SAMPLES_AFFORDABLE;
    if (options->no_fid && options->samples)
        return error_set(err, CODE_USAGE, "--samples are those of FIDs, and --no-fid takes none: leave one out");
    if (options->samples && options->samples < SAMPLES_LEAST)
        return error_set(err, CODE_USAGE, "--samples %" PRIu64 ": expected at least %d", options->samples,
                         SAMPLES_LEAST);
    if (read_nfes(asked, options->nfe, err) != 0) return -1;
    if (asked->samples == SAMPLES_AFFORDABLE) asked->samples = affordable(asked);
    return 0;
}

static bool judges_by_fid(const struct run *run) {
    return run->job.evaluate.enabled && (run->job.evaluate.metrics & 1 << METRIC_FID);
}

/* What can't be tuned, said before a model is loaded. */
static int refuse(const struct run *run, struct error *err) {
    const struct sampler *sampler = &run->sampler;
    if (run->job.initial)
        return error_set(err, CODE_DATA, "initial: tune starts from noise: leave it out (--set initial=null)");
    if (sampler->plan || sampler->nfe == 0)
        return error_set(err, CODE_DATA,
                         "sampler.%s: tune needs the range of a sampler with a grid: say --set sampler=null --set "
                         "sampler.solver=ddim --set sampler.nfe=10 and what else is meant",
                         sampler->plan ? "plan" : "solver");
    return tune_possible(sampler, err);
}

/* Who is a path or a sample of a FID: seeds [paths + samples], labels and rows of conditions of as many. */
struct subjects {
    uint64_t *seeds, *rows;
    int64_t *labels;
};

static void release_subjects(struct subjects *subjects) {
    free(subjects->seeds);
    free(subjects->rows);
    free(subjects->labels);
}

/* Where in the job's list of `given` subject k looks for what files say: paths of each purpose, and the samples, are
 * spread over all of it. */
static size_t spread(const struct tuning *asked, size_t k, uint64_t given) {
    const size_t counts[] = {asked->fit, asked->select, asked->judge, asked->samples};
    const size_t *count = counts;
    while (k >= *count) k -= *count++;
    return k * given / *count;
}

/* Seeds behind the job's, so that what is fitted never sees what is made. */
static int other_seeds(struct run *run, const struct tuning *asked, struct subjects *subjects, struct error *err) {
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
    *subjects = (struct subjects){.seeds = calloc(paths, sizeof *subjects->seeds),
                                  .rows = calloc(paths, sizeof *subjects->rows),
                                  .labels = calloc(paths, sizeof *subjects->labels)};
    bool made = text && subjects->seeds && subjects->rows && subjects->labels;
    int rc = made ? seeds_parse(&run->job.seeds, text, err) : error_memory(err);
    if (rc != 0) run->job.seeds = own;
    else seeds_release(&own);
    for (size_t i = 0; rc == 0 && i < paths; i++) {
        size_t place = spread(asked, i, given);
        bool listed = run->job.labels.rule == LABELS_FILE && run->card.classes > 0;
        subjects->seeds[i] = last + 1 + i;
        subjects->labels[i] = listed ? run->lists.labels[place] : run_label(run, i);
        if (run->condition_rows > 0)
            subjects->rows[i] = run_row(run, run->job.conditions.rule == ROWS_CYCLE ? i : place);
    }
    free(text);
    return rc;
}

/* ---- ranks ---- */

/* The job's first feature network and its reference. */
static int load_judge(struct run *run, struct tuning *asked, struct side *reference, struct error *err) {
    struct network *network = &run->evaluated[0].network;
    const char *path = run->evaluated[0].path;
    double ignored;
    if (network_load(network, path, asked->device, err) != 0 ||
        network_prove(network, path, (size_t)run->job.batch, &ignored, err) != 0 ||
        evaluation_reference(run, 0, EVALUATED_REFERENCE, reference, err) != 0 ||
        evaluation_fits(run, 0, (const struct side *[EVALUATED_FILES]){reference}, false, err) != 0)
        return -1;
    asked->network = network;
    asked->reference = reference;
    return side_factor(reference, 1 << METRIC_FID, err);
}

/* Collective. A reference of images goes through the network once, and stays with what else is kept. */
static int make_reference(const struct run *run, const struct tuning *asked, const struct place *place,
                          struct error *err) {
    struct cell cell = {.run = *run};
    json_t *list = json_pack("{s:s}", "dir", asked->folder);
    struct cells cells = {.list = list, .cells = &cell, .count = 1};
    cell.run.evaluated_count = 1;
    int rc = ranks_agree(asked->comm, list ? 0 : error_memory(err), err);
    if (rc == 0) rc = reference_images_agree(asked->comm, &cells, place, true, err);
    json_decref(list);
    return rc;
}

/* The decoder too, where there are FIDs: paths end with latents. */
static int load_models(struct tuning *asked, const struct run *run, struct error *err) {
    char message[SHIM_ERROR];
    const char *guide = run->sampler.guidance.model, *decoder = run->job.decode.path;
    int rc = 0;
    if (shim_start(run->job.precision == PRECISION_TF32, message) != 0)
        rc = error_set(err, CODE_INTERNAL, "%s", message);
    if (rc == 0)
        rc = model_load(&asked->model, "model", run->job.model.path, run_sha256(run, MODEL_SHA256), asked->device, err);
    if (rc == 0 && guide)
        rc = model_load(&asked->guide, "the guiding model", guide, run_sha256(run, GUIDE_SHA256), asked->device, err);
    if (rc == 0 && decoder && asked->samples > 0) {
        rc = model_load(&asked->decoder, "the decoder", decoder, run_sha256(run, DECODER_SHA256), asked->device, err);
        asked->decoder_batch = decoder_batch(run->card.decoder, &run->job);
    }
    return rc;
}

static int tune_models(json_t **found, struct tuning *asked, struct run *run, struct error *err) {
    struct side reference = {.untyped = false};
    struct conditions *conditions = NULL;
    int rc = conditions_open(&conditions, &run->card, &run->job, err);
    if (rc == 0 && conditions)
        rc = conditions_expect(conditions, &run->job,
                               json_object_get(json_object_get(run->document, "keys"), "conditions"), err);
    asked->conditions = conditions;
    if (rc == 0) rc = load_models(asked, run, err);
    const struct cell cell = {.run = *run,
                              .tag = "",
                              .model = asked->model,
                              .guide = asked->guide,
                              .decoder = asked->decoder,
                              .conditions = conditions};
    if (rc == 0) rc = prove_models(&cell, asked->device, err);
    if (rc == 0 && asked->samples > 0) rc = load_judge(run, asked, &reference, err);
    rc = ranks_agree(asked->comm, rc, err);
    if (rc == 0) rc = tune(found, asked, err);
    side_release(&reference);
    conditions_close(conditions);
    shim_model_free(asked->decoder);
    shim_model_free(asked->guide);
    shim_model_free(asked->model);
    return rc;
}

static int tune_run(json_t **found, struct run *run, struct tuning *asked, struct error *err) {
    struct place place = {.device = SHIM_CPU};
    json_t *hosts = NULL;
    struct subjects subjects = {0};
    if (place_rank(asked->comm, &run->job, &place, &hosts, err) != 0) return -1;
    json_decref(hosts);
    asked->sampler = &run->sampler;
    asked->card = &run->card;
    asked->device = place.device;
    asked->workers = place.workers;
    asked->batch = run->job.batch;
    asked->noise = run->job.noise;
    asked->rounding = run->job.output.rounding;
    if (!judges_by_fid(run)) asked->samples = 0;
    run->job.evaluate.metrics = 1 << METRIC_FID; /* no other one judges, by no other file than the reference */
    for (size_t i = 0; i < run->evaluated_count; i++) run->evaluated[i].files[EVALUATED_VALIDATION].path = NULL;
    int rc = refuse(run, err);
    if (rc == 0) rc = other_seeds(run, asked, &subjects, err);
    rc = ranks_agree(asked->comm, rc, err);
    asked->seeds = subjects.seeds;
    asked->labels = run->card.classes > 0 ? subjects.labels : NULL;
    asked->condition_rows = run->condition_rows > 0 ? subjects.rows : NULL;
    if (rc == 0 && asked->samples > 0) rc = make_reference(run, asked, &place, err);
    if (rc == 0) rc = tune_models(found, asked, run, err);
    release_subjects(&subjects);
    return rc;
}

static int finish(const json_t *found, const char *folder, const struct run *run, const struct tune_options *options,
                  struct error *err) {
    int rc = tune_found_write(folder, found, run->document, options->force, err);
    if (rc == 0 && options->json) rc = print_json(found, err);
    else if (rc == 0) tune_found_print(found, run->document, folder);
    return rc;
}

static int check_samples(const struct tune_options *options, const struct run *run, struct error *err) {
    if (options->samples == 0 || judges_by_fid(run)) return 0;
    return error_set(err, CODE_USAGE,
                     "--samples are those of FIDs, and the job evaluates none (evaluate.metrics): leave it out");
}

/* Where it is kept what is computed, and what that follows from besides what struct tuning says: another build may
 * compute it in another way. */
static int keep_in(struct tuning *asked, const struct run *run, const char *folder, char **kept, char **identity,
                   struct error *err) {
    char build[256];
    char *keys = json_text(json_object_get(run->document, "keys"), JSON_SORT_KEYS | JSON_COMPACT);
    build_describe(build, sizeof build);
    *kept = folder ? text_new("%s/kept", folder) : NULL;
    *identity = keys ? text_new("%s %s %s", build, sample_dtype_names[run->job.output.dtype], keys) : NULL;
    free(keys);
    asked->folder = *kept;
    asked->identity = *identity;
    return *kept && *identity ? 0 : error_memory(err);
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
    char *folder = NULL, *kept = NULL, *identity = NULL;
    if (rc == 0) rc = check_samples(options, &run, err);
    if (rc == 0) {
        folder = options->output ? strdup(options->output) : text_new("%s-tuned", run.job.output.dir);
        rc = keep_in(asked, &run, folder, &kept, &identity, err);
    }
    if (rc == 0 && comm_rank(comm) == 0) rc = tune_folder_check(folder, document, options->force, err);
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = tune_run(&found, &run, asked, err);
    int written = rc == 0 && comm_rank(comm) == 0 ? finish(found, folder, &run, options, err) : 0;
    if (rc == 0) rc = ranks_agree(comm, written, err);
    json_decref(found);
    free(identity);
    free(kept);
    free(folder);
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
    OPTION(FLAG, tune_options, thorough, "thorough",
           .help = "every solver and grid, polished times, FIDs in rounds: better, at 20 times the cost"),
    OPTION(STRING, tune_options, nfe, "nfe", .argument = "LIST", .help = "numbers of evaluations (4,5,6,8,10)"),
    OPTION(COUNT, tune_options, paths, "paths", .argument = "N",
           .help = "paths to fit, to choose and to judge with (24; thorough: 128)"),
    OPTION(COUNT, tune_options, teacher, "teacher", .argument = "N",
           .help = "steps of the fine solution (15 of rk4; thorough: 24)"),
    OPTION(COUNT, tune_options, samples, "samples", .argument = "N",
           .help = "samples of the last FIDs that judge, where the job evaluates (200 to 400; thorough: 4000)"),
    OPTION(FLAG, tune_options, no_fid, "no-fid", .help = "judge by the distance to the fine samples alone"),
    OPTION(COUNT, tune_options, order, "order", .argument = "N",
           .help = "evaluations that a step is fitted to, 1 to 4 (3; thorough: the best of 2 and 3)"),
    ROW_OUTPUT(tune_options, "FOLDER"),
    OPTION(FLAG, tune_options, force, "force",
           .help = "replace the tables of another job, or of a damaged tune.json, in FOLDER"),
    ROW_JSON(tune_options),
};

const struct command command_tune = {
    "tune", "Fit few-step samplers to a job's own model: tables, written where better than the solver chosen",
    "Paths of seeds behind the job's are integrated finely. For each NFE solvers of the registry are compared with\n"
    "them, and tables of coefficients are fitted along their own states on several grids. Where the job evaluates,\n"
    "the FID of other seeds chooses, else the distance on paths that nothing was fitted to: a table is recommended\n"
    "where it is better by more than the paired standard error than the nearest of those solvers (--thorough: than\n"
    "the one of the lowest FID among the twelve nearest), else that solver. Used on the seeds that it was fitted and\n"
    "chosen by, or under other keys, a table is warned about. By default that is a few of each, for about 2 % of what\n"
    "50,000 samples take; --thorough asks every solver, polishes times and judges a dozen of the registry's by FID.\n"
    "FOLDER (the job's output.dir and -tuned) gets tuned-nfeN.json\n"
    "where the table is recommended (else one that is there is removed), compare.yaml, a job that makes and evaluates\n"
    "all, and tune.json, which says of which model and under which keys: a folder of others is refused without\n"
    "--force. mpirun's ranks share the work; the result is the same for any number of them. Killed, it goes on from\n"
    "what it kept in FOLDER/kept when it is started again.\n" MODEL_IS_CODE,
    OPTION_TABLE(rows, tune_options), tune_job};
