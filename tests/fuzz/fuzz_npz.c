/* An .npz file: statistics, or features. What is no zip archive becomes members of one, so that the arrays themselves
 * are reached without a checksum in the way: `mu` up to the first "\n\n\n", `sigma` behind it. */
#include "fuzz.h"

#include "eval/features.h"
#include "format/npz.h"
#include "eval/statistics.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

static void add(zip_t *zip, const char *name, const void *data, size_t size) {
    zip_source_t *source = zip_source_buffer(zip, data, size, 0);
    if (!source || zip_file_add(zip, name, source, 0) < 0) abort();
}

/* *archive: new. */
static size_t wrap(const uint8_t *data, size_t size, char **archive) {
    zip_error_t error;
    zip_source_t *out = zip_source_buffer_create(NULL, 0, 0, &error);
    zip_t *zip = out ? zip_open_from_source(out, ZIP_TRUNCATE, &error) : NULL;
    if (!zip) abort();
    zip_source_keep(out);
    const uint8_t *cut = memmem(data, size, "\n\n\n", 3);
    size_t first = cut ? (size_t)(cut - data) : size, second = cut ? size - first - 3 : 0;
    add(zip, "mu.npy", data, first);
    add(zip, "sigma.npy", cut ? cut + 3 : data, second);
    add(zip, "features.npy", data, first);
    add(zip, "count.npy", cut ? cut + 3 : data, second);
    if (zip_close(zip) != 0) abort();
    zip_stat_t stat;
    if (zip_source_stat(out, &stat) != 0 || zip_source_open(out) != 0 || !(*archive = malloc(stat.size))) abort();
    if (zip_source_read(out, *archive, stat.size) != (zip_int64_t)stat.size) abort();
    zip_source_close(out);
    zip_source_free(out);
    return stat.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"mu", "sigma", "features", "arr_0", "network"};
    struct statistics statistics;
    struct features features;
    struct features_origin origin;
    struct npz *npz;
    struct error err;
    char *archive = NULL;
    bool raw = size >= 2 && memcmp(data, "PK", 2) == 0;
    size_t length = raw ? size : wrap(data, size, &archive);
    const char *path = fuzz_file(raw ? (const void *)data : archive, length);
    free(archive);
    if (npz_open(&npz, path, &err) != 0) return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct npy npy;
        if (npz_has(npz, names[i])) npz_header(npz, names[i], &npy, &err);
    }
    npz_close(npz);
    if (statistics_read(&statistics, path, "", &err) == 0) statistics_release(&statistics);
    if (features_read(&features, &origin, path, &err) == 0) features_release(&features);
    return 0;
}
