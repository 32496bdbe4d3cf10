/* Chosen rows of a run, read a window of shards at a time. */
#include "export/rows.h"

#include "base/files.h"
#include "base/text.h"
#include "format/png.h"
#include "sample/quantise.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct rows {
    const struct run *run;
    enum row_form form;
    uint64_t count;
    uint64_t *positions; /* in the run's seed list, [count]; NULL: 0, 1, 2, ... */
    int64_t *labels;     /* [count] or NULL */
    struct {             /* the rows at hand */
        uint64_t first, count;
        size_t shards;
        shard_id *shard; /* [window_rows()]: the distinct shards they are in */
        size_t capacity; /* of rows */
        struct row *row;
        char *bytes; /* but for PNGs, whose bytes are each row's own */
    } window;
};

static uint64_t position(const struct rows *rows, uint64_t index) {
    return rows->positions ? rows->positions[index] : index;
}

static shard_id shard_of(const struct rows *rows, uint64_t index) {
    return (shard_id){position(rows, index) / rows->run->layout.shard_rows};
}

/* Of the shard's files. */
static int output_of(const struct rows *rows) {
    return rows->form == ROW_LATENT ? LATENTS : SAMPLES;
}

uint64_t rows_count(const struct rows *rows) {
    return rows->count;
}

uint64_t rows_seed(const struct rows *rows, uint64_t index) {
    return seeds_at(&rows->run->job.seeds, position(rows, index));
}

uint64_t rows_condition(const struct rows *rows, uint64_t index) {
    return run_row(rows->run, position(rows, index));
}

const struct run *rows_run(const struct rows *rows) {
    return rows->run;
}

const int64_t *rows_labels(const struct rows *rows) {
    return rows->labels;
}

struct npy rows_npy(const struct rows *rows) {
    const struct sample_form form = card_sample(&rows->run->card);
    struct npy npy = run_npy(rows->run, (shard_id){0}, output_of(rows));
    if (rows->form == ROW_PIXELS)
        npy = (struct npy){NPY_UINT8, 1, 4, {0, (size_t)form.height, (size_t)form.width, (size_t)form.channels}};
    npy.shape[0] = (size_t)rows->count;
    return npy;
}

/* A window is as many rows as there are in one shard a thread; in order they lie in about as many shards, else in more.
 */
static uint64_t window_rows(const struct rows *rows) {
    uint64_t most = (uint64_t)omp_get_max_threads() * rows->run->layout.shard_rows;
    return most < rows->count ? most : rows->count;
}

/* ---- opening ---- */

static int choose(struct rows *rows, const struct seeds *ids, uint64_t count, struct error *err) {
    const struct run *run = rows->run;
    rows->count = ids ? ids->count : run->layout.samples;
    if (ids && ids->count > run->layout.samples)
        return error_set(err, CODE_DATA, "%s has %" PRIu64 " samples, found %" PRIu64 " asked for", run->dir,
                         run->layout.samples, ids->count);
    if (ids) {
        rows->positions = malloc(ids->count * sizeof *rows->positions);
        if (!rows->positions) return error_memory(err);
        if (seeds_locate(&run->job.seeds, ids, rows->positions, err) != 0) return error_prefix(err, "%s", run->dir);
    }
    if (count > rows->count)
        return error_set(err, CODE_DATA, "%s: expected a count of at most %" PRIu64 ", found %" PRIu64, run->dir,
                         rows->count, count);
    if (count) rows->count = count;
    return 0;
}

