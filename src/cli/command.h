/* What subcommands share: their description (struct command), one call of them, and how results are printed. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "base/error.h"
#include "cli/options.h"
#include "job/job.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct run;
struct comm;
struct card;
struct shim_model;

/* In the help of what loads models. */
#define MODEL_IS_CODE \
    "A model or feature network is code that runs with your rights: use only files that you trust as a program.\n"

/* One run of a subcommand, as its function gets it. */
struct call {
    const struct command *command;
    const void *options; /* the command's own struct, filled in from the command line by its table */
    int argc;            /* the command line itself, for MPI; argv[0] is the subcommand's name */
    char **argv;
};

struct command {
    const char *name, *summary;
    const char *help; /* further lines of --help; may be NULL */
    struct option_table options;
    /* Prints results to stdout. An empty err->message on failure: it was logged already. */
    int (*function)(const struct call *call, struct error *err);
};

extern const struct command command_run, command_generate, command_evaluate, command_decode, command_verify,
    command_status, command_plan, command_inspect, command_compare, command_reference, command_diagnose, command_report,
    command_export, command_sample, command_check, command_tune, command_model;

/* Starts MPI, calls work on every rank, and ends MPI; an error was logged, and its message is empty then. */
typedef int command_work(struct comm *comm, const struct call *call, void *context, struct error *err);
int command_ranks(const struct call *call, command_work *work, void *context, struct error *err);
/* Parses the command line and calls the command's function; --help prints instead. */
int command_call(const struct command *command, int argc, char **argv, struct error *err);
/* CODE_USAGE: path is one of the files that a run or sweep keeps of itself, or in one of their folders (samples/,
 * log/...). */
int command_check_output(const char *command, const char *path, struct error *err);
/* The same of one file, before long work; also CODE_USAGE: it is `input`; CODE_IO: its folder is not there. */
int command_check_file(const char *command, const char *path, const char *input, struct error *err);
/* The document of a job without a sweep, on one rank. An error for a sweep names the command and, as a way out, an
 * example of a solver. New: *document. */
int command_one_job(json_t **document, const char *path, const char *const *overrides, size_t count,
                    const char *command, const char *solver, struct error *err);
/* Opens the run in a folder without its evaluation, whose network may be gone. run_close when done. */
int command_open_run(struct run *run, const char *dir, struct error *err);
/* The card in a model's file under the keys of it that --set gives. card_release when done. */
int command_read_card(struct card *card, const char *model, const struct option_list *set, struct error *err);
/* The network, in a process without MPI and on the thread that calls it: shim_start was not called before. *model new
 * (NULL on failure), *device (unless NULL): where it is, SHIM_CPU or a CUDA index. */
int command_load_model(struct shim_model **model, const char *path, enum device_kind kind, int *device,
                       struct error *err);
/* Prints JSON, indented, 17 digits, to standard output or another file. */
int print_json(const json_t *json, struct error *err);
int print_json_to(FILE *out, const json_t *json, struct error *err);
/* Sets *err: standard output did not take the result. why: errno, 0 when not known. */
int output_failed(struct error *err, int why);
int version_print(bool json, struct error *err);

/* True once main must leave without waiting for other ranks (some have died). */
extern bool command_leave_at_once;

#endif
