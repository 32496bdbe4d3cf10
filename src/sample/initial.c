/* A job's file of starts. */
#include "sample/initial.h"

#include "base/files.h"
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
    return error_set(err, CODE_DATA,
                     "initial: %s: expected <f4 (float32) [%" PRIu64
                     ",%d,%d,%d], one start a seed in the order of the seed list, each [C,H,W]; found %s [%s]",
                     path, seeds, card->channels, card->height, card->width, descr, shape);
}

static void check_spread(const char *path, double squares, size_t count, double scale) {
    double spread = count > 0 ? sqrt(squares / (double)count) : scale;
    if (spread > scale / 1.5 && spread < scale * 1.5) return;
    log_warn("initial: %s: its values have a deviation of %.3g, and this sampler starts from noise of deviation %.6g; "
             "they are taken as they are: multiply unit normals by initial_scale (qtaylor plan --json)",
             path, spread, scale);
}

struct look {
    const char *path;
    const struct seeds *seeds;
    size_t elements, count; /* of a start; values seen so far */
    double squares;
};

static int look_at(struct look *look, const char *values, size_t count, struct error *err) {
    for (size_t i = 0; i < count; i++, look->count++) {
        float value;
        memcpy(&value, values + i * sizeof value, sizeof value);
        look->squares += (double)value * value;
        if (isfinite(value)) continue;
        size_t row = look->count / look->elements;
        return error_set(err, CODE_DATA,
                         "initial: %s: row %zu (seed %" PRIu64
                         ") is not finite (%g at element %zu): nothing can be made of it",
                         look->path, row, seeds_at(look->seeds, row), value, look->count % look->elements);
    }
    return 0;
}

/* The values from `offset` of the file on, to its end. */
static int look_through(struct look *look, FILE *file, size_t offset, char *buffer, size_t size, struct error *err) {
    size_t expected = look->seeds->count * look->elements * sizeof(float), got;
    struct stat info;
    if (fstat(fileno(file), &info) != 0 || fseek(file, (long)offset, SEEK_SET) != 0)
        return error_set(err, CODE_IO, "cannot read %s: %s", look->path, strerror(errno));
    if ((size_t)info.st_size - offset != expected)
        return error_set(err, CODE_DATA, "%s: expected %zu bytes of elements, found %zu", look->path, expected,
                         (size_t)info.st_size - offset);
    for (size_t left = expected; (got = fread(buffer, 1, left < size ? left : size, file)) > 0; left -= got)
        if (look_at(look, buffer, got / sizeof(float), err) != 0) return -1;
    return ferror(file) ? error_set(err, CODE_IO, "cannot read %s: %s", look->path, strerror(errno)) : 0;
}

int initial_look(const char *path, const struct seeds *seeds, const struct card *card, double scale,
                 struct error *err) {
    enum { SIZE = 4 << 20 }; /* more than any header of version 1 */
    struct look look = {.path = path, .seeds = seeds, .elements = card_elements(card)};
    struct npy npy;
    size_t offset;
    FILE *file = file_stream(path, err);
    if (!file) return -1;
    char *buffer = malloc(SIZE);
    size_t got = buffer ? fread(buffer, 1, SIZE, file) : 0;
    int rc = buffer ? 0 : error_memory(err);
    if (rc == 0 && ferror(file)) rc = error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno));
    if (rc == 0) rc = npy_parse(&npy, &offset, buffer, got, path, err);
    if (rc == 0) rc = initial_fits(&npy, path, seeds->count, card, err);
    if (rc == 0) rc = look_through(&look, file, offset, buffer, SIZE, err);
    if (rc == 0) check_spread(path, look.squares, look.count, scale);
    fclose(file);
    free(buffer);
    return rc;
}
