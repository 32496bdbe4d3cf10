/* plan: the program that a job's solver compiles to, and how its samples spread over workers; nothing is run. */
#include "base/files.h"
#include "base/log.h"
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "format/json_file.h"
#include "job/sweep.h"
#include "metric/sweep_race.h"
#include "sample/conditions.h"
#include "sample/initial.h"
#include "work/evaluation.h"
#include "solver/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What cells of a race must have alike; first: that cell, once it is known. */
struct racing {
    const struct race *race; /* NULL: it is none */
    struct race_cell first;
    json_t *job;
    struct race_costs costs;
};

static int check_race(struct racing *racing, const struct job *job, const struct card *card, const struct plan *plan,
                      const char *cell, const char *file, struct error *err) {
    struct layout layout;
    if (!racing->race) return 0;
    if (layout_init(&layout, job->seeds.count, (uint64_t)job->batch, job->output.samples_per_shard,
                    document_sample_bytes(job, card), err) != 0)
        return -1;
    const struct race_cell of = {cell, job->resolved, layout.shard_rows, plan->adaptive ? 0 : plan->model_calls};
    race_cost_add(&racing->costs, &of);
    if (!racing->job)
        racing->first = (struct race_cell){NULL, racing->job = json_incref(job->resolved), of.shard_rows, 0};
    return race_check(racing->race, &of, &racing->first, file, err);
}

/* How evenly the job's batches spread over ranks of one worker each. */
static void print_idle(const struct job *job, const struct card *card, FILE *out) {
    struct layout layout;
    struct error ignored;
    if (layout_init(&layout, job->seeds.count, (uint64_t)job->batch, job->output.samples_per_shard,
                    document_sample_bytes(job, card), &ignored) != 0)
        return;
    uint64_t batch = layout.batch,
             padding = (batch - layout.samples % batch) % batch; /* of the last: the others are whole */
    unsigned long long samples = layout.samples, shards = layout_shards(&layout);
    fprintf(out, "\n%s%llu sample%s in %llu shard%s of %llu, batches of %d",
            isnan(job->evaluate.fid_error) ? "" : "at most ", samples, samples == 1 ? "" : "s", shards,
            shards == 1 ? "" : "s", (unsigned long long)layout.shard_rows, job->batch);
    if (padding)
        fprintf(out, "\n%llu rows that fill up the last batch are %.1f %% of the work, besides what is idle",
                (unsigned long long)padding, 100 * (double)padding / (double)(layout.samples + padding));
    fprintf(out, "\nworkers      idle share\n");
    for (uint64_t workers = 1; workers <= 256; workers *= 4)
        fprintf(out, "%7llu      %.1f %%\n", (unsigned long long)workers, 100 * layout_idle(&layout, workers));
}

/* What an evaluation can't do is said here as by `run`. A job whose card is in it may be planned where its files are
 * not. *last: what the cell before had of it, for many cells have the same. */
static int check_evaluation(const struct job *job, const struct card *card, json_t **last, struct error *err) {
    json_t *now = json_pack("{s:O?, s:O?}", "evaluate", json_object_get(job->resolved, "evaluate"), "seeds",
                            json_object_get(job->resolved, "seeds"));
    if (!now) return error_memory(err);
    bool files = job->model.path && access(job->model.path, F_OK) == 0;
    int rc = json_equal(now, *last) ? 0 : evaluation_foresee(job, card, files, err);
    json_decref(*last);
    *last = now;
    return rc;
}

/* So is a file of starts, where it is. */
static int check_initial(const struct job *job, const struct card *card, const struct plan *plan, struct error *err) {
    bool there = false;
    if (!job->initial) return 0;
    if (file_exists(job->initial, &there, err) != 0) return -1;
    return there ? initial_look(job->initial, &job->seeds, card, plan->initial_scale, err) : 0;
}

/* The card's keys that the job overrides. */
static void print_overridden(const struct card *card, FILE *out) {
    const char *key;
    json_t *pair;
    json_object_foreach(card->overridden, key, pair) {
        char *theirs = json_text(json_array_get(pair, 0), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15)),
             *ours = json_text(json_array_get(pair, 1), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
        print_line(out, "model.card.%s: %.200s -> %.200s", key, theirs ? theirs : "?", ours ? ours : "?");
        free(theirs);
        free(ours);
    }
}

