/* For tests of shards: what files say of themselves, and a folder for each test. */
#ifndef SHARD_FILES_H
#define SHARD_FILES_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/text.h"
#include "shard/frames.h"
#include "shard/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER_HEX "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

enum { ROWS = 5 };
static const uint64_t seeds[ROWS] = {8, 9, 20, UINT64_MAX, 0}, later_seeds[ROWS] = {21, 22, 23, 24, 25};
static const int64_t labels[ROWS] = {0, -1, 9, 3, 3}, other_labels[ROWS] = {0, -1, 9, 3, 4};
static const struct shard_meta sample_meta = {
    .id = {12}, .rows = ROWS, .seeds = seeds, .labels = labels, .fingerprint = HEX};
static const struct shard_meta feature_meta = {
    .id = {12}, .rows = ROWS, .seeds = seeds, .fingerprint = HEX, .network = OTHER_HEX, .output = "pool"};
static const struct npy bytes_npy = {NPY_UINT8, 1, 4, {ROWS, 2, 2, 1}};
static const uint8_t bytes[ROWS * 4] = {0, 1, 2, 3, 255, 254, 0, 0, 9, 9, 9, 9, 1, 2, 3, 4, 100, 50, 25, 12};

static char folder[32];
static char *path, *run; /* a file, and a run directory, in it */

static inline int folder_new(void **state) {
    (void)state;
    strcpy(folder, "/tmp/test_shard_XXXXXX");
    if (!mkdtemp(folder)) return -1;
    path = text_new("%s/000012.npy.zst", folder);
    run = text_new("%s/run", folder);
    return path && run ? 0 : -1;
}

static inline int folder_remove(void **state) {
    (void)state;
    char *command = text_new("rm -r %s", folder);
    int rc = system(command);
    free(command);
    free(path);
    free(run);
    return rc;
}

static inline void write_bytes(const char *file, size_t size) {
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(file, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

#define SHARD_TEST(name) cmocka_unit_test_setup_teardown(name, folder_new, folder_remove)

#endif
