/* run, generate and evaluate: the subcommands that MPI ranks work on together. */
#include "base/crash.h"
#include "base/log.h"
#include "base/outlet.h"
#include "base/print.h"
#include "cmd/command.h"
#include "report/results.h"
#include "cluster/agree.h"
#include "run/cells.h"
#include "work/pipeline.h"
#include "base/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool command_leave_at_once;

enum { PATIENCE = 30 }; /* s with who reads the results */

static void print_result(const json_t *result, FILE *out) {
    const json_t *generation = json_object_get(result, "generation"), *metrics = json_object_get(result, "metrics");
    json_int_t samples = json_integer_value(json_object_get(result, "samples"));
    json_int_t made = json_integer_value(json_object_get(result, "made_now"));
    const char *picture = json_string_value(json_object_get(result, "picture"));
    const json_t *fid = json_object_get(metrics, "fid");
    print_line(out, "run         %s", json_string_value(json_object_get(result, "run")));
    fprintf(out, "samples     %lld on disk, %lld made now, all verified\n", (long long)samples, (long long)made);
    double nfe = json_number_value(json_object_get(result, "nfe"));
    if (nfe == 0) nfe = json_number_value(json_object_get(generation, "nfe")); /* adaptive: the mean over batches */
    print_line(out, "NFE         %g (%s)", nfe, json_string_value(json_object_get(result, "solver")));
    if (json_is_object(generation))
        fprintf(out, "samples/s   %.1f (%lld samples in %.1f s%s)\n",
                json_number_value(json_object_get(generation, "samples_per_second")),
               (long long)json_integer_value(json_object_get(generation, "samples")),
               json_number_value(json_object_get(generation, "seconds")), made ? "" : ", when they were made");
    if (json_is_number(fid))
        fprintf(out, "FID         %.4f (%lld samples)\n", json_number_value(fid),
               (long long)json_integer_value(json_object_get(metrics, "samples")));
    if (json_object_get(metrics, "fid_error"))
        fprintf(out, "            %.4f +- %.4f corrected for the bias of finite samples\n",
               json_number_value(json_object_get(metrics, "fid_corrected")),
               json_number_value(json_object_get(metrics, "fid_error")));
    if (picture) print_line(out, "picture     %s", picture);
    print_line(out, "digest      %s", json_string_value(json_object_get(result, "payload_sha256")));
}

static int describe(const json_t *results, bool json, FILE *out, struct error *err) {
    if (json) return print_json_to(out, results, err);
    if (json_object_get(results, "cells")) {
        results_print(results, out);
        print_line(out, "page: qtaylor report %s", json_string_value(json_object_get(results, "dir")));
    } else {
        print_result(results, out);
    }
    return 0;
}

/* Other ranks wait meanwhile, and what is printed is on disk: so a reader may not hold it up for ever. */
static int print_results(const json_t *results, bool json, struct error *err) {
    const char *run = json_string_value(json_object_get(results, "run"));
    char *text = NULL;
    size_t size = 0;
    struct outlet *outlet;
    FILE *out = open_memstream(&text, &size);
    int rc = out ? describe(results, json, out, err) : error_memory(err);
    if (out && fclose(out) != 0 && rc == 0) rc = error_memory(err);
    if (rc == 0) rc = outlet_new(&outlet, STDOUT_FILENO, err);
    if (rc == 0 && !outlet_put(outlet, text, size, size)) rc = error_memory(err);
    int why = rc == 0 ? outlet_flush(outlet, PATIENCE) : 0;
    free(text);
    if (why == 0) return rc;
    return error_set(err, CODE_IO, "cannot write to standard output: %s; all is done, and the results are in %s/%s", outlet_why(why),
                     run ? run : json_string_value(json_object_get(results, "dir")), run ? "metrics.json" : "results.json");
}