/* Their types and shapes; files that are not there yet are needed by a run alone. */
static int check_conditions(const struct job *job, const struct card *card, struct error *err) {
    struct conditions *conditions;
    int rc = job->model.path ? conditions_open(&conditions, card, job, err) : 0;
    if (rc == 0 && job->model.path) conditions_close(conditions);
    if (rc == 0 || err->code != CODE_IO) return rc;
    log_warn("%s: a run needs it", err->message);
    return 0;
}

struct plan_options {
    const char *job;
    struct option_list set;
    bool json, cells, list;
};

/* Where the cells of a sweep go: a line of each to stdout, and behind all of them what is said of each. */
struct listing {
    int width; /* of the longest name */
    char *text;
    size_t size;
    FILE *details; /* writes text; of a job without a sweep stdout */
};

static int listing_open(struct listing *listing, const struct sweep *sweep, bool json, struct error *err) {
    *listing = (struct listing){.details = stdout};
    if (json || sweep->count == 0) return 0;
    for (size_t i = 0; i < sweep->count; i++) {
        int width = (int)strlen(sweep->cells[i].name);
        if (width > listing->width) listing->width = width;
    }
    if (!(listing->details = open_memstream(&listing->text, &listing->size))) return error_memory(err);
    printf("%-*s  %-20s  %8s  %11s  %7s\n", listing->width, "cell", "solver", "NFE", "model calls", "ops");
    return 0;
}

/* Prints what is said of the cells. */
static int listing_close(struct listing *listing, int rc, struct error *err) {
    if (listing->details == stdout) return rc;
    bool written = listing->details && fclose(listing->details) == 0;
    if (rc == 0 && !written) rc = error_memory(err);
    if (rc == 0) printf("\n%s", listing->text);
    free(listing->text);
    return rc;
}

static void print_plan(const struct listing *listing, const char *cell, const struct plan *compiled,
                       const struct job *job, const struct card *card) {
    FILE *out = listing->details;
    char nfe[20] = "adaptive";
    if (!compiled->adaptive) snprintf(nfe, sizeof nfe, "%d", compiled->nfe);
    if (cell) {
        print_line(stdout, "%-*s  %-20s  %8s  %11d  %7zu", listing->width, cell, compiled->solver, nfe,
                   compiled->model_calls, compiled->ops_count);
        print_line(out, "== %s", cell);
    }
    print_overridden(card, out);
    if (!compiled->adaptive && job->sampler.nfe > compiled->nfe)
        fprintf(out, "sampler.nfe: %d asked for; the most that whole steps make of it is %d\n", job->sampler.nfe,
                compiled->nfe);
    plan_print(compiled, out);
    print_idle(job, card, out);
    if (job->unmeasured)
        fprintf(out, "what is auto is measured when the job runs: until then the defaults stand for it\n");
    if (cell) fprintf(out, "\n");
}

/* One plan, printed; with json (an object) it goes there under the cell's name, or is *json itself without one. */
static int plan_one(const struct job_file *file, const char *const *overrides, size_t count, const char *cell,
                    const struct listing *listing, json_t **json, json_t **evaluation, struct racing *racing,
                    struct error *err) {
    struct job job;
    struct card card;
    struct sampler sampler;
    struct plan compiled;
    if (document_plan(&job, &card, &sampler, &compiled, file, overrides, count, NULL, err) != 0) return -1;
    int raced = check_race(racing, &job, &card, &compiled, cell, file->path, err), rc = raced;
    if (rc == 0) rc = check_evaluation(&job, &card, evaluation, err);
    if (rc == 0) rc = check_initial(&job, &card, &compiled, err);
    if (rc == 0) rc = check_conditions(&job, &card, err);
    if (rc == 0) rc = document_doubts(&job, &card, &sampler, &compiled, err);
    if (rc != 0 && raced == 0 && cell) error_prefix(err, "cell %s", cell);
    if (rc == 0 && json) {
        json_t *value = plan_to_json(&compiled);
        if (card.overridden && json_object_set(value, "model_card", card.overridden) != 0) rc = error_memory(err);
        if (!cell) *json = value;
        else if (json_object_set_new(*json, cell, value) != 0) value = NULL;
        if (!value) rc = error_memory(err);
    } else if (rc == 0) print_plan(listing, cell, &compiled, &job, &card);
    plan_release(&compiled);
    sampler_release(&sampler);
    card_release(&card);
    job_release(&job);
    return rc;
}

