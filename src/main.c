/* qtaylor: the table of subcommands, and the only place that exits. */
#include "base/crash.h"
#include "base/log.h"
#include "base/mapping.h"
#include "base/text.h"
#include "cluster/build.h"
#include "cli/command.h"
#include "cli/manual.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_run,    &command_generate, &command_evaluate, &command_decode,    &command_verify,   &command_status,
    &command_plan,   &command_inspect,  &command_compare,  &command_reference, &command_diagnose, &command_report,
    &command_export, &command_sample,   &command_check,    &command_model,     &command_tune,     NULL,
};
enum { COMMANDS = sizeof commands / sizeof *commands - 1 };
enum { STACK_LEAST = 1 << 20 }; /* bytes */

static void help(FILE *out) {
    fprintf(out, "usage: qtaylor COMMAND ...\n\n" PROGRAM_SUMMARY ".\n\n");
    for (size_t i = 0; i < COMMANDS; i++) fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\n" PROGRAM_MORE "\n" PROGRAM_STATUS);
}

static int unknown_command(const char *name, struct error *err) {
    const char *names[COMMANDS + 1] = {NULL};
    for (size_t i = 0; i < COMMANDS; i++) names[i] = commands[i]->name;
    const char *near = text_nearest(name, names);
    error_set(err, CODE_USAGE, "unknown command %s; ", name);
    if (near) error_suffix(err, "did you mean %s? ", near);
    return error_suffix(err, "qtaylor --help lists the commands");
}

static int dispatch(int argc, char **argv, struct error *err) {
    const char *name = argc > 1 ? argv[1] : "", *of = argc > 2 ? argv[2] : NULL;
    if (strcmp(name, "--version") == 0) return version_print(of && strcmp(of, "--json") == 0, err);
    if (strcmp(name, "--completion") == 0) return completion_print(commands, of, err);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help(stdout);
        return 0;
    }
    bool manual = strcmp(name, "--man") == 0;
    if (manual && !of) return manual_print(commands, NULL, err);
    if (manual) name = of;
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return manual ? manual_print(commands, commands[i], err)
                          : command_call(commands[i], argc - 1, argv + 1, err);
    if (*name) return unknown_command(name, err);
    help(stderr);
    return error_set(err, CODE_USAGE, "a command is missing");
}

/* A file that takes the number of a standard stream would get what is printed: what is closed stays unusable. */
static void hold_streams(void) {
    for (int fd; (fd = open("/dev/null", O_RDONLY)) >= 0;) {
        if (fd <= STDERR_FILENO) continue;
        close(fd);
        break;
    }
}

/* What went lost on its way out, also in an earlier write, or when a file system on a network takes it at last. */
static int finish_output(struct error *err) {
    errno = 0;
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    int copy = failed ? -1 : dup(STDOUT_FILENO);
    if (copy >= 0) failed = close(copy) != 0;
    return failed ? output_failed(err, errno) : 0;
}

/* A thread that runs out of its stack dies without a word where there is no other one to speak from. */
static int check_stacks(struct error *err) {
    size_t least = SIZE_MAX;
#pragma omp parallel num_threads(2) reduction(min : least)
    {
        pthread_attr_t attributes;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            pthread_attr_getstacksize(&attributes, &least);
            pthread_attr_destroy(&attributes);
        }
    }
    if (least >= STACK_LEAST) return 0;
    return error_set(err, CODE_USAGE,
                     "threads have stacks of %zu KiB here, expected %d at least: unset OMP_STACKSIZE or set it to 4M, "
                     "and raise `ulimit -s`",
                     least / 1024, STACK_LEAST / 1024);
}

static int start(struct error *err) {
    return crash_thread_start(err) == 0 ? check_stacks(err) : -1;
}

int main(int argc, char **argv) {
    struct error err = {.code = CODE_OK};
    char build[200];
    hold_streams();
    build_describe(build, sizeof build);
    crash_catch(build);
    signal(SIGPIPE, SIG_IGN); /* a reader that leaves, and a limit of file sizes, are errors of a write like others */
    signal(SIGXFSZ, SIG_IGN);
    int status = start(&err) == 0 && dispatch(argc, argv, &err) == 0 ? 0 : err.code ? err.code : CODE_INTERNAL;
    if (status != 0 && err.message[0]) log_error("%s", err.message);
    if ((mappings_check(&err) != 0 || finish_output(&err) != 0) && status == 0) {
        log_error("%s", err.message);
        status = err.code;
    }
    log_close();
    if (command_leave_at_once) _exit(status); /* MPI_Finalize would wait for the dead */
    return status;
}
