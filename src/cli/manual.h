/* What is made of the table of commands for other programs: manual pages for man, and what bash and zsh complete by.
 * `commands` ends with NULL. All print to stdout; one thread at a time. */
#ifndef CLI_MANUAL_H
#define CLI_MANUAL_H

#include "base/error.h"
#include "cli/command.h"

/* Of the whole program, in its --help and on its manual page. */
#define PROGRAM_SUMMARY "Batch generation from diffusion models with the quasi-Taylor solver"
#define PROGRAM_MORE \
    "qtaylor COMMAND --help tells more; qtaylor --version says what this program is made of (--json too).\n" \
    "--man [COMMAND] prints a manual page, --completion bash|zsh what a shell completes by."
#define PROGRAM_STATUS \
    "Exit status: 0 done and verified, 64 usage, 65 bad data, 70 internal error, 74 input/output error,\n" \
    "75 interrupted or incomplete (run again to continue), 76 done but for quarantined shards.\n"

/* The manual page of a command, or of the program where it is NULL: the words of --help, in roff's macros `man`. */
int manual_print(const struct command *const *commands, const struct command *command, struct error *err);
/* The completion script of a shell, "bash" or "zsh"; another, or NULL, is CODE_USAGE. */
int completion_print(const struct command *const *commands, const char *shell, struct error *err);

#endif
