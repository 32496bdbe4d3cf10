#include "export/export.h"

#include "base/files.h"
#include "base/print.h"
#include "base/text.h"
#include "cmd/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int command_open_run(struct run *run, const char *dir, struct error *err) {
    json_t *document;
    if (document_read(&document, dir, err) != 0) return -1;
    return run_open(run, document, dir, false, err);
}

static bool ends_in(const char *path, const char *extension) {
    size_t length = strlen(path), end = strlen(extension);
    return length > end && strcmp(path + length - end, extension) == 0;
}

/* Where it goes when nobody says: new. */
static char *usual_path(const struct run *run, const char *to, const struct rows *rows) {
    if (strcmp(to, "png") == 0) return text_new("%s/png", run->dir);
    struct npy npy = rows_npy(rows);
    return text_new("%s/samples_%zux%zux%zux%zu.%s", run->dir, npy.shape[0], npy.shape[1], npy.shape[2], npy.shape[3], to);
}

/* A file is replaced when that is wished; a folder of somebody's pictures never is. */
static int check_place(const char *path, bool folder, bool force, struct error *err) {
    struct stat info;
    bool there;
    if (file_look(path, &info, &there, err) != 0) return -1;
    if (there) {
        if (S_ISDIR(info.st_mode) != folder)
            return error_set(err, CODE_USAGE, "export: %s is a %s: give another --output", path, folder ? "file" : "folder");
        if (folder && rmdir(path) != 0)
            return error_set(err, CODE_USAGE, "export: %s is there already, and not empty: remove it, or give another --output", path);
        if (!folder && !force)
            return error_set(err, CODE_USAGE, "export: %s is there already: say --force to replace it, or give another --output", path);
    }
    if (file_check_place(path, folder, err) != 0) return -1;
    char *parent = path_folder(path);
    int rc = parent ? folder_make(parent, err) : error_memory(err);
    free(parent);
    return rc == 0 ? draft_remove_stale(path, err) : rc;
}

static int print_result(const struct options *options, const struct rows *rows, const char *path, struct error *err) {
    bool labels = rows_labels(rows) && strcmp(options->to, "npy") != 0;
    if (!options->json) {
        print_line(stdout, "%s: %" PRIu64 " samples%s", path, rows_count(rows), labels ? ", with labels" : "");
        return 0;
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:b}", "run", options->operand, "to", options->to, "output", path, "samples",
                             (json_int_t)rows_count(rows), "labels", labels);
    int rc = json ? print_json(json, err) : error_memory(err);
    json_decref(json);
    return rc;
}

static int export_to(const struct options *options, const struct run *run, struct rows *rows, struct error *err) {
    bool png = strcmp(options->to, "png") == 0, zip = png && options->output && ends_in(options->output, ".zip");
    char *path = options->output ? strdup(options->output) : usual_path(run, options->to, rows);
    for (size_t end = path ? strlen(path) : 0; end > 1 && path[end - 1] == '/';) path[--end] = '\0';
    int rc = path ? 0 : error_memory(err);
    if (rc == 0 && options->json && (rc = path_check_utf8(options->operand, err)) == 0) rc = path_check_utf8(path, err);
    if (rc == 0) rc = check_place(path, png && !zip, options->force, err);
    if (rc == 0) {
        if (zip) rc = export_zip(rows, path, err);
        else if (png) rc = export_folder(rows, path, options->subdirs, err);
        else rc = strcmp(options->to, "npz") == 0 ? export_npz(rows, path, err) : export_npy(rows, path, err);
    }
    if (rc == 0) rc = print_result(options, rows, path, err);
    free(path);
    return rc;
}

static int check_options(const struct options *options, enum row_form *form, struct error *err) {
    static const struct { const char *to; enum row_form form; } forms[] = {
        {"png", ROW_PNG}, {"npz", ROW_PIXELS}, {"npy", ROW_STORED}};
    bool zip = options->output && ends_in(options->output, ".zip"), png = options->to && strcmp(options->to, "png") == 0;
    if (options->subdirs && (zip || !png))
        return error_set(err, CODE_USAGE, "export: --subdirs is for a folder of PNGs: leave it out");
    for (size_t i = 0; options->to && i < sizeof forms / sizeof *forms; i++)
        if (strcmp(options->to, forms[i].to) == 0) {
            *form = forms[i].form;
            return 0;
        }
    return error_set(err, CODE_USAGE, "export: --to: expected png, npz or npy, found %s", options->to ? options->to : "none");
}

static int export_run(const struct options *options, struct error *err) {
    struct run run;
    struct seeds ids = {0};
    struct rows *rows = NULL;
    enum row_form form = ROW_STORED;
    if (check_options(options, &form, err) != 0) return -1;
    if (options->ids && seeds_parse(&ids, options->ids, err) != 0) {
        error_prefix(err, "--ids");
        err->code = CODE_USAGE;
        return -1;
    }
    int rc = command_open_run(&run, options->operand, err);
    if (rc == 0) {
        rc = rows_open(&rows, &run, options->ids ? &ids : NULL, options->count, form, err);
        if (rc == 0) rc = export_to(options, &run, rows, err);
        rows_close(rows);
        run_close(&run);
    }
    seeds_free(&ids);
    return rc;
}

static int export(int argc, char **argv, struct error *err) {
    struct options options;
    bool done;
    int rc = options_parse(&options, argc, argv, &command_export, "tIcoSFj", &done, err);
    if (rc == 0 && !done) rc = export_run(&options, err);
    options_free(&options);
    return rc;
}

const struct command command_export = {
    "export", "RUN --to png|npz|npy [--output PATH] [--ids IDS] [--count N] [--subdirs] [--force] [--json]",
    "Write a run's samples as PNGs, ADM's npz, or one array",
    "  png   a folder of {seed:06d}.png, with --subdirs as EDM's generate.py makes it (000000/000123.png); or, where PATH\n"
    "        ends in .zip, one archive as EDM's dataset tool makes it (00000/img00000123.png, stored). Samples of classes\n"
    "        come with a dataset.json. EDM's and StyleGAN's readers and fid.py, pytorch-fid and clean-fid take them.\n"
    "  npz   ADM's sample file: arr_0 uint8 [N,H,W,C]; where there are classes, arr_1 int64 [N]; of any size\n"
    "  npy   one array as it is stored: uint8 [N,H,W,C], or float32 [N,C,H,W]\n"
    "PNGs and npz of a float32 run are rounded by the run's rule. Samples come in the run's order, or in that of --ids.\n"
    "PATH is by default RUN/png, RUN/samples_NxHxWxC.npz or .npy; it appears whole or not at all. A file is replaced only with\n"
    "--force, a folder, link or device never. Every shard is verified; one that is needed and is missing or damaged is exit\n"
    "status 75.\n",
    export};
