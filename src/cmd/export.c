/* export: a run's samples in the forms that other programs read. */
#include "export/export.h"

#include "base/files.h"
#include "base/print.h"
#include "base/stale.h"
#include "base/text.h"
#include "cli/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum form { TO_PNG, TO_NPZ, TO_NPY };
static const char *const form_names[] = {"png", "npz", "npy", NULL};

struct export_options {
    const char *run, *output, *ids, *prompts;
    int to; /* enum form */
    uint64_t count;
    bool subdirs, latents, force, json;
};

/* Where it goes when nobody says: new. */
static char *usual_path(const struct run *run, enum form to, bool latents, const struct rows *rows) {
    if (to == TO_PNG) return text_new("%s/png", run->dir);
    struct npy npy = rows_npy(rows);
    return text_new("%s/%s_%zux%zux%zux%zu.%s", run->dir, latents ? LATENTS_FOLDER : "samples", npy.shape[0],
                    npy.shape[1], npy.shape[2], npy.shape[3], form_names[to]);
}

/* A file is replaced when that is wished; a folder of somebody's pictures never is. */
static int check_place(const char *path, bool folder, bool force, struct error *err) {
    struct stat info;
    bool there;
    if (command_check_output("export", path, err) != 0 || file_look(path, &info, &there, err) != 0) return -1;
    if (there) {
        if (S_ISDIR(info.st_mode) != folder)
            return error_set(err, CODE_USAGE, "export: %s is a %s: give another --output", path,
                             folder ? "file" : "folder");
        if (folder && rmdir(path) != 0)
            return error_set(err, CODE_USAGE,
                             "export: %s is there already, and not empty: remove it, or give another --output", path);
        if (!folder && !force)
            return error_set(err, CODE_USAGE,
                             "export: %s is there already: say --force to replace it, or give another --output", path);
    }
    if (file_check_place(path, folder, err) != 0) return -1;
    char *parent = path_folder(path);
    int rc = parent ? folder_make(parent, err) : error_memory(err);
    free(parent);
    return rc == 0 ? stale_remove_path(path, err) : rc;
}

static int print_result(const struct export_options *options, const struct rows *rows, const char *path,
                        struct error *err) {
    bool labels = rows_labels(rows) && options->to != TO_NPY;
    if (!options->json) {
        print_line(stdout, "%s: %" PRIu64 " sample%s%s", path, rows_count(rows), rows_count(rows) == 1 ? "" : "s",
                   labels ? ", with labels" : "");
        return 0;
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:b}", "run", options->run, "to", form_names[options->to], "output",
                             path, "samples", (json_int_t)rows_count(rows), "labels", labels);
    int rc = json ? print_json(json, err) : error_memory(err);
    json_decref(json);
    return rc;
}

static int export_to(const struct export_options *options, const struct run *run, struct rows *rows,
                     struct error *err) {
    bool png = options->to == TO_PNG, zip = png && options->output && text_ends_in(options->output, ".zip");
    char *path = options->output ? strdup(options->output) : usual_path(run, options->to, options->latents, rows);
    for (size_t end = path ? strlen(path) : 0; end > 1 && path[end - 1] == '/';) path[--end] = '\0';
    int rc = path ? 0 : error_memory(err);
    if (rc == 0 && options->json && (rc = path_check_utf8(options->run, err)) == 0) rc = path_check_utf8(path, err);
    if (rc == 0) rc = check_place(path, png && !zip, options->force, err);
    if (rc == 0) {
        if (zip) rc = export_zip(rows, path, err);
        else if (options->prompts) rc = export_prompts(rows, path, options->prompts, err);
        else if (png) rc = export_folder(rows, path, options->subdirs, err);
        else rc = options->to == TO_NPZ ? export_npz(rows, path, err) : export_npy(rows, path, err);
    }
    if (rc == 0) rc = print_result(options, rows, path, err);
    free(path);
    return rc;
}

static int export(const struct call *call, struct error *err) {
    static const enum row_form forms[] = {[TO_PNG] = ROW_PNG, [TO_NPZ] = ROW_PIXELS, [TO_NPY] = ROW_STORED};
    const struct export_options *options = call->options;
    struct run run;
    struct seeds ids = {0};
    struct rows *rows = NULL;
    if (options->subdirs && (options->to != TO_PNG || (options->output && text_ends_in(options->output, ".zip"))))
        return error_set(err, CODE_USAGE, "export: --subdirs is for a folder of PNGs: leave it out");
    if (options->prompts &&
        (options->subdirs || options->to != TO_PNG || (options->output && text_ends_in(options->output, ".zip"))))
        return error_set(err, CODE_USAGE,
                         "export: --prompts is for a folder of PNGs, without --subdirs: --to png -o FOLDER");
    if (options->latents && options->to != TO_NPY)
        return error_set(err, CODE_USAGE, "export: --latents are one array: say --to npy");
    if (options->ids && seeds_parse(&ids, options->ids, err) != 0) {
        error_prefix(err, "--ids");
        err->code = CODE_USAGE;
        return -1;
    }
    int rc = command_open_run(&run, options->run, err);
    if (rc == 0) {
        rc = rows_open(&rows, &run, options->ids ? &ids : NULL, options->count,
                       options->latents ? ROW_LATENT : forms[options->to], err);
        if (rc == 0) rc = export_to(options, &run, rows, err);
        rows_close(rows);
        run_close(&run);
    }
    seeds_release(&ids);
    return rc;
}

static const struct option_row rows[] = {
    ROW_RUN(export_options),
    OPTION(CHOICE, export_options, to, "to", .help = "the form, see above", .choices = form_names, .required = true),
    ROW_OUTPUT(export_options, "PATH"),
    OPTION(STRING, export_options, ids, "ids", .argument = "IDS", .help = "only these seeds, as in 0-99,200"),
    ROW_COUNT(export_options),
    OPTION(FLAG, export_options, subdirs, "subdirs", .help = "PNGs in folders of 1000"),
    OPTION(STRING, export_options, prompts, "prompts", .argument = "FILE.jsonl",
           .help = "PNGs in a folder a row of the conditions, beside its line of FILE: for GenEval's scorer"),
    OPTION(FLAG, export_options, latents, "latents", .help = "with --to npy: the latents that the run keeps"),
    ROW_FORCE(export_options),
    ROW_JSON(export_options),
};

const struct command command_export = {
    "export", "Write a run's samples as PNGs, ADM's npz, or one array",
    "  png   a folder of {seed:06d}.png, with --subdirs as EDM's generate.py makes it (000000/000123.png); or, where "
    "PATH\n"
    "        ends in .zip, one archive as EDM's dataset tool makes it (00000/img00000123.png, stored). Samples of "
    "classes\n"
    "        come with a dataset.json, those of conditions with a metadata.jsonl. EDM's and StyleGAN's readers and "
    "fid.py, pytorch-fid and clean-fid take them.\n"
    "  npz   ADM's sample file: arr_0 uint8 [N,H,W,C]; where there are classes, arr_1 int64 [N]; of any size\n"
    "  npy   one array as it is stored: uint8 [N,H,W,C], or float32 or float16 [N,C,H,W]\n"
    "PNGs and npz of a run in floats are rounded by the run's rule. Samples come in the run's order, or in that of "
    "--ids.\n"
    "PATH is by default RUN/png, RUN/samples_NxHxWxC.npz or .npy; it appears whole or not at all. A file is replaced "
    "only with\n"
    "--force, a folder, link or device never. Every shard is verified; one that is needed and is missing or damaged is "
    "exit\n"
    "status 75.\n",
    OPTION_TABLE(rows, export_options), export};
