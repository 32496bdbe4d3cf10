/* Runs a target over files without libFuzzer: replay FILE|FOLDER... */
#include "fuzz.h"

#include "base/files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int replay(const char *path) {
    struct error err;
    char *data;
    size_t size;
    if (file_read(path, &data, &size, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    free(data);
    return 0;
}

static int replay_folder(const char *folder) {
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), rc = 0, files = 0;
    if (count < 0) return replay(folder);
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            rc |= replay(path);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    if (files == 0) fprintf(stderr, "%s is empty\n", folder);
    return files ? rc : -1;
}

int main(int argc, char **argv) {
    int rc = argc > 1 ? 0 : -1;
    for (int i = 1; i < argc; i++) rc |= replay_folder(argv[i]);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
