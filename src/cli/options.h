/* The operands and options of a subcommand as a table: a row says a name, its kind, where its value goes in the
 * command's own struct, and its line of --help. Parsing, the usage line and --help all walk the table. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each kind with the type of its member. Strings are borrowed from the command line. */
enum option_kind {
    OPTION_OPERAND, /* const char *: an argument without --; operands come in the order of their rows, and all must be
                       there */
    OPTION_FLAG,    /* bool */
    OPTION_STRING,  /* const char *; NULL: not given */
    OPTION_LIST,    /* struct option_list; may be given several times */
    OPTION_COUNT,   /* uint64_t, 1 or more; 0: not given */
    OPTION_CHOICE,  /* int: a place in `choices`; 0 also when not given */
    OPTION_FORM,    /* int: 1 and a place in `choices`, the first one where no value is given; 0: not given */
    OPTION_CHOICES, /* unsigned: a list with commas; bit i stands for choices[i]; 0: not given */
};

struct option_list {
    const char **items; /* new */
    size_t count;
};

struct option_row {
    enum option_kind kind;
    const char *name;     /* without its --; an operand's as the usage line has it */
    size_t offset;        /* of the member */
    const char *argument; /* its value's name in the usage line; NULL: the choices, or none */
    const char *help;
    const char *const *choices; /* OPTION_CHOICE, _FORM and _CHOICES: end with NULL */
    const char
        *(*nearest)(const char *name); /* the choice that a wrong name means, or NULL; text_nearest where unset */
    char letter;                       /* of a short form such as -o; 0: there is none */
    bool required;                     /* of options: must be given */
    bool alone;                        /* of flags: with it operands may be left out */
};

struct option_table {
    const struct option_row *rows;
    size_t count, size; /* size: of the struct that the offsets count in */
};
#define OPTION_TABLE(array, type) {(array), sizeof(array) / sizeof *(array), sizeof(struct type)}

/* A row: OPTION(STRING, export_options, ids, "ids", .argument = "IDS", .help = "..."): kind, struct, its member, name,
 * and what else there is to say. */
#define OPTION(kind_, type, member, name_, ...) \
    {.kind = OPTION_##kind_, .name = name_, .offset = offsetof(struct type, member), ##__VA_ARGS__}

/* Rows that several commands have; `type` names the command's struct. */
#define ROW_RUN(type) OPTION(OPERAND, type, run, "RUN")
#define ROW_JOB(type) OPTION(OPERAND, type, job, "JOB")
#define ROW_JSON(type) OPTION(FLAG, type, json, "json", .help = "print the result as JSON")
#define ROW_FORCE(type) OPTION(FLAG, type, force, "force", .help = "replace a file that is there")
#define ROW_COUNT(type) OPTION(COUNT, type, count, "count", .argument = "N", .help = "only the first N samples")
#define ROW_SET(type) \
    OPTION(LIST, type, set, "set", .argument = "KEY=VALUE", \
           .help = "override a key of the job, as in --set sampler.nfe=20")
#define ROW_OUTPUT(type, what) \
    OPTION(STRING, type, output, "output", .argument = what, .help = "where the result goes (also -o)", .letter = 'o')

struct command;
struct text;

/* Adds a command's usage line, "usage: qtaylor ..." without a line end. */
void options_usage(struct text *out, const struct command *command);

#endif
