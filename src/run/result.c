#include "run/result.h"

#include "base/text.h"
#include "eval/moments.h"
#include "eval/score.h"
#include "report/picture.h"
#include "run/scan.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 10 }; /* rows and columns of the picture */

int result_manifest(const struct run *run, const struct shard_info *infos, char digest[SHA256_HEX], struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    struct shard_meta *metas = calloc(shards, sizeof *metas);
    uint64_t *seeds = malloc(run->layout.samples * sizeof *seeds);
    int64_t *labels = malloc(run->layout.samples * sizeof *labels);
    int rc = metas && seeds && labels ? 0 : error_memory(err);
    for (uint64_t i = 0; rc == 0 && i < shards; i++) {
        uint64_t first = layout_first(&run->layout, (shard_id){i});
        metas[i] = run_meta(run, (shard_id){i}, false, seeds + first, labels + first);
    }
    if (rc == 0) rc = store_manifest(run->dir, metas, infos, shards, err);
    if (rc == 0) store_payload_digest(infos, shards, digest);
    free(labels);
    free(seeds);
    free(metas);
    return rc;
}

/* Moments of all features, shard after shard in id order: the same bits for any number of ranks. */
static int gather_moments(const struct run *run, struct moments *moments, struct error *err) {
    for (uint64_t i = 0; i < layout_shards(&run->layout); i++) {
        shard_id shard = {i};
        enum shard_state state;
        struct shard_info info;
        struct error why;
        void *rows = NULL;
        if (scan_file(run, shard, true, &state, &info, &rows, &why, err) != 0) return -1;
        if (state != SHARD_GOOD)
            return error_set(err, CODE_AGAIN, "features of shard %llu are %s (%s): run again to continue",
                             (unsigned long long)i, shard_state_names[state], why.message);
        int rc = moments_add(moments, rows, (size_t)layout_rows(&run->layout, shard), err);
        free(rows);
        if (rc != 0) return error_prefix(err, "features of shard %llu", (unsigned long long)i);
    }
    return 0;
}

int result_metrics(const struct run *run, json_t **metrics, struct error *err) {
    struct moments moments = {0};
    int rc = moments_init(&moments, run->network.dim, err);
    if (rc == 0) rc = gather_moments(run, &moments, err);
    if (rc == 0) rc = score_fid(metrics, &moments, &run->network, run->job.evaluate.reference, err);
    moments_free(&moments);
    return rc;
}

/* Which cell of the sheet a sample goes to: one class a row where there are classes, else in order. -1: none. */
static int cell_of(const struct run *run, uint64_t position, int filled[SIDE]) {
    int64_t classes = run->card.classes;
    int64_t row = classes > 1 ? run_label(run, position) : (int64_t)position / SIDE;
    if (row < 0 || row >= SIDE || filled[row] == SIDE) return -1;
    return (int)row * SIDE + filled[row]++;
}

int result_picture(const struct run *run, char **path, struct error *err) {
    const struct card *card = &run->card;
    size_t bytes = card_elements(card);
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
        rc = scan_file(run, shard, false, &state, &info, &rows, &why, err);
        if (rc == 0 && state != SHARD_GOOD) rc = error_set(err, CODE_AGAIN, "shard %llu: %s", (unsigned long long)i, why.message);
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
    if (rc == 0) rc = picture_grid(*path, cells, SIDE, SIDE, card->height, card->width, card->channels, 0, err);
    free(pixels);
    return rc;
}
