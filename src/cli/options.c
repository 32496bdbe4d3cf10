/* Command lines parsed and explained by a command's table of options. */
#include "cli/options.h"

#include "base/text.h"
#include "cli/command.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP = 256, FIRST_ROW }; /* what getopt_long gives for --help, and for row i: FIRST_ROW + i */

/* ---- usage and help ---- */

static void add_argument(struct text *out, const struct option_row *row) {
    if (!row->argument && !row->choices) return;
    text_add(out, row->kind == OPTION_FORM ? " [" : " ");
    if (row->argument) text_add(out, "%s", row->argument);
    else text_add_names(out, row->choices, "|", "|");
    if (row->kind == OPTION_FORM) text_add(out, "]");
}

/* "export RUN --to png|npz|npy [--output PATH]" */
void options_usage(struct text *out, const struct command *command) {
    const struct option_table *table = &command->options;
    text_add(out, "usage: qtaylor %s", command->name);
    for (size_t i = 0; i < table->count; i++) {
        const struct option_row *row = &table->rows[i];
        bool operand = row->kind == OPTION_OPERAND, optional = !operand && !row->required;
        if (row->alone) continue;
        text_add(out, operand ? " %s%s" : optional ? " [%s%s" : " %s%s", operand ? "" : "--", row->name);
        add_argument(out, row);
        text_add(out, "%s%s", optional ? "]" : "", row->kind == OPTION_LIST ? "..." : "");
    }
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].alone) text_add(out, " | --%s", table->rows[i].name);
}

/* A line of --help: the option, and from column 27 on what it does; names too long for that have a line of their own.
 */
static void add_option(struct text *out, const char *name, const struct option_row *row, const char *help) {
    size_t start = out->length;
    text_add(out, "  --%s", name);
    if (row) add_argument(out, row);
    size_t length = out->length - start;
    text_add(out, length > 26 ? "\n%*s %s" : "%*s %s", length > 26 ? 26 : 26 - (int)length, "", help);
    if (row && row->kind == OPTION_CHOICES) {
        text_add(out, ": ");
        text_add_names(out, row->choices, ", ", ", ");
    }
    text_add(out, "\n");
}

/* --help of a command, on stdout. */
static int print_help(const struct command *command, struct error *err) {
    struct text out = {0};
    options_usage(&out, command);
    text_add(&out, "\n\n%s.\n", command->summary);
    if (command->help) text_add(&out, "\n%s", command->help);
    text_add(&out, "\noptions:\n");
    for (size_t i = 0; i < command->options.count; i++) {
        const struct option_row *row = &command->options.rows[i];
        if (row->kind != OPTION_OPERAND) add_option(&out, row->name, row, row->help);
    }
    add_option(&out, "help", NULL, "this text");
    int rc = out.failed ? error_memory(err) : 0;
    if (rc == 0) fputs(out.data, stdout);
    text_release(&out);
    return rc;
}

/* ---- errors: "export: PROBLEM; usage: qtaylor export RUN ..." ---- */

__attribute__((format(printf, 3, 4))) static int usage(const struct command *command, struct error *err,
                                                       const char *format, ...) {
    struct text line = {0};
    char message[1000]; /* holds a user's words; the usage line needs room behind them */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    options_usage(&line, command);
    error_set(err, CODE_USAGE, "%s: %s; %s", command->name, message, line.data ? line.data : "see --help");
    text_release(&line);
    return -1;
}

static int wrong_choice(const struct command *command, const struct option_row *row, const char *found, size_t length,
                        struct error *err) {
    struct text expected = {0};
    char *name = strndup(found, length);
    const char *near = !name ? NULL : row->nearest ? row->nearest(name) : text_nearest(name, row->choices);
    text_add_names(&expected, row->choices, ", ", " or ");
    int rc = name && !expected.failed
                 ? usage(command, err, "--%s: expected %s, found %s%s%s%s", row->name, expected.data,
                         *name ? name : "nothing", near ? "; did you mean " : "", near ? near : "", near ? "?" : "")
                 : error_memory(err);
    text_release(&expected);
    free(name);
    return rc;
}

