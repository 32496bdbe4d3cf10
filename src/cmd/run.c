/* run, generate, evaluate and decode: the subcommands that MPI ranks work on together. */
#include "base/log.h"
#include "base/outlet.h"
#include "base/print.h"
#include "cli/command.h"
#include "cli/members.h"
#include "report/results.h"
#include "run/cells.h"
#include "work/decoders.h"
#include "cluster/place.h"
#include "base/signals.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE = 30 }; /* s that printing waits for whoever reads the results */

struct run_options {
    const char *job, *run, *cell; /* job or run */
    const char *decoder, *output; /* of decode */
    struct option_list set;
    uint64_t count;
    int device; /* enum device_kind */
    bool json, dry_run;
};

/* all: " (of all 400 samples)" behind metrics of fewer, else "". */
static void print_pixels(const json_t *pixels, const char *all, FILE *out) {
    const json_t *clipped = json_object_get(pixels, "clipped");
    if (!json_is_object(pixels)) return;
    fprintf(out, "saturated   %.2f %% of the pixel values are 0 or 255", 100 * number_at(pixels, "saturated"));
    if (json_is_number(clipped))
        fprintf(out, "; %.2f %% were clipped from beyond the model's range", 100 * json_number_value(clipped));
    fprintf(out, "%s\n", all);
}

/* Of several networks a line each. */
static void print_fids(const json_t *metrics, FILE *out) {
    const json_t *fid = json_object_get(metrics, "fid"), *network;
    const char *name, *title = "FID";
    if (json_is_number(fid))
        fprintf(out, "FID         %.4f (%lld samples)\n", json_number_value(fid), whole_at(metrics, "samples"));
    if (json_object_get(metrics, "fid_error"))
        fprintf(out, "            %.4f +- %.4f corrected for the bias of finite samples\n",
                number_at(metrics, "fid_corrected"), number_at(metrics, "fid_error"));
    json_object_foreach(json_object_get(metrics, "networks"), name, network) {
        char key[NETWORK_NAME + 16];
        snprintf(key, sizeof key, "%s.fid", name);
        if (!json_is_number(json_object_get(metrics, key))) continue;
        print_line(out, "%-11s %-16s %.4f", title, name, number_at(metrics, key));
        snprintf(key, sizeof key, "%s.fid_corrected", name);
        double corrected = number_at(metrics, key);
        snprintf(key, sizeof key, "%s.fid_error", name);
        if (json_is_number(json_object_get(metrics, key)))
            fprintf(out, "            %-16s %.4f +- %.4f corrected\n", "", corrected, number_at(metrics, key));
        title = "";
    }
}

/* A metric's own number, and no FID, which print_fids has: not what is said about another number. */
static bool is_other(const char *key, const json_t *value) {
    static const char *const about[] = {"_corrected", "_error", "_low", "_high", "_std"};
    const char *dot = strrchr(key, '.'), *name = dot ? dot + 1 : key;
    if (!json_is_number(value) || strcmp(name, "fid") == 0 || strcmp(name, "samples") == 0) return false;
    for (size_t i = 0; i < sizeof about / sizeof *about; i++)
        if (text_ends_in(name, about[i])) return false;
    return true;
}

static void print_others(const json_t *metrics, FILE *out) {
    const char *key, *title = "metrics";
    const json_t *value;
    json_object_foreach((json_t *)metrics, key, value) {
        char error[2 * NETWORK_NAME], sure[32] = "";
        if (!is_other(key, value)) continue;
        snprintf(error, sizeof error, "%s_error", key);
        if (json_object_get(metrics, error)) snprintf(sure, sizeof sure, " +- %.2g", number_at(metrics, error));
        print_line(out, "%-11s %-16s %.6g%s", title, key, json_number_value(value), sure);
        title = "";
    }
}

/* What other decoders made of the same latents. */
static void print_decoded(const json_t *result, FILE *out) {
    const char *name;
    json_t *other;
    json_object_foreach(json_object_get(result, "decoded"), name, other) {
        const json_t *fid = json_object_get(json_object_get(other, "metrics"), "fid");
        print_line(out, "decoder     %s, in %s", name, text_at(other, "run"));
        if (json_is_number(fid)) fprintf(out, "  FID       %.4f\n", json_number_value(fid));
        print_line(out, "  digest    %s", text_at(other, "payload_sha256"));
    }
}