/* What scripts need to know of a job before it runs. A job without a sweep is one run, its cell "-". */
static int print_cells(const struct plan_options *options, const struct job_file *file, const struct sweep *sweep,
                       struct error *err) {
    struct job job;
    for (size_t i = 0; i < sweep->count; i++)
        print_line(stdout, "%zu\t%s\t%s/%s", i, sweep->cells[i].name, sweep->dir, sweep->cells[i].name);
    if (sweep->count > 0) return 0;
    if (job_from_file(&job, file, options->set.items, options->set.count, err) != 0) return -1;
    print_line(stdout, "0\t-\t%s", job.output.dir);
    job_release(&job);
    return 0;
}

static int plan_file(const struct plan_options *options, const struct job_file *file, struct error *err) {
    struct sweep sweep;
    json_t *json = NULL, *evaluation = NULL;
    if (sweep_read(&sweep, file, options->set.items, options->set.count, err) != 0) return -1;
    if (options->json && sweep.count > 0) json = json_object();
    if (options->cells) {
        int rc = print_cells(options, file, &sweep, err);
        sweep_release(&sweep);
        return rc;
    }
    struct race race;
    struct racing racing = {.race = sweep.race ? &race : NULL};
    struct listing listing;
    int rc = listing_open(&listing, &sweep, options->json, err);
    if (rc == 0 && sweep.race) rc = race_read(&race, sweep.race, file->path, err);
    log_once("cells");
    for (size_t i = 0; i < sweep.count && rc == 0; i++) {
        log_about("cell %s", sweep.cells[i].name);
        rc = plan_one(file, sweep.cells[i].overrides, sweep.cells[i].count, sweep.cells[i].name, &listing,
                      options->json ? &json : NULL, &evaluation, &racing, err);
        log_about_all();
    }
    log_once(NULL);
    if (rc == 0 && sweep.count == 0)
        rc = plan_one(file, options->set.items, options->set.count, NULL, &listing, options->json ? &json : NULL,
                      &evaluation, &racing, err);
    rc = listing_close(&listing, rc, err);
    if (rc == 0) race_warn(&racing.costs, file->path);
    json_decref(racing.job);
    json_decref(evaluation);
    if (rc == 0 && options->json) rc = print_json(json, err);
    json_decref(json);
    sweep_release(&sweep);
    return rc;
}

static int plan_job(const struct plan_options *options, struct error *err) {
    struct job_file file;
    if (job_file_read(&file, options->job, err) != 0) return -1;
    int rc = plan_file(options, &file, err);
    job_file_release(&file);
    return rc;
}

static int plan(const struct call *call, struct error *err) {
    const struct plan_options *options = call->options;
    if (options->list && (options->job || options->cells || options->json || options->set.count))
        return error_set(err, CODE_USAGE,
                         "plan: --list prints the table of solvers alone: leave out JOB, --set, --cells and --json");
    if (options->cells && options->json)
        return error_set(err, CODE_USAGE, "plan: --cells prints lines alone: leave out --json, or --cells");
    if (!options->list) return plan_job(options, err);
    plan_list(stdout);
    return 0;
}

static const struct option_row rows[] = {
    ROW_JOB(plan_options),
    ROW_SET(plan_options),
    OPTION(FLAG, plan_options, list, "list", .help = "print the table of solvers", .alone = true),
    OPTION(FLAG, plan_options, cells, "cells",
           .help = "list the runs that a job makes: number, cell, folder; tabs between"),
    ROW_JSON(plan_options),
};

const struct command command_plan = {"plan",
                                     "Print the program that a job's solver compiles to (--list: the table of solvers)",
                                     NULL, OPTION_TABLE(rows, plan_options), plan};
