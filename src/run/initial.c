#include "run/initial.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int initial_fits(const struct npy *npy, const char *path, uint64_t seeds, const struct card *card, struct error *err) {
    const size_t expected[] = {(size_t)seeds, (size_t)card->channels, (size_t)card->height, (size_t)card->width};
    char descr[NPY_DESCR], shape[100] = "";
    if (npy->type == NPY_FLOAT32 && npy->rank == 4 && memcmp(npy->shape, expected, sizeof expected) == 0) return 0;
    npy_descr(npy, descr);
    for (int i = 0, at = 0; i < npy->rank; i++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, i == 0 ? "%zu" : ",%zu", npy->shape[i]);
    return error_set(err, CODE_DATA, "initial: %s: expected <f4 (float32) [%" PRIu64 ",%d,%d,%d], one start a seed in the order "
                     "of the seed list, each [C,H,W]; found %s [%s]", path, seeds, card->channels, card->height, card->width,
                     descr, shape);
}

static void check_spread(const char *path, const char *values, size_t count, double scale) {
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, values + i * sizeof value, sizeof value);
        squares += (double)value * value;
    }
    double spread = count > 0 ? sqrt(squares / (double)count) : scale;
    if (spread > scale / 1.5 && spread < scale * 1.5) return;
    log_warn("initial: %s: its values have a deviation of %.3g, and this sampler starts from noise of deviation %.6g; they are taken "
             "as they are: multiply unit normals by initial_scale (qtaylor plan --json)", path, spread, scale);
}

int initial_look(const char *path, uint64_t seeds, const struct card *card, double scale, struct error *err) {
    enum { MOST = 4 << 20 };
    struct npy npy;
    size_t offset;
    FILE *file = fopen(path, "rbe");
    if (!file) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    char *start = malloc(MOST);
    size_t got = start ? fread(start, 1, MOST, file) : 0;
    int rc = start ? 0 : error_memory(err);
    if (rc == 0 && ferror(file)) rc = error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
    fclose(file);
    if (rc == 0) rc = npy_parse(&npy, &offset, start, got, path, err);
    if (rc == 0) rc = initial_fits(&npy, path, seeds, card, err);
    if (rc == 0) check_spread(path, start + offset, (got - offset) / sizeof(float), scale);
    free(start);
    return rc;
}