static void print_result(const json_t *result, FILE *out) {
    const json_t *generation = json_object_get(result, "generation"), *metrics = json_object_get(result, "metrics");
    long long samples = whole_at(result, "samples");
    long long made = whole_at(result, "made_now");
    const char *picture = json_string_value(json_object_get(result, "picture"));
    print_line(out, "run         %s", text_at(result, "run"));
    fprintf(out, "samples     %lld on disk, %lld made now, all verified\n", samples, made);
    const json_t *stopped = json_object_get(result, "stopped"), *target = json_object_get(stopped, "target");
    if (target)
        fprintf(out, "stopped     after %lld of %lld seeds", whole_at(stopped, "samples"), whole_at(stopped, "of"));
    if (target && json_object_get(result, "latents_of")) fprintf(out, ", as the run of its latents was\n");
    else if (target) fprintf(out, ": FID's standard error is at most %g\n", json_number_value(target));
    double nfe = number_at(result, "nfe");
    if (nfe == 0) nfe = number_at(generation, "nfe"); /* adaptive: the mean over batches */
    print_line(out, "NFE         %g (%s)", nfe, text_at(result, "solver"));
    if (json_is_object(generation))
        fprintf(out, "samples/s   %.1f (%lld sample%s in %.1f s%s)\n", number_at(generation, "samples_per_second"),
                whole_at(generation, "samples"), whole_at(generation, "samples") == 1 ? "" : "s",
                number_at(generation, "seconds"), made ? "" : ", when they were made");
    char all[48] = "";
    if (json_is_object(metrics) && whole_at(metrics, "samples") < samples) {
        fprintf(out, "evaluated   the first %lld of these samples\n", whole_at(metrics, "samples"));
        snprintf(all, sizeof all, " (of all %lld samples)", samples);
    }
    print_fids(metrics, out);
    print_others(metrics, out);
    print_pixels(json_object_get(result, "pixels"), all, out);
    if (picture) print_line(out, "picture     %s", picture);
    print_line(out, "digest      %s%s", text_at(result, "payload_sha256"), all);
    print_decoded(result, out);
}

/* 1 s or less, 90 s, 12 min, 3.4 h, 2.1 days. */
static void print_duration(double seconds, FILE *out) {
    if (seconds < 1) fprintf(out, "1 s or less");
    else if (seconds < 120) fprintf(out, "%.3g s", seconds);
    else if (seconds < 7200) fprintf(out, "%.0f min", seconds / 60);
    else if (seconds < 172800) fprintf(out, "%.1f h", seconds / 3600);
    else fprintf(out, "%.1f days", seconds / 86400);
}

static void print_dry_cell(const json_t *cell, FILE *out) {
    const char *name = json_string_value(json_object_get(cell, "cell"));
    long long samples = whole_at(cell, "samples"), missing = whole_at(cell, "missing"),
              bad = whole_at(cell, "shards_bad");
    if (name) print_line(out, "cell        %s", name);
    else print_line(out, "run         %s", text_at(cell, "run"));
    const char *rule = json_string_value(json_object_get(cell, "rule"));
    bool stopped = samples < whole_at(cell, "of");
    fprintf(out, "samples     %lld: %lld on disk, %s%lld to make; %lld of %lld shards are not whole", samples,
            samples - missing, rule && !stopped && missing > 0 ? "at most " : "", missing,
            whole_at(cell, "shards_missing"), whole_at(cell, "shards"));
    if (bad > 0) fprintf(out, ", %lld of them damaged, or of fewer or other seeds", bad);
    fprintf(out, "\n");
    const char *key = rule && strcmp(rule, "race") == 0 ? "sweep.race" : "evaluate.until";
    if (rule && stopped)
        fprintf(out, "stopped     by %s, after %lld of %lld seeds\n", key, samples, whole_at(cell, "of"));
    else if (rule && missing > 0) fprintf(out, "rounds      %s decides after each how many are made\n", key);
    if (whole_at(cell, "model_calls") > 0)
        print_line(out, "solver      %s, %lld model calls a sample", text_at(cell, "solver"),
                   whole_at(cell, "model_calls"));
    else print_line(out, "solver      %s, adaptive", text_at(cell, "solver"));
}

