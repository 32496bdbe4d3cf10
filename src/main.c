/* qtaylor: the table of subcommands, and the only place that exits. */
#include "base/log.h"
#include "cmd/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_run, &command_generate, &command_evaluate, &command_verify, &command_status, &command_plan, &command_inspect,
    &command_compare, &command_reference, &command_diagnose, &command_report, &command_export, &command_sample,
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *out) {
    fprintf(out, "usage: qtaylor COMMAND ...\n\nBatch generation from diffusion models with the quasi-Taylor solver.\n\n");
    for (size_t i = 0; i < COMMANDS; i++) fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\nqtaylor COMMAND --help tells more; qtaylor --version says what this program is made of (--json too).\n"
                 "Exit status: 0 done and verified, 64 usage, 65 bad data, 70 internal error, 74 input/output error,\n"
                 "75 interrupted or incomplete (run again to continue), 76 done but for quarantined shards.\n");
}

static int dispatch(int argc, char **argv, struct error *err) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) return version_print(argc > 2 && strcmp(argv[2], "--json") == 0, err);
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        help(stdout);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0) return commands[i]->function(argc - 1, argv + 1, err);
    if (*name) return error_set(err, CODE_USAGE, "unknown command %s; qtaylor --help lists the commands", name);
    help(stderr);
    return error_set(err, CODE_USAGE, "a command is missing");
}

int main(int argc, char **argv) {
    struct error err = {.code = CODE_OK};
    int status = dispatch(argc, argv, &err) == 0 ? 0 : err.code ? err.code : CODE_INTERNAL;
    if (status != 0 && err.message[0]) log_error("%s", err.message);
    if (fflush(stdout) != 0 && status == 0) status = CODE_IO;
    if (command_leave_at_once) _exit(status); /* MPI_Finalize would wait for the dead */
    return status;
}
