/* A subcommand: its name, its one-line summary, its long help, and the function that does it. */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct run;

/* In the help of what loads models. */
#define MODEL_IS_CODE \
    "A model or feature network is code that runs with your rights: use only files that you trust as a program.\n"

struct command {
    const char *name, *arguments, *summary;
    const char *help; /* further lines of --help; may be NULL */
    /* argv[0] is the subcommand's name. Prints results to stdout. An empty err->message on failure: somebody else has
     * said it. */
    int (*function)(int argc, char **argv, struct error *err);
};

extern const struct command command_run, command_generate, command_evaluate, command_verify, command_status, command_plan,
    command_inspect, command_compare, command_reference, command_diagnose, command_report, command_export, command_sample;

struct options { /* what subcommands have in common; only the accepted ones are parsed */
    const char **overrides; /* --set KEY=VALUE, in order; new */
    size_t overrides_count;
    bool json, list, cells, text;
    bool subdirs, force, recompute;
    const char *metrics, *indices, *output, *versus, *features, *device, *to, *ids, *plot, *cell; /* NULL: not given */
    uint64_t count; /* 0: not given */
    const char *operand, *second; /* the arguments, or NULL */
};

/* Parses argv for `command`; --help prints and sets *done. accepted: letters s (--set), j (--json), l (--list),
 * m (--metrics), i (--kid-indices), o (--output), c (--count), v (--versus), f (--features), d (--device), t (--to),
 * I (--ids), S (--subdirs), F (--force), r (--recompute), p (--plot), T (--text), n (--cell), N (--cells), and 2 for
 * two arguments. A missing operand is CODE_USAGE unless --list was given. */
int options_parse(struct options *options, int argc, char **argv, const struct command *command, const char *accepted,
                  bool *done, struct error *err);
void options_free(struct options *options);
/* A run's document, opened without its evaluation, whose network may be gone. */
int command_open_run(struct run *run, const char *dir, struct error *err);
void command_help(const struct command *command);
/* Prints JSON to stdout, indented, 17 digits. */
int print_json(const json_t *json, struct error *err);
int print_json_to(FILE *out, const json_t *json, struct error *err);
/* Sets *err: standard output did not take the result. why: errno, 0 when not known. */
int output_failed(struct error *err, int why);
int version_print(bool json, struct error *err);

/* True once main must leave without waiting for other ranks (some have died). */
extern bool command_leave_at_once;

#endif
