/* Pictures for a report: a strip of small samples for each cell. */
#include "base/files.h"
#include "base/text.h"
#include "job/job.h"
#include "job/seeds.h"
#include "report/picture.h"
#include "format/json_file.h"
#include "report/collect.h"
#include "sample/quantise.h"
#include "shard/frames.h"
#include "shard/store.h"

#include <stdlib.h>
#include <string.h>

/* A page stays below some 6 MB: strips, pixels of a sample's longer side, samples a strip and its width, bytes of a
 * grid. */
enum { STRIPS_MOST = 48, SIDE_MOST = 64, SIDE_LEAST = 44, SAMPLES_MOST = 10, WIDTH_MOST = 540, GRID_BYTES = 4 << 20 };

/* Samples in floats by the run's own rule, as `export` rounds them: new; NULL with *err set. */
static uint8_t *to_pixels(const struct npy *npy, const void *rows, const json_t *document, struct error *err) {
    const json_t *decoder = json_object_get(document, "decoder"), *card = json_object_get(document, "card"),
                 *range = json_object_get(decoder ? decoder : card, "range");
    const char *rule = json_string_value(json_member(json_object_get(document, "job"), "output", "rounding"));
    struct sample_form form = {.channels = (int)npy->shape[1],
                               .height = (int)npy->shape[2],
                               .width = (int)npy->shape[3],
                               .low = range ? json_number_value(json_array_get(range, 0)) : -1,
                               .high = range ? json_number_value(json_array_get(range, 1)) : 1};
    int rounding = 0;
    while (rule && rounding_names[rounding] && strcmp(rule, rounding_names[rounding]) != 0) rounding++;
    if (json_is_null(range)) {
        error_set(err, CODE_DATA, "samples without a range are no pictures");
        return NULL;
    }
    if (!rule || !rounding_names[rounding] || !(form.low < form.high)) {
        error_set(err, CODE_DATA, "run.json does not say how samples become pixels (card.range, job.output.rounding)");
        return NULL;
    }
    uint8_t *pixels = malloc(npy->shape[0] * sample_elements(&form));
    if (pixels) quantise_uint8(rows, npy->type, npy->shape[0], &form, (enum rounding)rounding, pixels);
    else error_memory(err);
    return pixels;
}

struct samples { /* the first of a run, uint8 [count,height,width,channels] */
    uint8_t *pixels;
    size_t count;
    int height, width, channels;
};

/* The first shard's first samples, SAMPLES_MOST at most. */
static int read_samples(struct samples *samples, const char *dir, const json_t *document, uint64_t count,
                        struct error *err) {
    struct npy npy;
    void *rows;
    char *path = store_path(dir, "", NULL, (shard_id){0});
    uint64_t shard = (uint64_t)json_integer_value(json_object_get(document, "shard_rows"));
    *samples = (struct samples){.count = count < SAMPLES_MOST ? count : SAMPLES_MOST};
    if (shard < samples->count) samples->count = shard;
    int rc = path ? frames_read_rows(path, 0, samples->count, &npy, &rows, err) : error_memory(err);
    free(path);
    if (rc != 0) return -1;
    bool bytes = npy.type == NPY_UINT8;
    size_t h = npy.shape[bytes ? 1 : 2], w = npy.shape[bytes ? 2 : 3], c = npy.shape[bytes ? 3 : 1];
    if (npy.rank != 4 || (!bytes && npy.type != NPY_FLOAT32 && npy.type != NPY_FLOAT16) || (c != 1 && c != 3) ||
        h - 1 > 65534 || w - 1 > 65534) {
        free(rows);
        return error_set(err, CODE_DATA, "samples of %zu channels have no picture", c);
    }
    samples->height = (int)h;
    samples->width = (int)w;
    samples->channels = (int)c;
    samples->pixels = rows;
    if (bytes) return 0;
    samples->pixels = to_pixels(&npy, rows, document, err);
    free(rows);
    return samples->pixels ? 0 : -1;
}

/* Makes the samples no larger than SIDE_MOST. */
static int shrink(struct samples *samples, struct error *err) {
    int longer = samples->height > samples->width ? samples->height : samples->width,
        by = (longer + SIDE_MOST - 1) / SIDE_MOST;
    int height = (samples->height + by - 1) / by, width = (samples->width + by - 1) / by;
    size_t small = (size_t)height * (size_t)width * (size_t)samples->channels;
    size_t large = (size_t)samples->height * (size_t)samples->width * (size_t)samples->channels;
    uint8_t *pixels = by > 1 ? malloc(samples->count * small) : NULL;
    if (by == 1) return 0;
    if (!pixels) return error_memory(err);
    for (size_t i = 0; i < samples->count; i++)
        picture_shrink(samples->pixels + i * large, samples->height, samples->width, samples->channels, by,
                       pixels + i * small);
    free(samples->pixels);
    *samples = (struct samples){pixels, samples->count, height, width, samples->channels};
    return 0;
}

