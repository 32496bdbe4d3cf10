/* report: a run or a sweep as a page, in the terminal, as a figure. */
#include "base/draft.h"
#include "base/files.h"
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "report/chart.h"
#include "report/data.h"
#include "report/page.h"
#include "report/protocol.h"
#include "report/collect.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

/* SVG to PNG at three times its size, some 1700 pixels wide. */
static int convert(const char *svg, const char *png, struct error *err) {
    char *arguments[] = {"rsvg-convert", "--zoom=3", "--format=png", "--output", (char *)png, (char *)svg, NULL};
    pid_t child;
    posix_spawnattr_t usual; /* what this process ignores, a child does not */
    sigset_t ignored;
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    sigaddset(&ignored, SIGXFSZ);
    posix_spawnattr_init(&usual);
    posix_spawnattr_setsigdefault(&usual, &ignored);
    posix_spawnattr_setflags(&usual, POSIX_SPAWN_SETSIGDEF);
    int status, failure = posix_spawnp(&child, arguments[0], NULL, &usual, arguments, environ);
    posix_spawnattr_destroy(&usual);
    if (failure == ENOENT)
        return error_set(err, CODE_USAGE,
                         "a PNG needs the program rsvg-convert, which is not here: install librsvg2-bin (Debian) or "
                         "librsvg2-tools (Fedora), or write an .svg");
    if (failure != 0) return error_set(err, CODE_IO, "cannot start rsvg-convert: %s", strerror(failure));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return error_set(err, CODE_IO, "rsvg-convert: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(err, CODE_IO, "rsvg-convert could not make %s of %s", png, svg);
    return 0;
}

/* By way of an SVG and a PNG beside the file, so that it is there whole or not at all. */
static int write_png(const char *path, const struct text *svg, struct error *err) {
    struct draft source = {0}, target = {0};
    int rc = draft_begin(&source, path, false, err);
    if (rc == 0) rc = file_write(source.temporary, svg->data, svg->length, err);
    if (rc == 0) rc = draft_begin(&target, path, false, err);
    if (rc == 0) rc = convert(source.temporary, target.temporary, err);
    if (rc == 0) rc = draft_commit(&target, err);
    draft_abandon(&target);
    draft_abandon(&source);
    return rc;
}

static int write_plot(const json_t *data, const char *metric, const char *path, struct error *err) {
    struct chart chart;
    struct text svg = {0};
    bool png = text_ends_in(path, ".png");
    if (!png && !text_ends_in(path, ".svg"))
        return error_set(err, CODE_USAGE, "--plot: expected a name that ends in .svg or .png, found %s", path);
    if (chart_make(&chart, data, metric, CHART_NFE, err) != 0) return -1;
    int rc = chart.points > 0 ? 0 : error_set(err, CODE_DATA, "no cell has %s: nothing to plot", metric);
    if (rc == 0) chart_svg(&chart, true, &svg);
    if (rc == 0 && svg.failed) rc = error_memory(err);
    if (rc == 0) rc = png ? write_png(path, &svg, err) : file_write_atomic(path, svg.data, svg.length, err);
    if (rc == 0) print_line(stdout, "%s", path);
    text_release(&svg);
    chart_release(&chart);
    return rc;
}

static int write_page(const json_t *data, const char *path, struct error *err) {
    struct page_pictures pictures;
    struct text page = {0};
    int rc = collect_pictures(&pictures, data, err);
    if (rc == 0) rc = page_make(data, &pictures, &page, err);
    if (rc == 0) rc = file_write_atomic(path, page.data, page.length, err);
    if (rc == 0) print_line(stdout, "%s", path);
    text_release(&page);
    page_pictures_release(&pictures);
    return rc;
}

static int print_text(const json_t *data, const char *metric, struct error *err) {
    struct text out = {0};
    int rc = data_print(data, metric, &out, err);
    if (rc == 0) print_block(stdout, out.data);
    text_release(&out);
    return rc;
}

static int print_protocol(const char *run, enum protocol_form form, struct error *err) {
    struct text out = {0};
    int rc = protocol_print(run, form, &out, err);
    if (rc == 0) print_block(stdout, out.data);
    text_release(&out);
    return rc;
}

/* A column that is no cell's: those that are. */
static int refuse_metric(const json_t *data, const char *metric, const char *run, struct error *err) {
    const json_t *name;
    struct text there = {0};
    size_t i;
    json_array_foreach(json_object_get(data, "metrics"), i, name)
        text_add(&there, "%s%s", i ? ", " : "", json_string_value(name));
    error_set(err, CODE_USAGE, "--metrics: no cell of %s has a number %s that can be plotted; expected one of: %s", run,
              metric, there.data ? there.data : "(there is none)");
    text_release(&there);
    return -1;
}

struct report_options {
    const char *run, *output, *plot, *metric;
    int card; /* 0, or 1 + enum protocol_form */
    bool text, json;
};

/* Options that would not act beside one another. */
static int check_options(const struct report_options *options, struct error *err) {
    bool printed = options->text || options->json;
    const char *why = options->card && (printed || options->plot || options->output || options->metric)
                          ? "--card prints a block of its own: leave out --text, --json, --plot, --output and --metrics"
                      : options->json && (options->text || options->plot)
                          ? "--json prints the data alone: leave out --text and --plot"
                      : options->output && (printed || options->plot)
                          ? "--output is where the page goes, and --text, --json and --plot make none: leave it out"
                      : options->metric && !options->text && !options->plot
                          ? "--metrics is what --text and --plot show: say one of them"
                          : NULL;
    return why ? error_set(err, CODE_USAGE, "report: %s", why) : 0;
}

static int report(const struct call *call, struct error *err) {
    const struct report_options *options = call->options;
    json_t *data;
    if (check_options(options, err) != 0) return -1;
    if (options->card) return print_protocol(options->run, options->card - 1, err);
    const char *const written[] = {options->plot, options->output};
    for (size_t i = 0; i < 2; i++)
        if (written[i] &&
            (command_check_output("report", written[i], err) != 0 || file_check_place(written[i], false, err) != 0))
            return -1;
    if (collect_data(&data, options->run, err) != 0) return -1;
    const char *metric = options->metric ? options->metric : json_string_value(json_object_get(data, "metric"));
    char *page = options->output ? strdup(options->output) : text_new("%s/report.html", options->run);
    int rc = page ? 0 : error_memory(err);
    if (rc == 0 && options->metric && !chart_has(data, metric)) rc = refuse_metric(data, metric, options->run, err);
    if (rc == 0 && options->plot) rc = write_plot(data, metric, options->plot, err);
    if (rc == 0 && options->text) rc = print_text(data, metric, err);
    if (rc == 0 && options->json) rc = print_json(data, err);
    if (rc == 0 && !options->plot && !options->text && !options->json) rc = write_page(data, page, err);
    free(page);
    json_decref(data);
    return rc;
}

static const struct option_row rows[] = {
    ROW_RUN(report_options),
    ROW_OUTPUT(report_options, "FILE.html"),
    OPTION(FLAG, report_options, text, "text", .help = "print plot and tables for the terminal instead"),
    ROW_JSON(report_options),
    OPTION(STRING, report_options, plot, "plot", .argument = "FILE",
           .help = "write the figure instead, metric over NFE: .svg, .png (by rsvg-convert)"),
    OPTION(FORM, report_options, card, "card", .choices = protocol_form_names,
           .help = "print how the run was made and what came out instead, for a paper's appendix"),
    OPTION(STRING, report_options, metric, "metrics", .argument = "METRIC",
           .help = "what --plot and --text show, [NETWORK.]NAME as in results.csv; default: the first FID, corrected"),
};

const struct command command_report = {
    "report", "Make a page of a run or a sweep: plots, samples, who is best",
    "RUN is a sweep's folder, finished or not, or a run's. RUN/report.html needs no network. Names the series that is\n"
    "lowest at each NFE, and whether it is ahead of the next: by more than twice the standard error of their "
    "difference,\n"
    "paired by seeds, as compare --versus has it.\n",
    OPTION_TABLE(rows, report_options), report};
