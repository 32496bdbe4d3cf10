/* Manifest, picture and times of a run. */
#include "work/result.h"

#include "base/files.h"
#include "base/draft.h"
#include "base/hash.h"
#include "base/text.h"
#include "format/json_file.h"
#include "report/picture.h"
#include "run/claim.h"
#include "run/scan.h"
#include "work/shard_maker.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 10 }; /* rows and columns of the picture */

static int compare_manifest(const struct run *run, const struct shard_meta *metas, const struct shard_info *infos,
                            bool *same, struct error *err) {
    struct text text = {0};
    struct error unreadable; /* then it is not the same */
    char *path = text_new("%s/manifest.jsonl", run->dir), *there = NULL;
    size_t size;
    int rc = path ? store_manifest_text(&text, metas, infos, layout_shards(&run->layout), err) : error_memory(err);
    *same = rc == 0 && file_read(path, &there, &size, &unreadable) == 0 && size == text.length &&
            memcmp(there, text.data ? text.data : "", size) == 0;
    free(there);
    free(path);
    text_release(&text);
    return rc;
}

/* guard NULL: only compared with what is there, *same. */
static int manifest(const struct run *run, const struct shard_info *infos, const struct file_guard *guard, bool *same,
                    struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    struct shard_meta *metas = calloc(shards, sizeof *metas);
    uint64_t *seeds = malloc(run->layout.samples * sizeof *seeds);
    int64_t *labels = malloc(run->layout.samples * sizeof *labels);
    int rc = metas && seeds && labels ? 0 : error_memory(err);
    for (uint64_t i = 0; rc == 0 && i < shards; i++) {
        uint64_t first = layout_first(&run->layout, (shard_id){i});
        metas[i] = run_meta(run, (shard_id){i}, SAMPLES, seeds + first, labels + first);
    }
    if (rc == 0 && guard) rc = store_manifest(run->dir, metas, infos, shards, guard, err);
    if (rc == 0 && !guard) rc = compare_manifest(run, metas, infos, same, err);
    free(labels);
    free(seeds);
    free(metas);
    return rc;
}

int result_manifest(const struct run *run, const struct shard_info *infos, const struct file_guard *guard,
                    char digest[SHA256_HEX], struct error *err) {
    if (manifest(run, infos, guard, NULL, err) != 0) return -1;
    store_payload_digest(infos, layout_shards(&run->layout), digest);
    return 0;
}

int result_manifest_same(const struct run *run, const struct shard_info *infos, bool *same, struct error *err) {
    return manifest(run, infos, NULL, same, err);
}

/* Which cell of the sheet a sample goes to: one class a row where there are classes, else in order. -1: none. */
static int cell_of(const struct run *run, uint64_t position, int filled[SIDE]) {
    int64_t classes = run->card.classes;
    int64_t row = classes > 1 ? run_label(run, position) : (int64_t)position / SIDE;
    if (row < 0 || row >= SIDE || filled[row] == SIDE) return -1;
    return (int)row * SIDE + filled[row]++;
}

bool result_has_picture(const struct run *run) {
    int channels = card_sample(&run->card).channels;
    return run->job.output.dtype == SAMPLE_UINT8 && (channels == 1 || channels == 3);
}

int result_picture(const struct run *run, char **path, struct error *err) {
    const struct sample_form form = card_sample(&run->card);
    size_t bytes = sample_elements(&form);
    uint8_t *pixels = calloc(SIDE * SIDE, bytes);
    const uint8_t *cells[SIDE * SIDE] = {NULL};
    int filled[SIDE] = {0}, found = 0, rc = pixels ? 0 : error_memory(err);
    /* Enough samples for ten of each of ten classes, unless the classes are many or rare. */
    uint64_t wanted = run->layout.samples < 100 * SIDE * SIDE ? run->layout.samples : 100 * SIDE * SIDE;
    for (uint64_t i = 0; rc == 0 && found < SIDE * SIDE && i * run->layout.shard_rows < wanted; i++) {
        enum shard_state state;
        struct shard_info info;
        struct error why;
        void *rows = NULL;
        shard_id shard = {i};
        rc = scan_file(run, shard, SAMPLES, "", &state, &info, &rows, &why, err);
        if (rc == 0 && state != SHARD_GOOD)
            rc = error_set(err, CODE_AGAIN, "shard %llu: %s", (unsigned long long)i, why.message);
        for (uint64_t row = 0; rc == 0 && row < layout_rows(&run->layout, shard); row++) {
            int cell = cell_of(run, layout_first(&run->layout, shard) + row, filled);
            if (cell < 0) continue;
            cells[cell] = memcpy(pixels + (size_t)cell * bytes, (const uint8_t *)rows + row * bytes, bytes);
            found++;
        }
        free(rows);
    }
    *path = NULL;
    if (rc == 0 && !(*path = text_new("%s/grid.png", run->dir))) rc = error_memory(err);
    const struct file_guard guard = {.check = claim_guard, .context = run};
    if (rc == 0) rc = picture_grid(*path, cells, SIDE, SIDE, form.height, form.width, form.channels, 0, &guard, err);
    free(pixels);
    return rc;
}

