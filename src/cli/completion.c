/* What bash and zsh complete a command line by, from the tables of options. */
#include "base/text.h"
#include "cli/manual.h"

#include <stdio.h>
#include <string.h>

/* ---- bash ---- */

static const char bash_begin[] =
    "# bash completion of qtaylor, made by `qtaylor --completion bash`\n"
    "_qtaylor() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options='' values='' list=''\n"
    "    COMPREPLY=()\n"
    "    if [[ $before = '=' ]]; then before=${COMP_WORDS[COMP_CWORD - 2]}; fi # bash parts --to=png at its =\n"
    "    if [[ $word = '=' ]]; then before=${COMP_WORDS[COMP_CWORD - 1]} word=''; fi\n";
static const char
    bash_end[] = "    if [[ -n $values ]]; then\n"
                 "        if [[ $word = *,* ]]; then list=${word%,*},; fi\n"
                 "        mapfile -t COMPREPLY < <(compgen -P \"$list\" -W \"$values\" -- \"${word##*,}\")\n"
                 "    elif [[ $word = -* ]]; then\n"
                 "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n"
                 "    fi\n"
                 "}\n"
                 "complete -o bashdefault -o default -F _qtaylor qtaylor # files where nothing else fits\n";

static void add_bash(struct text *out, const struct command *const *commands) {
    text_add(out, "%s    if ((COMP_CWORD == 1)); then values='", bash_begin);
    for (size_t i = 0; commands[i]; i++) text_add(out, "%s ", commands[i]->name);
    text_add(out, "--help --version --man --completion'; fi\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; commands[i]; i++) {
        const struct option_table *table = &commands[i]->options;
        text_add(out, "        %s) options='", commands[i]->name);
        for (size_t k = 0; k < table->count; k++)
            if (table->rows[k].kind != OPTION_OPERAND) text_add(out, "--%s ", table->rows[k].name);
        text_add(out, "--help' ;;\n");
    }
    text_add(out, "    esac\n    case \"${COMP_WORDS[1]} $before\" in\n");
    for (size_t i = 0; commands[i]; i++) {
        const struct option_table *table = &commands[i]->options;
        for (size_t k = 0; k < table->count; k++) {
            if (!table->rows[k].choices) continue;
            text_add(out, "        '%s --%s') values='", commands[i]->name, table->rows[k].name);
            text_add_names(out, table->rows[k].choices, " ", " ");
            text_add(out, "' ;;\n");
        }
    }
    text_add(out, "        '--completion --completion') values='bash zsh' ;;\n    esac\n%s", bash_end);
}

/* ---- zsh ---- */

/* Text within '...' of a specification, where [ ] : have a meaning. */
static void add_quoted(struct text *out, const char *words) {
    for (; *words; words++) {
        if (*words == '\'') text_add(out, "'\\''");
        else text_add(out, strchr("[]:\\", *words) ? "\\%c" : "%c", *words);
    }
}

/* "--to[the form]:to:(png npz npy)" */
static void add_zsh_row(struct text *out, const struct option_row *row, int operand) {
    bool one = row->kind == OPTION_CHOICE || row->kind == OPTION_FORM;
    text_add(out, " \\\n                '");
    if (row->kind == OPTION_OPERAND) {
        text_add(out, "%d:%s:_files'", operand, row->name);
        return;
    }
    text_add(out, "%s--%s%s[", row->kind == OPTION_LIST ? "*" : "", row->name, row->kind == OPTION_FLAG ? "" : "=");
    add_quoted(out, row->help);
    text_add(out, "]");
    if (row->kind != OPTION_FLAG) {
        text_add(out, row->kind == OPTION_FORM ? "::" : ":"); /* two: the value may be left out */
        add_quoted(out, row->argument ? row->argument : row->name);
        if (row->kind == OPTION_CHOICES) text_add(out, ":_values -s , %s ", row->name);
        else if (one) text_add(out, ":(");
        else text_add(out, row->kind == OPTION_STRING ? ":_files" : ": ");
        if (row->choices) text_add_names(out, row->choices, " ", " ");
        if (one) text_add(out, ")");
    }
    text_add(out, "'");
}

static void add_zsh(struct text *out, const struct command *const *commands) {
    text_add(out, "#compdef qtaylor\n# zsh completion of qtaylor, made by `qtaylor --completion zsh`\n_qtaylor() {\n"
                  "    local -a commands=(\n");
    for (size_t i = 0; commands[i]; i++) {
        text_add(out, "        '%s:", commands[i]->name);
        add_quoted(out, commands[i]->summary);
        text_add(out, "'\n");
    }
    text_add(out, "    )\n    if ((CURRENT == 2)); then\n        _describe command commands\n        return\n    fi\n"
                  "    shift words\n    ((CURRENT--))\n    case $words[1] in\n");
    for (size_t i = 0; commands[i]; i++) {
        const struct option_table *table = &commands[i]->options;
        int operands = 0;
        text_add(out, "        %s)\n            _arguments", commands[i]->name);
        for (size_t k = 0; k < table->count; k++) {
            if (table->rows[k].kind == OPTION_OPERAND) operands++;
            add_zsh_row(out, &table->rows[k], operands);
        }
        text_add(out, " \\\n                '--help[this text]' ;;\n");
    }
    text_add(out, "    esac\n}\n_qtaylor \"$@\"\n");
}

int completion_print(const struct command *const *commands, const char *shell, struct error *err) {
    struct text out = {0};
    if (shell && strcmp(shell, "bash") == 0) add_bash(&out, commands);
    else if (shell && strcmp(shell, "zsh") == 0) add_zsh(&out, commands);
    else return error_set(err, CODE_USAGE, "--completion: expected bash or zsh, found %s", shell ? shell : "nothing");
    int rc = out.failed ? error_memory(err) : 0;
    if (rc == 0) fputs(out.data, stdout);
    text_release(&out);
    return rc;
}