static int unknown_option(const struct command *command, const char *found, struct error *err) {
    const struct option_table *table = &command->options;
    const char *names[table->count + 2];
    size_t count = 0;
    bool sets = false;
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].kind != OPTION_OPERAND) names[count++] = table->rows[i].name;
    for (size_t i = 0; i < count; i++) sets |= strcmp(names[i], "set") == 0;
    names[count++] = "help";
    names[count] = NULL;
    char *name = strndup(found + strspn(found, "-"), strcspn(found + strspn(found, "-"), "="));
    const char *near = name ? text_nearest(name, names) : NULL;
    int rc = near           ? usage(command, err, "unknown option %s; did you mean --%s?", found, near)
             : sets && name ? usage(command, err, "unknown option %s; if it is a key: --set %s=VALUE", found, name)
                            : usage(command, err, "unknown option %s", found);
    free(name);
    return rc;
}

/* ---- parsing ---- */

/* The place in `choices` of a name of `length` bytes; -1: none. */
static int find_choice(const char *const *choices, const char *name, size_t length) {
    for (int i = 0; choices[i]; i++)
        if (strlen(choices[i]) == length && strncmp(choices[i], name, length) == 0) return i;
    return -1;
}

static int take_choices(unsigned *bits, const struct command *command, const struct option_row *row, const char *value,
                        struct error *err) {
    const char *at = value;
    *bits = 0;
    do {
        size_t length = strcspn(at, ",");
        int choice = find_choice(row->choices, at, length);
        if (choice < 0) return wrong_choice(command, row, at, length, err);
        *bits |= 1u << choice;
        at += length + (at[length] == ',');
    } while (*at);
    return 0;
}

static int take(void *options, const struct command *command, const struct option_row *row, const char *value,
                struct error *err) {
    void *member = (char *)options + row->offset;
    struct option_list *list = member;
    int choice;
    switch (row->kind) {
        case OPTION_FLAG: *(bool *)member = true; return 0;
        case OPTION_OPERAND:
        case OPTION_STRING: *(const char **)member = value; return 0;
        case OPTION_LIST: list->items[list->count++] = value; return 0;
        case OPTION_COUNT:
            if (text_to_u64(value, member) && *(uint64_t *)member > 0) return 0;
            return usage(command, err, "--%s: expected a whole number of 1 or more, found %s", row->name, value);
        case OPTION_CHOICE:
            choice = find_choice(row->choices, value, strlen(value));
            if (choice < 0) return wrong_choice(command, row, value, strlen(value), err);
            *(int *)member = choice;
            return 0;
        case OPTION_FORM:
            choice = value ? find_choice(row->choices, value, strlen(value)) : 0;
            if (choice < 0) return wrong_choice(command, row, value, strlen(value), err);
            *(int *)member = choice + 1;
            return 0;
        case OPTION_CHOICES: return take_choices(member, command, row, value, err);
    }
    return error_set(err, CODE_INTERNAL, "--%s: no such kind of option", row->name);
}

/* The table in getopt_long's form: known[count + 2], letters[2 count + 3]. */
static void tell_getopt(const struct option_table *table, struct option *known, char *letters) {
    *letters++ = ':'; /* a missing value is told from an unknown option */
    for (size_t i = 0; i < table->count; i++) {
        const struct option_row *row = &table->rows[i];
        bool flag = row->kind == OPTION_FLAG;
        if (row->kind == OPTION_OPERAND) continue;
        int takes = flag ? no_argument : row->kind == OPTION_FORM ? optional_argument : required_argument;
        *known++ = (struct option){row->name, takes, NULL, FIRST_ROW + (int)i};
        if (row->letter) *letters++ = row->letter;
        if (row->letter && !flag) *letters++ = ':';
    }
    *known++ = (struct option){"help", no_argument, NULL, HELP};
    *known = (struct option){0};
    *letters++ = 'h'; /* no table's own: --help */
    *letters = '\0';
}

/* The row that getopt_long found: by its number, or by its letter; NULL: none. */
static const struct option_row *find_row(const struct option_table *table, int found) {
    for (size_t i = 0; i < table->count; i++)
        if (found == FIRST_ROW + (int)i || (found && found == table->rows[i].letter)) return &table->rows[i];
    return NULL;
}