static void print_dry_run(const json_t *found, FILE *out) {
    const json_t *cell, *seconds = json_object_get(found, "seconds");
    long long ranks = whole_at(found, "ranks"), workers = whole_at(found, "workers");
    double calls = 0;
    size_t i;
    json_array_foreach(json_object_get(found, "cells"), i, cell) {
        print_dry_cell(cell, out);
        if (calls == 0) calls = number_at(cell, "calls_per_second");
    }
    print_line(out, "by          %lld rank%s, %lld worker%s in all, %s", ranks, ranks == 1 ? "" : "s", workers,
               workers == 1 ? "" : "s", text_at(found, "device"));
    fprintf(out, "size        %.1f MiB before compression, %.1f GiB free\n", number_at(found, "bytes") / (1 << 20),
            number_at(found, "free_bytes") / (1 << 30));
    if (json_is_number(seconds)) {
        fprintf(out, "time        ");
        print_duration(json_number_value(seconds), out);
        fprintf(out, " (measured: %.1f model calls of a sample a second), without decoding, features and metrics\n",
                calls);
    } else fprintf(out, "time        none: no sample is to be made\n");
    if (json_is_true(json_object_get(found, "busy"))) fprintf(out, "another job is at work there now\n");
    fprintf(out, "dry run: all that a start checks was checked, nothing was made\n");
}

static int describe(const json_t *results, bool json, FILE *out, struct error *err) {
    if (json) return print_json_to(out, results, err);
    if (json_object_get(results, "dry_run")) {
        print_dry_run(results, out);
    } else if (json_object_get(results, "cells")) {
        results_print(results, out);
        struct text command = {0};
        text_add(&command, "page: qtaylor report");
        text_add_word(&command, json_string_value(json_object_get(results, "dir")));
        print_line(out, "%s", command.data ? command.data : "?");
        text_release(&command);
    } else {
        print_result(results, out);
    }
    return 0;
}

/* Other ranks wait meanwhile, and what is printed is on disk: so a reader may not hold it up for ever. */
static int print_results(const json_t *results, const struct run_options *options, struct error *err) {
    const char *run = json_string_value(json_object_get(results, "run"));
    char *text = NULL;
    size_t size = 0;
    struct outlet *outlet;
    FILE *out = open_memstream(&text, &size);
    int rc = out ? describe(results, options->json, out, err) : error_memory(err);
    if (out && fclose(out) != 0 && rc == 0) rc = error_memory(err);
    if (rc == 0) rc = outlet_new(&outlet, STDOUT_FILENO, err);
    if (rc == 0 && !outlet_put(outlet, text, size, size)) rc = error_memory(err);
    int why = rc == 0 ? outlet_flush(outlet, PATIENCE) : 0;
    free(text);
    if (why == 0) return rc;
    return error_set(err, CODE_IO, "cannot write to standard output: %s; all is done, and the results are in %s/%s",
                     outlet_why(why), run ? run : json_string_value(json_object_get(results, "dir")),
                     !run             ? "results.json"
                     : options->count ? "metrics*.json"
                                      : "metrics.json");
}

/* The runs that are asked for. --device is a --set of that key, behind the others. */
static int list_runs(json_t **list, const struct run_options *options, int cores, struct error *err) {
    const struct option_list *set = &options->set;
    const char *items[set->count + 1];
    size_t count = set->count;
    char device[32];
    if (count > 0) memcpy(items, set->items, count * sizeof *items);
    snprintf(device, sizeof device, "device=%s", device_names[options->device]);
    if (options->device != DEVICE_AUTO) items[count++] = device;
    const struct other_decoder other = {.path = (char *)options->decoder};
    if (options->decoder) return cells_list_redecoded(list, options->run, &other, options->output, err);
    if (options->run) return cells_list_run(list, options->run, err);
    if (options->cell) return cells_list_cell(list, options->job, items, count, options->cell, cores, err);
    return cells_list(list, options->job, items, count, cores, err);
}

/* Collective: everything between MPI's start and end. */
static int work(struct comm *comm, const struct run_options *options, const struct pipeline_options *pipeline,
                struct error *err) {
    json_t *list = NULL, *results = NULL;
    if (comm_rank(comm) == 0) list_runs(&list, options, place_cores(comm), err);
    if (document_share(comm, &list, err) != 0) return -1;
    int rc = decoders_run(comm, list, pipeline, &results, &command_leave_at_once, err);
    struct error unprinted;
    int printed = results ? print_results(results, options, &unprinted) : 0;
    if (rc == 0 && (rc = printed) != 0) *err = unprinted;
    json_decref(results);
    json_decref(list);
    return rc;
}