/* A shard that is not there is better known before anything is written. */
static int find_gaps(const struct rows *rows, struct error *err) {
    uint64_t shards = layout_shards(&rows->run->layout), missing = 0, ranges = 0;
    uint64_t *wanted = calloc(shards, sizeof *wanted); /* rows of each */
    struct text list = {0};
    if (!wanted) return error_memory(err);
    for (uint64_t i = 0; i < rows->count; i++) wanted[shard_of(rows, i).value]++;
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < shards; i++) {
        char *path = wanted[i] ? run_path(rows->run, (shard_id){i}, output_of(rows)) : NULL;
        bool there = false;
        if (wanted[i]) rc = path ? file_exists(path, &there, err) : error_memory(err);
        if (there) wanted[i] = 0;
        free(path);
    }
    for (uint64_t i = 0; rc == 0 && i < shards; i++) {
        uint64_t last = i;
        if (wanted[i] == 0) continue;
        while (last + 1 < shards && wanted[last + 1]) last++;
        text_add_range(&list, &ranges, i, last);
        for (; i <= last; i++) missing += wanted[i];
    }
    if (rc == 0 && missing > 0)
        rc = error_set(err, CODE_AGAIN,
                       "%s is incomplete: %" PRIu64 " of the %" PRIu64
                       " samples asked for are missing (shards %s): run the job again to make them",
                       rows->run->dir, missing, rows->count, list.data ? list.data : "?");
    text_release(&list);
    free(wanted);
    return rc;
}

int rows_open(struct rows **rows, const struct run *run, const struct seeds *ids, uint64_t count, enum row_form form,
              struct error *err) {
    bool labelled = run->card.classes > 0 && run->job.labels.rule != LABELS_NONE;
    const struct sample_form sample = card_sample(&run->card);
    struct rows *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    *made = (struct rows){.run = run, .form = form};
    int rc = choose(made, ids, count, err);
    if (rc == 0 && (form == ROW_PNG || form == ROW_PIXELS) && !sample_bounded(&sample))
        rc = error_set(err, CODE_DATA, "%s: its samples have no range, and are no pictures: export them as npy",
                       run->dir);
    if (rc == 0 && form == ROW_PNG && sample.channels != 1 && sample.channels != 3)
        rc = error_set(err, CODE_DATA, "%s: a PNG has 1 or 3 channels, the samples have %d: export them as npz or npy",
                       run->dir, sample.channels);
    if (rc == 0 && form == ROW_LATENT && !run_wants(run, LATENTS))
        rc = error_set(err, CODE_DATA, "%s keeps no latents: its job does not say output.latents", run->dir);
    if (rc == 0) rc = find_gaps(made, err);
    if (rc == 0 && labelled && !(made->labels = malloc(made->count * sizeof *made->labels))) rc = error_memory(err);
    if (rc == 0 && !(made->window.shard = malloc(window_rows(made) * sizeof(shard_id)))) rc = error_memory(err);
    if (rc != 0) {
        rows_close(made);
        return -1;
    }
    *rows = made;
    return 0;
}

static void window_clear(struct rows *rows) {
    for (uint64_t i = 0; rows->form == ROW_PNG && i < rows->window.count; i++) free(rows->window.row[i].bytes);
    rows->window.count = 0;
}

void rows_close(struct rows *rows) {
    if (!rows) return;
    window_clear(rows);
    free(rows->window.bytes);
    free(rows->window.row);
    free(rows->window.shard);
    free(rows->labels);
    free(rows->positions);
    free(rows);
}

/* ---- a window ---- */

static bool has_shard(const struct rows *rows, shard_id shard) {
    for (size_t k = rows->window.shards; k-- > 0;)
        if (rows->window.shard[k].value == shard.value) return true;
    return false;
}

static int window_place(struct rows *rows, uint64_t first, struct error *err) {
    uint64_t left = rows->count - first, count = left < window_rows(rows) ? left : window_rows(rows);
    size_t row_bytes = 0;
    rows->window.shards = 0;
    for (uint64_t i = 0; i < count; i++)
        if (!has_shard(rows, shard_of(rows, first + i)))
            rows->window.shard[rows->window.shards++] = shard_of(rows, first + i);
    if (rows->form != ROW_PNG) {
        struct npy npy = rows_npy(rows);
        row_bytes = npy_row_bytes(&npy);
    }
    if (count > rows->window.capacity) {
        free(rows->window.row);
        free(rows->window.bytes);
        rows->window.capacity = 0;
        rows->window.row = malloc(count * sizeof *rows->window.row);
        rows->window.bytes = row_bytes ? malloc(count * row_bytes) : NULL;
        if (!rows->window.row || (row_bytes && !rows->window.bytes)) return error_memory(err);
        rows->window.capacity = count;
    }
    for (uint64_t i = 0; i < count; i++)
        rows->window.row[i] = (struct row){row_bytes ? rows->window.bytes + i * row_bytes : NULL, row_bytes};
    rows->window.first = first;
    rows->window.count = count;
    return 0;
}

