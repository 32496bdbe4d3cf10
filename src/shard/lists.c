/* Labels, rows of the conditions and scales, of the job's files or of the shards. */
#include "shard/lists.h"

#include "base/log.h"
#include "base/text.h"
#include "sample/labels.h"
#include "sample/scales.h"
#include "shard/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int read_files(struct lists *lists, const struct lists_of *of, struct error *err) {
    const struct job *job = of->job;
    const char *scales = job->sampler.guidance.scale_rows;
    if (job->labels.rule == LABELS_FILE &&
        labels_read(&lists->labels, job->labels.path, of->labels, of->seeds, of->classes, err) != 0)
        return error_prefix(err, "labels");
    if (job->conditions.rows &&
        labels_read(&lists->rows, job->conditions.rows, of->rows, of->seeds, (int64_t)of->condition_rows, err) != 0)
        return error_prefix(err, "conditions.rows");
    return scales ? scales_read(&lists->scales, scales, of->scales, NULL, of->condition_rows, err) : 0;
}

/* ---- of the shards ---- */

/* A shard's JSON: of its pictures, of their latents, or of those that they are to be decoded of. New. */
static int read_about(json_t **about, const struct lists_of *of, shard_id shard, struct error *err) {
    char *beside = of->latents_of ? path_join(of->dir, of->latents_of) : NULL;
    char *folder = beside ? path_folder(beside) : NULL;
    char *paths[] = {store_path(of->dir, "", NULL, shard), store_path(of->dir, "", "latents", shard),
                     folder ? store_path(folder, "", "latents", shard) : NULL};
    struct error first;
    int rc = error_memory(&first);
    for (size_t i = 0; rc != 0 && i < sizeof paths / sizeof *paths; i++) {
        struct npy npy;
        struct shard_info info;
        void *rows = NULL;
        if (!paths[i]) continue;
        rc = store_read(paths[i], &npy, &rows, about, &info, err);
        const char *found = rc == 0 ? json_string_value(json_object_get(*about, "fingerprint")) : NULL;
        if (rc == 0 && (!found || strcmp(found, i == 0 ? of->samples : of->latents) != 0)) {
            json_decref(*about);
            rc = error_set(err, CODE_DATA, "%s is another job's", paths[i]);
        }
        free(rows);
        if (i == 0) first = *err;
    }
    if (rc != 0) *err = first;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) free(paths[i]);
    free(folder);
    free(beside);
    return rc;
}

/* One of a shard's lists, of `count` numbers. */
static int find(const json_t **list, const json_t *about, const char *name, uint64_t count, shard_id shard,
                struct error *err) {
    const json_t *one;
    size_t i;
    *list = json_object_get(about, name);
    bool whole = json_array_size(*list) == count;
    json_array_foreach(*list, i, one) whole &= json_is_number(one);
    if (whole) return 0;
    return error_set(err, CODE_DATA, "shard %" PRIu64 ": %s: expected %" PRIu64 " numbers in its JSON", shard.value,
                     name, count);
}

static int recall_shard(struct lists *lists, const struct lists_of *of, shard_id shard, struct error *err) {
    uint64_t count = layout_rows(of->layout, shard), first = layout_first(of->layout, shard);
    const json_t *labels = NULL, *rows = NULL, *scales = NULL;
    json_t *about;
    if (read_about(&about, of, shard, err) != 0) return -1;
    int rc = lists->labels ? find(&labels, about, "labels", count, shard, err) : 0;
    if (rc == 0 && (lists->rows || lists->scales)) rc = find(&rows, about, "rows", count, shard, err);
    if (rc == 0 && lists->scales) rc = find(&scales, about, "scales", count, shard, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        json_int_t row = json_integer_value(json_array_get(rows, i));
        if (lists->labels) lists->labels[first + i] = json_integer_value(json_array_get(labels, i));
        if (lists->rows) lists->rows[first + i] = row;
        if (rows && (row < 0 || (uint64_t)row >= of->condition_rows))
            rc = error_set(err, CODE_DATA, "shard %" PRIu64 ": rows: expected 0 to %" PRIu64 ", found %" PRId64,
                           shard.value, of->condition_rows - 1, (int64_t)row);
        else if (lists->scales) lists->scales[row] = json_number_value(json_array_get(scales, i));
    }
    json_decref(about);
    return rc;
}

static int recall(struct lists *lists, const struct lists_of *of, struct error *err) {
    const struct job *job = of->job;
    bool labels = job->labels.rule == LABELS_FILE, rows = job->conditions.rows,
         scales = job->sampler.guidance.scale_rows;
    if ((labels && !(lists->labels = calloc(of->seeds, sizeof *lists->labels))) ||
        (rows && !(lists->rows = calloc(of->seeds, sizeof *lists->rows))) ||
        (scales && !(lists->scales = calloc(of->condition_rows, sizeof *lists->scales))))
        return error_memory(err);
    for (uint64_t i = 0; i < layout_shards(of->layout); i++)
        if (recall_shard(lists, of, (shard_id){i}, err) != 0) return -1;
    return 0;
}

int lists_read(struct lists *lists, const struct lists_of *of, struct error *err) {
    struct error why;
    *lists = (struct lists){0};
    if (read_files(lists, of, err) == 0) return 0;
    lists_release(lists);
    if (err->code != CODE_IO && err->code != CODE_DATA) return -1;
    if (recall(lists, of, &why) == 0) {
        log_warn("%s: %s; the shards, which are all there, say what it said", of->dir, err->message);
        return 0;
    }
    lists_release(lists);
    return error_suffix(err, ": put the file back (once all samples are there they say what it said, but now %s)",
                        why.message);
}

void lists_release(struct lists *lists) {
    free(lists->labels);
    free(lists->rows);
    free(lists->scales);
    *lists = (struct lists){0};
}