static int make(struct comm *comm, const struct call *call, void *context, struct error *err) {
    const struct run_options *options = call->options;
    struct pipeline_options pipeline = *(const struct pipeline_options *)context;
    pipeline.count = options->count;
    pipeline.dry_run = options->dry_run;
    return work(comm, options, &pipeline, err);
}

static int with_ranks(const struct call *call, struct pipeline_options pipeline, struct error *err) {
    signals_catch();
    return command_ranks(call, make, &pipeline, err);
}

static int run(const struct call *call, struct error *err) {
    return with_ranks(call, (struct pipeline_options){.make_samples = true, .evaluate = true}, err);
}

static int generate(const struct call *call, struct error *err) {
    return with_ranks(call, (struct pipeline_options){.make_samples = true}, err);
}

static int evaluate(const struct call *call, struct error *err) {
    return with_ranks(call, (struct pipeline_options){.evaluate = true}, err);
}

/* Without a decoder, the run's own goes on with what is missing. */
static int decode(const struct call *call, struct error *err) {
    const struct run_options *options = call->options;
    if (!options->decoder != !options->output)
        return error_set(
            err, CODE_USAGE,
            "decode: --decoder and --output belong together: another decoder's pictures are a run of their "
            "own, in a folder of their own");
    return with_ranks(call, (struct pipeline_options){.make_samples = true, .only_decode = true, .evaluate = true},
                      err);
}

static const struct option_row make_rows[] = {
    ROW_JOB(run_options),
    ROW_SET(run_options),
    OPTION(STRING, run_options, cell, "cell", .argument = "N",
           .help = "only this cell of a sweep: its number (from 0) or its name"),
    OPTION(CHOICE, run_options, device, "device", .help = "where the networks run: the job's device for once",
           .choices = device_names),
    OPTION(FLAG, run_options, dry_run, "dry-run",
           .help = "check all that a start checks, say what is missing and how long it takes, and write nothing"),
    ROW_JSON(run_options),
};
static const struct option_row evaluate_rows[] = {ROW_RUN(run_options), ROW_COUNT(run_options), ROW_JSON(run_options)};
static const struct option_row decode_rows[] = {
    ROW_RUN(run_options),
    OPTION(STRING, run_options, decoder, "decoder", .argument = "FILE", .help = "another decoder than the run's own"),
    ROW_OUTPUT(run_options, "DIR"),
    ROW_JSON(run_options),
};

const struct command command_run = {
    "run", "Generate what is missing and evaluate",
    "Start it under mpirun or srun to use several ranks; run it again to continue after an interruption.\n"
    "INT, TERM or USR1 stop it between two solver steps, status 75; a second INT or TERM some seconds later ends it at "
    "once.\n"
    "QTAYLOR_LEASE=S in the environment: a rank that says nothing for S seconds (30) is taken for dead, its shards go "
    "to others.\n" MODEL_IS_CODE,
    OPTION_TABLE(make_rows, run_options), run};
const struct command command_generate = {"generate", "Generate what is missing, without evaluating", MODEL_IS_CODE,
                                         OPTION_TABLE(make_rows, run_options), generate};
const struct command command_evaluate = {
    "evaluate", "Compute the metrics of a finished run directory",
    "The metrics are those of the job's evaluate block; compare --help says what each is. They go to RUN/metrics.json, "
    "in the\nplace of those that were there. With --count those of the first N samples go to RUN/metrics-N.json "
    "instead, "
    "where N is\nnot the count that the job has: RUN/metrics.json, of which `report` tells, stays as it is. To have "
    "them "
    "there set\nevaluate.count and run the job again.\n" MODEL_IS_CODE
    "The network and the reference are the files that RUN/run.json names: look there before you evaluate the run of\n"
    "somebody else.\n",
    OPTION_TABLE(evaluate_rows, run_options), evaluate};
const struct command command_decode = {
    "decode", "Make pictures of the latents that a run keeps, with its decoder or another one",
    "RUN keeps its latents (output.latents). Its pictures that are missing are made of them; with --decoder the "
    "pictures\n"
    "of another decoder are made, as a run in the folder DIR whose latents/ is a link to RUN's. No sample is solved "
    "for:\n"
    "where latents are missing, that is exit status 75 (run the job again). Both are evaluated as the job says. Start "
    "it "
    "under\n"
    "mpirun or srun to use several ranks; run it again to continue after an interruption.\n" MODEL_IS_CODE,
    OPTION_TABLE(decode_rows, run_options), decode};
