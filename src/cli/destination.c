/* Where a command may write: not over what a run or sweep keeps of itself. */
#include "cli/command.h"

#include "base/files.h"
#include "base/text.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a run's or sweep's folder keeps, by names in it (docs/formats.md); pictures and reports are made
 * again. Patterns of fnmatch. */
static const char *const records[] = {"run.json",     "samples",         "features",    "manifest.jsonl",
                                      "metrics.json", "quarantine.json", "log",         "progress.json",
                                      "sweep.json",   "results.json",    "results.csv", "metrics-*.json",
                                      "latents",      "rounds",          "race.json",   "references"};

static int is_run(const char *folder, bool *is, struct error *err) {
    static const char *const marks[] = {"run.json", "sweep.json", "results.json"};
    *is = false;
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !*is; i++)
        if (folder_has(folder, marks[i], is, err) != 0) return -1;
    return 0;
}

/* *record: path is one, or lies in one. Looks at each of its folders, from the last on; cuts path up. */
static int look(char *path, bool *record, struct error *err) {
    *record = false;
    for (char *slash; !*record && (slash = strrchr(path, '/'));) {
        bool named = false, is = false;
        for (size_t i = 0; i < sizeof records / sizeof *records; i++) named |= fnmatch(records[i], slash + 1, 0) == 0;
        *slash = '\0';
        if (named && is_run(slash == path ? "/" : path, &is, err) != 0) return -1;
        *record = is;
        if (slash == path) break;
    }
    return 0;
}

int command_check_output(const char *command, const char *path, struct error *err) {
    char *folder = path_folder(path), *real = folder ? realpath(folder, NULL) : NULL;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *ways[] = {text_new("%s%s", *path == '/' ? "" : "./", path), real ? text_new("%s/%s", real, name) : NULL};
    bool record = false;
    int rc = folder && ways[0] && (!real || ways[1]) ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && !record && i < 2; i++)
        if (ways[i]) rc = look(ways[i], &record, err);
    if (rc == 0 && record)
        rc = error_set(err, CODE_USAGE, "%s: %s is a run's own record, or lies among them: give another --output",
                       command, path);
    for (size_t i = 0; i < 2; i++) free(ways[i]);
    free(real);
    free(folder);
    return rc;
}

int command_check_file(const char *command, const char *path, const char *input, struct error *err) {
    char *folder = path_folder(path);
    struct stat info, read;
    bool there = false, other = false;
    int rc = folder ? command_check_output(command, path, err) : error_memory(err);
    if (rc == 0) rc = file_exists(folder, &there, err);
    if (rc == 0 && !there) rc = error_set(err, CODE_IO, "cannot write %s: there is no folder %s", path, folder);
    free(folder);
    if (rc == 0) rc = file_look(path, &info, &there, err);
    if (rc == 0) rc = file_look(input, &read, &other, err);
    if (rc == 0 && there && other && info.st_dev == read.st_dev && info.st_ino == read.st_ino)
        rc = error_set(err, CODE_USAGE, "%s: --output %s is what is read: give another name", command, path);
    return rc == 0 ? file_check_place(path, false, err) : -1;
}
