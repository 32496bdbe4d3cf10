/* Manual pages, from what --help is made of. */
#include "cli/manual.h"

#include "base/text.h"
#include "cluster/build.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 76 }; /* of a line of text in the page's source, with its escapes */

/* One word, with what roff would take for its own written out. */
static void add_word(struct text *out, const char *word, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (i == 0 && (word[i] == '.' || word[i] == '\'')) text_add(out, "\\&");
        if (word[i] == '\\') text_add(out, "\\e");
        else text_add(out, word[i] == '-' ? "\\-" : "%c", word[i]);
    }
}

/* How long it is then. */
static size_t written_length(const char *word, size_t length) {
    size_t written = length + (*word == '.' || *word == '\'' ? 2 : 0);
    for (size_t i = 0; i < length; i++) written += word[i] == '\\' || word[i] == '-';
    return written;
}

/* Words of a text, as lines that the reader's program fills. */
static void add_words(struct text *out, const char *words, size_t size) {
    size_t column = 0;
    for (const char *at = words, *end = words + size; at < end;) {
        size_t blanks = strspn(at, " \n"), length;
        at += blanks < (size_t)(end - at) ? blanks : (size_t)(end - at);
        if (at == end) break;
        length = strcspn(at, " \n");
        if (length > (size_t)(end - at)) length = (size_t)(end - at);
        size_t written = written_length(at, length);
        if (column > 0) text_add(out, column + 1 + written > WIDTH ? "\n" : " ");
        column = column > 0 && column + 1 + written <= WIDTH ? column + 1 + written : written;
        add_word(out, at, length);
        at += length;
    }
    text_add(out, "\n");
}

static void add_line(struct text *out, const char *words) {
    add_words(out, words, strlen(words));
}

/* A command's further help. Lines that begin with two blanks and a name, "  png   a folder ...", define it, those with
 * more blanks go on with that; an empty line, or one without blanks behind such ones, begins a paragraph. */
static void add_help(struct text *out, const char *help) {
    bool defines = false;
    while (*help) {
        size_t gap = strspn(help, "\n");
        const char *line = help += gap;
        bool begins = strspn(line, " ") == 2;
        do help += strcspn(help, "\n"), help += *help == '\n';
        while (*help && *help != '\n' && (begins ? strspn(help, " ") > 2 : *help != ' '));
        if (begins) {
            size_t name = strcspn(line + 2, " \n");
            text_add(out, ".TP\n.B ");
            add_words(out, line + 2, name);
            line += 2 + name;
        } else if (defines || gap > 0) {
            text_add(out, ".PP\n");
        }
        add_words(out, line, (size_t)(help - line));
        defines = begins;
    }
}

static void add_option(struct text *out, const struct option_row *row) {
    text_add(out, ".TP\n\\fB\\-\\-");
    add_word(out, row->name, strlen(row->name));
    text_add(out, "\\fR");
    if (row->argument || row->choices) text_add(out, row->kind == OPTION_FORM ? " [\\fI" : " \\fI");
    if (row->argument) add_word(out, row->argument, strlen(row->argument));
    else if (row->choices) text_add_names(out, row->choices, "|", "|");
    if (row->argument || row->choices) text_add(out, row->kind == OPTION_FORM ? "\\fR]" : "\\fR");
    text_add(out, "\n");
    struct text help = {0};
    text_add(&help, "%s", row->help);
    if (row->kind == OPTION_CHOICES) {
        text_add(&help, ": ");
        text_add_names(&help, row->choices, ", ", ", ");
    }
    if (help.failed) out->failed = true;
    else add_line(out, help.data);
    text_release(&help);
}

static void add_head(struct text *out, const char *name, const char *summary) {
    text_add(out, ".TH \"");
    for (const char *at = name; *at; at++) text_add(out, "%c", toupper((unsigned char)*at));
    text_add(out, "\" 1 \"%s\" \"qtaylor %s\"\n.SH NAME\n", build_date(), build_version());
    add_word(out, name, strlen(name));
    text_add(out, " \\-\n");
    add_line(out, summary);
}

static void add_command(struct text *out, const struct command *command) {
    const char *usage = "usage: ";
    struct text name = {0}, line = {0};
    text_add(&name, "qtaylor-%s", command->name);
    options_usage(&line, command);
    if (name.failed || line.failed) {
        out->failed = true;
    } else {
        add_head(out, name.data, command->summary);
        text_add(out, ".SH SYNOPSIS\n");
        add_line(out, line.data + strlen(usage));
    }
    text_release(&name);
    text_release(&line);
    if (command->help) {
        text_add(out, ".SH DESCRIPTION\n");
        add_help(out, command->help);
    }
    text_add(out, ".SH OPTIONS\n");
    for (size_t i = 0; i < command->options.count; i++)
        if (command->options.rows[i].kind != OPTION_OPERAND) add_option(out, &command->options.rows[i]);
    text_add(out, ".TP\n\\fB\\-\\-help\\fR\nthis text\n.SH SEE ALSO\n.BR qtaylor (1)\n");
}

static void add_program(struct text *out, const struct command *const *commands) {
    add_head(out, "qtaylor", PROGRAM_SUMMARY);
    text_add(out, ".SH SYNOPSIS\n.B qtaylor\n.I COMMAND\n\\&...\n.SH COMMANDS\n");
    for (; *commands; commands++) {
        text_add(out, ".TP\n.BR qtaylor\\-%s (1)\n", (*commands)->name);
        add_line(out, (*commands)->summary);
    }
    text_add(out, ".PP\n");
    add_line(out, PROGRAM_MORE);
    text_add(out, ".SH EXIT STATUS\n");
    add_line(out, strchr(PROGRAM_STATUS, ':') + 1);
}

int manual_print(const struct command *const *commands, const struct command *command, struct error *err) {
    struct text out = {0};
    if (command) add_command(&out, command);
    else add_program(&out, commands);
    int rc = out.failed ? error_memory(err) : 0;
    if (rc == 0) fputs(out.data, stdout);
    text_release(&out);
    return rc;
}