/* Everything between MPI's start and end. make: the list comes from a job file, else from a run directory. */
static int collective(struct comm *comm, const struct options *options, bool make,
                      const struct pipeline_options *pipeline, struct error *err) {
    json_t *list = NULL, *results = NULL;
    if (comm_rank(comm) == 0 && make && options->cell)
        cells_list_cell(&list, options->operand, options->overrides, options->overrides_count, options->cell, err);
    else if (comm_rank(comm) == 0 && make)
        cells_list(&list, options->operand, options->overrides, options->overrides_count, err);
    else if (comm_rank(comm) == 0) cells_list_run(&list, options->operand, err);
    if (document_share(comm, &list, err) != 0) return -1;
    int rc = pipeline_run(comm, list, pipeline, &results, &command_leave_at_once, err);
    struct error unprinted;
    int printed = results ? print_results(results, options->json, &unprinted) : 0;
    if (rc == 0 && (rc = printed) != 0) *err = unprinted;
    json_decref(results);
    json_decref(list);
    return rc;
}

static int with_ranks(int argc, char **argv, const struct command *command, bool make,
                      struct pipeline_options *pipeline, struct error *err) {
    struct options options;
    struct comm *comm = NULL;
    bool done;
    int rc = options_parse(&options, argc, argv, command, make ? "sjn" : "jc", &done, err);
    pipeline->count = options.count;
    if (rc == 0 && !done) signals_catch();
    if (rc == 0 && !done) rc = log_background(err);
    if (rc == 0 && !done) {
        crash_let();
        rc = comm_start(&comm, &argc, &argv, err);
        crash_catch(NULL);
    }
    if (rc == 0 && !done) {
        log_rank(comm_rank(comm), comm_size(comm));
        rc = ranks_same_program(comm, argc, argv, err);
        if (rc == 0) rc = collective(comm, &options, make, pipeline, err);
        if (rc != 0 && err->message[0]) { /* now: a launcher may kill the last rank to leave */
            log_error("%s", err->message);
            log_flush();
            err->message[0] = '\0';
            /* A lack of memory or a bug may have struck between two collective calls, in which the others wait. */
            if (err->code == CODE_INTERNAL && comm_size(comm) > 1) comm_abort(comm, CODE_INTERNAL);
        }
        if (!command_leave_at_once) comm_finish(comm);
    }
    options_free(&options);
    return rc;
}

static int run(int argc, char **argv, struct error *err) {
    struct pipeline_options pipeline = {.make_samples = true, .evaluate = true};
    return with_ranks(argc, argv, &command_run, true, &pipeline, err);
}

static int generate(int argc, char **argv, struct error *err) {
    struct pipeline_options pipeline = {.make_samples = true};
    return with_ranks(argc, argv, &command_generate, true, &pipeline, err);
}

static int evaluate(int argc, char **argv, struct error *err) {
    struct pipeline_options pipeline = {.evaluate = true};
    return with_ranks(argc, argv, &command_evaluate, false, &pipeline, err);
}

const struct command command_run = {
    "run", "JOB [--set KEY=VALUE]... [--cell N] [--json]", "Generate what is missing and evaluate",
    "Start it under mpirun or srun to use several ranks; run it again to continue after an interruption.\n"
    "INT, TERM or USR1 stop it between two solver steps, status 75; a second INT or TERM some seconds later ends it at once.\n"
    MODEL_IS_CODE, run};
const struct command command_generate = {
    "generate", "JOB [--set KEY=VALUE]... [--cell N] [--json]", "Generate what is missing, without evaluating",
    MODEL_IS_CODE, generate};
const struct command command_evaluate = {
    "evaluate", "RUN [--count N] [--json]", "Compute the metrics of a finished run directory",
    "The metrics are those of the job's evaluate block; compare --help says what each is.\n" MODEL_IS_CODE
    "The network and the reference are the files that RUN/run.json names: look there before you evaluate the run of\n"
    "somebody else.\n",
    evaluate};
