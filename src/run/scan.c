/* What is on disk: shard files read and judged. */
#include "run/scan.h"

#include "base/text.h"
#include "cluster/agree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int scan_file(const struct run *run, shard_id shard, int output, const char *samples, enum shard_state *state,
              struct shard_info *info, void **rows, struct error *why, struct error *err) {
    uint64_t count = layout_rows(&run->layout, shard);
    uint64_t *seeds = malloc(count * sizeof *seeds);
    int64_t *labels = malloc(count * sizeof *labels);
    char *path = run_path(run, shard, output);
    int rc = -1;
    if (!seeds || !labels || !path) {
        error_memory(err);
    } else {
        struct shard_meta meta = run_meta(run, shard, output, seeds, labels);
        struct npy npy = run_npy(run, shard, output);
        if (output >= 0) snprintf(meta.samples, SHA256_HEX, "%s", samples);
        rc = store_check(path, &meta, &npy, state, info, rows, why, err);
    }
    free(path);
    free(labels);
    free(seeds);
    return rc;
}

/* Copies what a shard has of the first features->count rows. */
static void place_rows(const struct run *run, shard_id shard, struct features *features, const float *rows) {
    uint64_t first = layout_first(&run->layout, shard), taken = layout_rows(&run->layout, shard);
    if (taken > features->count - first) taken = features->count - first;
    memcpy(features->rows + first * features->dim, rows, (size_t)taken * features->dim * sizeof(float));
}

/* scan_file for one that is made where it is not good: CODE_DATA where another job's work is in its place. */
static int scan_own(const struct run *run, shard_id shard, int output, const char *samples, unsigned char *state,
                    struct shard_info *info, void **rows, struct error *err) {
    enum shard_state found;
    struct error why;
    if (scan_file(run, shard, output, samples, &found, info, rows, &why, err) != 0) return -1;
    *state = (unsigned char)found;
    if (found != SHARD_OTHERS) return 0;
    char *path = run_path(run, shard, output);
    int rc = path ? store_yields(path, found, &why, err) : error_memory(err);
    free(path);
    return rc;
}

int scan_shard(const struct run *run, shard_id shard, struct shard_status *status, struct features *features,
               struct error *err) {
    struct shard_info unused;
    if (run_wants(run, LATENTS) && status->latents != SHARD_GOOD &&
        scan_own(run, shard, LATENTS, "", &status->latents, &unused, NULL, err) != 0)
        return -1;
    if (status->samples != SHARD_GOOD &&
        scan_own(run, shard, SAMPLES, "", &status->samples, &status->samples_info, NULL, err) != 0)
        return -1;
    for (int k = 0; k < FEATURE_FILES; k++) {
        struct shard_info ignored;
        void *rows = NULL;
        bool read = features && features[k].rows && layout_first(&run->layout, shard) < features[k].count;
        if (!run_wants(run, k) || (status->features[k] == SHARD_GOOD && !read)) continue;
        if (scan_own(run, shard, k, status->samples_info.sha256, &status->features[k], &ignored, read ? &rows : NULL,
                     err) != 0)
            return -1;
        if (rows) place_rows(run, shard, &features[k], rows);
        free(rows);
    }
    return 0;
}

static void count_missing(struct cell *cell) {
    cell->missing = 0;
    cell->solves = false;
    for (uint64_t i = 0; i < layout_shards(&cell->run.layout); i++) {
        if (cell->status[i].samples != SHARD_GOOD) cell->missing += layout_rows(&cell->run.layout, (shard_id){i});
        cell->solves |= scan_solves(&cell->run, &cell->status[i]);
    }
}