/* ---- rounds ---- */

char *rounds_path(const struct run *run, uint64_t samples) {
    return text_new("%s/" ROUNDS_FOLDER "/%llu.json", run->dir, (unsigned long long)samples);
}

int rounds_read(json_t **result, const struct run *run, uint64_t samples, struct error *err) {
    char *path = rounds_path(run, samples);
    int rc = path ? json_file_read(result, path, err) : error_memory(err);
    free(path);
    return rc;
}

int rounds_surplus(const struct run *run, uint64_t samples, uint64_t *more, struct error *err) {
    struct layout whole = run->layout;
    whole.samples = run->job.seeds.count;
    *more = 0;
    int rc = 0;
    for (shard_id shard = {samples / whole.shard_rows}; rc == 0 && shard.value < layout_shards(&whole); shard.value++) {
        bool there = false;
        char *path = run_path(run, shard, SAMPLES);
        rc = path ? file_exists(path, &there, err) : error_memory(err);
        if (there) *more += layout_rows(&whole, shard);
        free(path);
    }
    return rc;
}

/* Those that had something to do: a rank a shard, a worker a batch. */
static double busy_workers(const struct run *run, double samples, const struct place *place) {
    double shards = ceil(samples / (double)run->layout.shard_rows), batches = ceil(samples / run->job.batch);
    return fmax(fmin(place->all_workers, fmin(shards * place->workers, batches)), 1);
}

json_t *result_generation(const struct run *run, const struct tally *tally, const struct place *place) {
    const double *made = tally->values, samples = made[MADE_SAMPLES];
    double seconds = made[MADE_WORKER] / busy_workers(run, samples, place);
    json_t *decoder = run->card.decoder ? json_real(made[MADE_DECODER]) : NULL;
    return json_pack("{s:I, s:f, s:f, s:f, s:o*, s:f, s:i, s:i}", "samples", (json_int_t)samples, "seconds", seconds,
                     "samples_per_second", seconds > 0 ? samples / seconds : 0, "model_seconds", made[MADE_MODEL],
                     "decoder_seconds", decoder, "nfe",
                     made[MADE_BATCHES] > 0 ? made[MADE_EVALUATIONS] / made[MADE_BATCHES] : 0, "ranks", place->ranks,
                     "workers_per_rank", place->workers);
}

/* Adds what took time; what does not change from round to round is the last one's. *sum NULL: out of memory. */
static void add_generation(json_t **sum, json_t *part) {
    static const char *const added[] = {"seconds", "model_seconds", "decoder_seconds"};
    if (!json_is_object(part)) return;
    double before = json_number_value(json_object_get(*sum, "samples"));
    double more = json_number_value(json_object_get(part, "samples"));
    double nfe = json_number_value(json_object_get(*sum, "nfe")) * before +
                 json_number_value(json_object_get(part, "nfe")) * more;
    double values[sizeof added / sizeof *added];
    for (size_t i = 0; i < sizeof added / sizeof *added; i++)
        values[i] = json_number_value(json_object_get(*sum, added[i])) +
                    json_number_value(json_object_get(part, added[i]));
    if (json_object_update(*sum, part) != 0) json_decref(*sum), *sum = NULL;
    json_map_add(sum, "samples", json_integer((json_int_t)(before + more)));
    json_map_add(sum, "nfe", json_real(before + more > 0 ? nfe / (before + more) : 0));
    for (size_t i = 0; i < sizeof added / sizeof *added; i++)
        if (json_object_get(*sum, added[i])) json_map_add(sum, added[i], json_real(values[i]));
    json_map_add(sum, "samples_per_second", json_real(values[0] > 0 ? (before + more) / values[0] : 0));
}

json_t *rounds_generation(const struct run *run, json_t *own) {
    char *folder = text_new("%s/" ROUNDS_FOLDER, run->dir);
    struct dirent **entries = NULL;
    int count = folder ? scandir(folder, &entries, NULL, versionsort) : 0;
    for (int i = 0; i < count; i++) {
        unsigned long long samples;
        json_t *result = NULL;
        struct error ignored; /* times are no results */
        if (sscanf(entries[i]->d_name, "%llu.json", &samples) == 1 && samples <= run->layout.samples &&
            rounds_read(&result, run, samples, &ignored) == 0)
            add_generation(&own, json_object_get(result, "generation"));
        json_decref(result);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    free(folder);
    if (!own || json_object_size(own) > 0) return own;
    json_decref(own);
    return json_null();
}