/* Floats -> pixels: new. */
static uint8_t *round_sample(const struct run *run, const void *stored) {
    const struct sample_form form = card_sample(&run->card);
    uint8_t *pixels = malloc(sample_elements(&form));
    if (pixels)
        quantise_uint8(stored, run->job.output.dtype == SAMPLE_FLOAT16 ? NPY_FLOAT16 : NPY_FLOAT32, 1, &form,
                       run->job.output.rounding, pixels);
    return pixels;
}

int row_convert(const struct run *run, enum row_form form, const void *stored, struct row *row, struct error *err) {
    const struct sample_form sample = card_sample(&run->card);
    struct image_shape shape = {sample.height, sample.width, sample.channels};
    uint8_t *rounded = NULL;
    int rc = 0;
    if (form != ROW_STORED && form != ROW_LATENT && run->job.output.dtype != SAMPLE_UINT8) {
        if (!(rounded = round_sample(run, stored))) return error_memory(err);
        stored = rounded;
    }
    if (form == ROW_PNG) rc = png_encode(stored, &shape, &row->bytes, &row->size, err);
    else memcpy(row->bytes, stored, row->size);
    free(rounded);
    return rc;
}

/* A shard's verified samples or latents, and labels, both new. */
static int load(const struct run *run, shard_id shard, int output, char **samples, int64_t **labels,
                struct error *err) {
    uint64_t count = layout_rows(&run->layout, shard);
    uint64_t *seeds = malloc(count * sizeof *seeds);
    char *path = run_path(run, shard, output);
    void *stored = NULL;
    int rc = -1;
    *labels = malloc(count * sizeof **labels);
    if (!seeds || !path || !*labels) {
        error_memory(err);
    } else {
        struct shard_meta meta = run_meta(run, shard, output, seeds, *labels);
        struct npy npy = run_npy(run, shard, output);
        enum shard_state state;
        struct error why;
        rc = store_load(path, &meta, &npy, &state, &stored, *labels, &why, err);
        if (rc == 0 && state != SHARD_GOOD)
            rc = error_set(err, CODE_AGAIN, "%s is %s%s%s: run the job again to make it", path,
                           shard_state_names[state], why.message[0] ? ": " : "", why.message);
    }
    *samples = stored;
    free(path);
    free(seeds);
    return rc;
}

static int window_fill(struct rows *rows, shard_id shard, struct error *err) {
    const struct run *run = rows->run;
    struct npy npy = run_npy(run, shard, output_of(rows));
    size_t bytes = npy_row_bytes(&npy);
    char *samples;
    int64_t *labels;
    int rc = load(run, shard, output_of(rows), &samples, &labels, err);
    for (uint64_t i = 0; rc == 0 && i < rows->window.count; i++) {
        uint64_t index = rows->window.first + i, row = position(rows, index) - layout_first(&run->layout, shard);
        if (shard_of(rows, index).value != shard.value) continue;
        if (rows->labels) rows->labels[index] = labels[row];
        rc = row_convert(run, rows->form, samples + row * bytes, &rows->window.row[i], err);
    }
    free(labels);
    free(samples);
    return rc;
}

int rows_at(struct rows *rows, uint64_t index, const struct row **row, uint64_t *count, struct error *err) {
    if (index - rows->window.first >= rows->window.count) { /* also before it: unsigned */
        int rc = 0;
        window_clear(rows);
        if (window_place(rows, index, err) != 0) return -1;
#pragma omp parallel for schedule(dynamic)
        for (size_t k = 0; k < rows->window.shards; k++) {
            struct error one;
            if (window_fill(rows, rows->window.shard[k], &one) != 0) {
#pragma omp critical(export_failure)
                rc = (*err = one, -1);
            }
        }
        if (rc != 0) {
            window_clear(rows);
            return -1;
        }
    }
    *row = rows->window.row + (index - rows->window.first);
    *count = rows->window.count - (index - rows->window.first);
    return 0;
}