int scan_cells(struct comm *comm, struct cells *cells, int threads, struct error *err) {
    uint64_t rank = (uint64_t)comm_rank(comm), size = (uint64_t)comm_size(comm);
    struct error failure = {.code = CODE_OK};
    /* Only what this rank looks at becomes non-zero, so that a maximum over ranks merges the tables. */
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (uint64_t i = rank; i < cells->shards; i += size) {
        struct error one;
        const struct cell *cell = &cells->cells[cells_find(cells, i)];
        if (cell->idle || i - cell->first >= layout_shards(&cell->run.layout)) continue; /* of a later round */
        if (scan_shard(&cell->run, (shard_id){i - cell->first}, &cells->status[i], NULL, &one) != 0) {
#pragma omp critical(scan_failure)
            failure = one;
        }
    }
    int rc = failure.code != CODE_OK ? -1 : 0;
    if (rc != 0) *err = failure;
    rc = ranks_agree(comm, rc, err);
    if (rc == 0) rc = comm_merge(comm, (unsigned char *)cells->status, cells->shards * sizeof *cells->status, err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++) count_missing(&cells->cells[i]);
    return rc;
}

/* Of the first of a shard's files, or of its latents or samples, that is not good. */
static enum shard_state gap_of(const struct run *run, const struct shard_status *status, enum gap gap) {
    bool latents = run_wants(run, LATENTS) && gap != GAP_SAMPLES;
    unsigned char state = SHARD_GOOD;
    if (latents) state = status->latents;
    if (state == SHARD_GOOD && !(latents && gap == GAP_LATENTS)) state = status->samples;
    for (int k = 0; gap == GAP_ANY && state == SHARD_GOOD && k < FEATURE_FILES; k++)
        if (run_wants(run, k)) state = status->features[k];
    return (enum shard_state)state;
}

/* Appends how many samples are of shards in this state, and which these are. what: the samples', or what of them. */
static void add_gaps(struct text *text, const struct run *run, const struct shard_status *status, enum gap gap,
                     enum shard_state state, const char *what) {
    struct text list = {0};
    uint64_t shards = layout_shards(&run->layout), samples = 0, ranges = 0;
    for (uint64_t i = 0; i < shards; i++) {
        uint64_t last = i;
        for (; last < shards && gap_of(run, &status[last], gap) == state; last++)
            samples += layout_rows(&run->layout, (shard_id){last});
        if (last == i) continue;
        text_add_range(&list, &ranges, i, last - 1);
        i = last;
    }
    if (ranges > 0 && !text->length)
        text_add(text, "%" PRIu64 " of %" PRIu64 " %s are", samples, run->layout.samples, what);
    else if (ranges > 0) text_add(text, ", %" PRIu64, samples);
    if (ranges > 0) text_add(text, " %s (shards %s)", shard_state_names[state], list.data ? list.data : "?");
    text_release(&list);
}

int scan_gaps(const struct run *run, const struct shard_status *status, enum gap gap, struct error *err) {
    struct text text = {0};
    bool features = gap == GAP_ANY; /* alone */
    for (uint64_t i = 0; features && i < layout_shards(&run->layout); i++)
        features = status[i].samples == SHARD_GOOD && !scan_solves(run, &status[i]);
    const char *what = gap == GAP_LATENTS ? LATENTS_FOLDER : features ? "features" : "samples";
    for (enum shard_state state = 0; state < SHARD_STATES; state++)
        if (state != SHARD_GOOD) add_gaps(&text, run, status, gap, state, what);
    if (text.length == 0) return text.failed ? error_memory(err) : 0;
    error_set(err, CODE_AGAIN, "%s is incomplete: %s; %s to continue", run->dir, text.data,
              gap == GAP_LATENTS ? "run the job again" : "run again");
    text_release(&text);
    return -1;
}

bool scan_good(const struct run *run, const struct shard_status *status) {
    bool good = status->samples == SHARD_GOOD && (!run_wants(run, LATENTS) || status->latents == SHARD_GOOD);
    for (int k = 0; k < FEATURE_FILES; k++) good &= !run_wants(run, k) || status->features[k] == SHARD_GOOD;
    return good;
}

bool scan_solves(const struct run *run, const struct shard_status *status) {
    return run_wants(run, LATENTS) ? status->latents != SHARD_GOOD : status->samples != SHARD_GOOD;
}
