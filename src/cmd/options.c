#include "base/outlet.h"
#include "base/print.h"
#include "base/text.h"
#include "cmd/command.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_HELP = 'h', OPTION_SET = 's', OPTION_JSON = 'j', OPTION_LIST = 'l', OPTION_METRICS = 'm', OPTION_INDICES = 'i',
       OPTION_OUTPUT = 'o', OPTION_COUNT = 'c', OPTION_VERSUS = 'v', OPTION_FEATURES = 'f', OPTION_DEVICE = 'd',
       OPTION_TO = 't', OPTION_IDS = 'I', OPTION_SUBDIRS = 'S', OPTION_FORCE = 'F', OPTION_RECOMPUTE = 'r',
       OPTION_PLOT = 'p', OPTION_TEXT = 'T', OPTION_CELL = 'n', OPTION_CELLS = 'N' };

static const struct {
    struct option option;
    const char *argument, *help;
} known[] = {
    {{"set", required_argument, NULL, OPTION_SET}, " KEY=VALUE", "override a key of the job, as in --set sampler.nfe=20"},
    {{"list", no_argument, NULL, OPTION_LIST}, "", "print the table of solvers"},
    {{"metrics", required_argument, NULL, OPTION_METRICS}, " M,...", "of fid, sfid, fid_infinity, kid, is, prdc; default fid"},
    {{"features", required_argument, NULL, OPTION_FEATURES}, " NET", "the feature network that images go through, or none: their pixels"},
    {{"device", required_argument, NULL, OPTION_DEVICE}, " D", "where it runs: auto, cpu, cuda"},
    {{"kid-indices", required_argument, NULL, OPTION_INDICES}, " I.npy", "KID's subsets, int64 [subsets, 2, size]: rows of A, of B"},
    {{"versus", required_argument, NULL, OPTION_VERSUS}, " A2", "also the difference FID(A) - FID(A2), paired by seeds"},
    {{"count", required_argument, NULL, OPTION_COUNT}, " N", "only the first N samples"},
    {{"output", required_argument, NULL, OPTION_OUTPUT}, " FILE", "where the result goes (also -o)"},
    {{"to", required_argument, NULL, OPTION_TO}, " FORM", "png, npz or npy"},
    {{"ids", required_argument, NULL, OPTION_IDS}, " IDS", "only these seeds, as in 0-99,200"},
    {{"subdirs", no_argument, NULL, OPTION_SUBDIRS}, "", "PNGs in folders of 1000"},
    {{"force", no_argument, NULL, OPTION_FORCE}, "", "replace a file that is there"},
    {{"recompute", no_argument, NULL, OPTION_RECOMPUTE}, "", "run the model again for this sample's batch"},
    {{"plot", required_argument, NULL, OPTION_PLOT}, " FILE", "write the figure instead, metric over NFE: .svg, .png (by rsvg-convert)"},
    {{"text", no_argument, NULL, OPTION_TEXT}, "", "print plot and tables for the terminal instead"},
    {{"cell", required_argument, NULL, OPTION_CELL}, " N", "only this cell of a sweep: its number (from 0) or its name"},
    {{"cells", no_argument, NULL, OPTION_CELLS}, "", "list the runs that a job makes: number, cell, folder; tabs between"},
    {{"json", no_argument, NULL, OPTION_JSON}, "", "print the result as JSON"},
    {{"help", no_argument, NULL, OPTION_HELP}, "", "this text"},
};
enum { KNOWN = sizeof known / sizeof *known };

void command_help(const struct command *command) {
    printf("usage: qtaylor %s %s\n\n%s.\n", command->name, command->arguments, command->summary);
    if (command->help) printf("\n%s", command->help);
    printf("\noptions:\n");
    for (int i = 0; i < KNOWN; i++) {
        char flag[32];
        snprintf(flag, sizeof flag, "--%s", known[i].option.name);
        const char *found = strstr(command->arguments, flag);
        if (known[i].option.val != OPTION_HELP && (!found || isalpha((unsigned char)found[strlen(flag)]))) continue;
        printf("  --%s%-*s %s\n", known[i].option.name, 22 - (int)strlen(known[i].option.name), known[i].argument,
               known[i].help);
    }
}

static int usage(const struct command *command, struct error *err, const char *problem, const char *what) {
    return error_set(err, CODE_USAGE, "%s: %s%s%s; usage: qtaylor %s %s", command->name, problem, *what ? " " : "", what,
                     command->name, command->arguments);
}

int options_parse(struct options *options, int argc, char **argv, const struct command *command, const char *accepted,
                  bool *done, struct error *err) {
    struct option table[KNOWN + 1] = {0};
    for (int i = 0; i < KNOWN; i++) table[i] = known[i].option;
    *options = (struct options){.overrides = calloc((size_t)argc, sizeof(char *))};
    *done = false;
    if (!options->overrides) return error_memory(err);
    opterr = 0;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, ":o:", table, NULL)) != -1;) {
        if (c == OPTION_HELP) {
            command_help(command);
            *done = true;
            return 0;
        }
        if (c == ':') return usage(command, err, "needs a value:", argv[optind - 1]);
        if (c == '?' || !strchr(accepted, c)) return usage(command, err, "unknown option", argv[optind - 1]);
        if (c == OPTION_SET) options->overrides[options->overrides_count++] = optarg;
        if (c == OPTION_JSON) options->json = true;
        if (c == OPTION_LIST) options->list = true;
        if (c == OPTION_CELLS) options->cells = true;
        if (c == OPTION_CELL) options->cell = optarg;
        if (c == OPTION_METRICS) options->metrics = optarg;
        if (c == OPTION_INDICES) options->indices = optarg;
        if (c == OPTION_OUTPUT) options->output = optarg;
        if (c == OPTION_FEATURES) options->features = optarg;
        if (c == OPTION_DEVICE) options->device = optarg;
        if (c == OPTION_PLOT) options->plot = optarg;
        if (c == OPTION_TEXT) options->text = true;
        if (c == OPTION_VERSUS) options->versus = optarg;
        if (c == OPTION_TO) options->to = optarg;
        if (c == OPTION_IDS) options->ids = optarg;
        if (c == OPTION_SUBDIRS) options->subdirs = true;
        if (c == OPTION_FORCE) options->force = true;
        if (c == OPTION_RECOMPUTE) options->recompute = true;
        if (c == OPTION_COUNT && (!text_to_u64(optarg, &options->count) || options->count < 1))
            return usage(command, err, "--count: expected a whole number of 1 or more, found", optarg);
    }
    if (optind < argc) options->operand = argv[optind++];
    if (strchr(accepted, '2')) {
        if (optind >= argc) return usage(command, err, "two arguments are needed", "");
        options->second = argv[optind++];
    }
    if (optind < argc) return usage(command, err, "too many arguments:", argv[optind]);
    if (!options->operand && !options->list) return usage(command, err, "an argument is missing", "");
    return 0;
}

void options_free(struct options *options) {
    free(options->overrides);
    *options = (struct options){0};
}

int output_failed(struct error *err, int why) {
    return error_set(err, CODE_IO, "cannot write to standard output: %s", why ? outlet_why(why) : "an earlier write failed");
}

int print_json_to(FILE *out, const json_t *json, struct error *err) {
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return error_memory(err);
    errno = 0;
    print_block(out, text);
    free(text);
    int failed = putc('\n', out) == EOF || ferror(out);
    return failed || fflush(out) != 0 ? output_failed(err, errno) : 0;
}

int print_json(const json_t *json, struct error *err) {
    return print_json_to(stdout, json, err);
}