static int parse_options(void *options, const struct command *command, int argc, char **argv, bool *given, bool *help,
                         struct error *err) {
    const struct option_table *table = &command->options;
    struct option known[table->count + 2];
    char letters[2 * table->count + 3];
    tell_getopt(table, known, letters);
    opterr = 0;
    optind = 0; /* from the start, also where a command line was parsed before */
    for (int found; !*help && (found = getopt_long(argc, argv, letters, known, NULL)) != -1;) {
        const struct option_row *row = find_row(table, found);
        *help = found == HELP || found == 'h';
        if (found == ':') return usage(command, err, "needs a value: %s", argv[optind - 1]);
        if (found == '?' && find_row(table, optopt)) return usage(command, err, "takes no value: %s", argv[optind - 1]);
        if (found == '?' && optopt > 0 && optopt < HELP) return usage(command, err, "unknown option -%c", optopt);
        if (found == '?') return unknown_option(command, argv[optind - 1], err);
        if (!row) continue;
        given[row - table->rows] = true;
        if (row->kind == OPTION_FORM && !optarg && optind < argc && /* --form=VALUE, --form VALUE, or --form */
            find_choice(row->choices, argv[optind], strlen(argv[optind])) >= 0)
            optarg = argv[optind++];
        if (take(options, command, row, optarg, err) != 0) return -1;
    }
    return 0;
}

static int parse_operands(void *options, const struct command *command, int argc, char **argv, const bool *given,
                          struct error *err) {
    const struct option_table *table = &command->options;
    bool alone = false;
    for (size_t i = 0; i < table->count; i++) alone |= table->rows[i].alone && given[i];
    for (size_t i = 0; i < table->count; i++) {
        const struct option_row *row = &table->rows[i];
        bool operand = row->kind == OPTION_OPERAND;
        if (operand && optind < argc && take(options, command, row, argv[optind++], err) != 0) return -1;
        else if (operand && !*(const char **)((char *)options + row->offset) && !alone)
            return usage(command, err, "an argument is missing: %s", row->name);
        if (!row->required || given[i] || alone) continue;
        return row->choices ? wrong_choice(command, row, "", 0, err)
                            : usage(command, err, "--%s is missing: %s", row->name, row->help);
    }
    return optind < argc ? usage(command, err, "too many arguments: %s", argv[optind]) : 0;
}

/* Parses argv (argv[0]: the subcommand's name; getopt sorts it: options first) into *options, which has the table's
 * size and was zeroed. What is unknown, missing or too much is CODE_USAGE, with the usage line. *help: --help was asked
 * for; what follows it is not read. */
static int parse(void *options, const struct command *command, int argc, char **argv, bool *help, struct error *err) {
    const struct option_table *table = &command->options;
    bool given[table->count + 1];
    memset(given, 0, sizeof given);
    *help = false;
    for (size_t i = 0; i < table->count; i++) {
        struct option_list *list = (void *)((char *)options + table->rows[i].offset);
        if (table->rows[i].kind == OPTION_LIST && !(list->items = calloc((size_t)argc, sizeof *list->items)))
            return error_memory(err);
    }
    if (parse_options(options, command, argc, argv, given, help, err) != 0) return -1;
    return *help ? 0 : parse_operands(options, command, argc, argv, given, err);
}

/* Frees what parse made; also after it failed. */
static void release(void *options, const struct command *command) {
    for (size_t i = 0; i < command->options.count; i++)
        if (command->options.rows[i].kind == OPTION_LIST)
            free(((struct option_list *)(void *)((char *)options + command->options.rows[i].offset))->items);
}

int command_call(const struct command *command, int argc, char **argv, struct error *err) {
    struct call call = {.command = command, .argc = argc, .argv = argv};
    bool help;
    void *options = calloc(1, command->options.size);
    if (!options) return error_memory(err);
    call.options = options;
    int rc = parse(options, command, argc, argv, &help, err);
    if (rc == 0) rc = help ? print_help(command, err) : command->function(&call, err);
    release(options, command);
    free(options);
    return rc;
}