static int make_strip(struct page_picture *picture, struct samples *samples, const struct seeds *seeds,
                      struct error *err) {
    const uint8_t *images[SAMPLES_MOST];
    struct text about = {0};
    if (shrink(samples, err) != 0) return -1;
    size_t bytes = (size_t)samples->height * (size_t)samples->width * (size_t)samples->channels;
    int zoom = (SIDE_LEAST + samples->width - 1) / samples->width;
    size_t fit = (size_t)(WIDTH_MOST / (samples->width * zoom + PICTURE_GAP));
    if (samples->count > fit) samples->count = fit;
    text_add(&about, "seeds");
    for (size_t i = 0; i < samples->count; i++) {
        images[i] = samples->pixels + i * bytes;
        text_add(&about, " %llu", (unsigned long long)seeds_at(seeds, i));
    }
    if (about.failed) return error_memory(err);
    picture->about = about.data;
    return picture_sheet(&picture->png, &picture->size, images, 1, (int)samples->count, samples->height, samples->width,
                         samples->channels, zoom, err);
}

/* The strip of the run in a folder. */
static int strip(struct page_picture *picture, const char *dir, struct error *err) {
    struct samples samples = {0};
    struct seeds seeds = {0};
    json_t *document = NULL;
    char *path = text_new("%s/run.json", dir);
    int rc = path ? json_file_read(&document, path, err) : error_memory(err);
    const char *list = json_string_value(json_member(document, "job", "seeds"));
    if (rc == 0) rc = list ? seeds_parse(&seeds, list, err) : error_set(err, CODE_DATA, "%s: no seeds", path);
    if (rc == 0) rc = read_samples(&samples, dir, document, seeds.count, err);
    if (rc == 0) rc = make_strip(picture, &samples, &seeds, err);
    free(samples.pixels);
    seeds_release(&seeds);
    json_decref(document);
    free(path);
    return rc;
}

/* A single run's grid.png as it is; picture->png stays NULL: there is none, or it is too large. */
static int grid(struct page_picture *picture, const char *dir, struct error *err) {
    static const char about[] = "samples in the order of the seeds, one class a row where there are classes";
    char *path = text_new("%s/grid.png", dir);
    int rc = path ? file_read_if_there(path, &picture->png, &picture->size, err) : error_memory(err);
    free(path);
    if (picture->png && picture->size <= GRID_BYTES) return (picture->about = strdup(about)) ? 0 : error_memory(err);
    free(picture->png);
    picture->png = NULL;
    return rc;
}

/* "The same seeds ... 12 cells are left out: ..." */
static int write_note(struct page_pictures *pictures, bool single, size_t beyond, size_t failed, const char *why,
                      struct error *err) {
    struct text note = {0};
    if (!single && pictures->count > 1)
        text_add(&note, "The first samples of each cell in the order of its seeds: what stands below each other starts "
                        "from the same seed, where the cells have the same seeds. ");
    if (beyond) text_add(&note, "%zu cells more are left out to keep the page small. ", beyond);
    if (failed) text_add(&note, "%zu cells have no picture: %s", failed, why);
    pictures->note = note.data;
    return note.failed ? error_memory(err) : 0;
}

int collect_pictures(struct page_pictures *pictures, const json_t *data, struct error *err) {
    const json_t *cells = json_object_get(data, "cells"), *cell;
    const char *dir = json_string_value(json_object_get(data, "dir"));
    bool single = strcmp(json_string_value(json_object_get(data, "kind")), "run") == 0;
    size_t beyond = 0, failed = 0, seen = 0, own = 0, i;
    struct error why = {0};
    json_array_foreach(cells, i, cell) own += !json_is_string(json_object_get(cell, "same_as"));
    *pictures = (struct page_pictures){.items = calloc(STRIPS_MOST, sizeof *pictures->items)};
    if (!pictures->items) return error_memory(err);
    json_array_foreach(cells, i, cell) {
        const char *name = json_string_value(json_object_get(cell, "cell"));
        if (json_is_string(json_object_get(cell, "same_as"))) continue;
        size_t before = seen++ * STRIPS_MOST / own;
        if (seen * STRIPS_MOST / own == before) { /* spread over the sweep */
            beyond++;
            continue;
        }
        struct page_picture *picture = &pictures->items[pictures->count];
        char *folder = text_new("%s/%s", dir, name);
        picture->cell = strdup(single ? "" : name);
        int rc = folder && picture->cell ? 0 : error_memory(err);
        if (rc == 0 && single) rc = grid(picture, folder, err);
        bool shown = rc == 0 && (picture->png || strip(picture, folder, &why) == 0);
        free(folder);
        if (shown) {
            pictures->count++;
            continue;
        }
        failed++;
        free(picture->cell);
        free(picture->about);
        *picture = (struct page_picture){0};
        if (rc == 0 && why.code == CODE_INTERNAL) *err = why, rc = -1; /* no memory is no want of pictures */
        if (rc != 0) return rc;
    }
    return write_note(pictures, single, beyond, failed, why.message, err);
}
