/* PNGs, in a folder or in a zip. */
#include "base/draft.h"
#include "base/files.h"
#include "base/text.h"
#include "format/archive.h"
#include "export/export.h"
#include "format/captions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char LABELS[] = "dataset.json", ROWS[] = "metadata.jsonl";

enum naming { FLAT, SUBFOLDERS, DATASET };

static char *name_of(enum naming naming, uint64_t seed) {
    switch (naming) {
        case SUBFOLDERS: return text_new("%06" PRIu64 "/%06" PRIu64 ".png", seed - seed % 1000, seed);
        case DATASET: return text_new("%05" PRIu64 "/img%08" PRIu64 ".png", seed / 1000, seed);
        default: return text_new("%06" PRIu64 ".png", seed);
    }
}

/* dataset.json, once all rows were read. */
static int list_labels(const struct rows *rows, enum naming naming, struct text *json, struct error *err) {
    const int64_t *labels = rows_labels(rows);
    text_add(json, "{\"labels\": [");
    for (uint64_t i = 0; i < rows_count(rows); i++) {
        char *name = name_of(naming, rows_seed(rows, i));
        text_add(json, "%s[\"%s\", %" PRId64 "]", i ? ", " : "", name ? name : "", labels[i]);
        json->failed |= !name;
        free(name);
    }
    text_add(json, "]}\n");
    return json->failed ? error_memory(err) : 0;
}

/* metadata.jsonl, where the run has conditions: a line a sample, {"file_name", "row": of the conditions, "text": its
 * caption, where there are some}, as the readers of image folders take it. */
static int list_rows(const struct rows *rows, enum naming naming, struct text *lines, struct error *err) {
    const struct run *run = rows_run(rows);
    const char *path = run->job.conditions.captions;
    struct captions captions = {0};
    if (path && captions_read(&captions, path, run->condition_rows, err) != 0) return -1;
    for (uint64_t i = 0; i < rows_count(rows); i++) {
        uint64_t row = rows_condition(rows, i);
        char *name = name_of(naming, rows_seed(rows, i));
        json_t *line = json_pack("{s:s*, s:I, s:s*}", "file_name", name, "row", (json_int_t)row, "text",
                                 path ? captions.lines[row] : NULL);
        char *text = name && line ? json_dumps(line, JSON_COMPACT) : NULL;
        text_add(lines, "%s\n", text ? text : "");
        lines->failed |= !text;
        free(text);
        json_decref(line);
        free(name);
    }
    captions_release(&captions);
    return lines->failed ? error_memory(err) : 0;
}

/* ---- a folder ---- */

static int put(const char *folder, enum naming naming, uint64_t seed, const struct row *row, struct error *err) {
    char *name = name_of(naming, seed), *path = name ? path_join(folder, name) : NULL;
    char *place = path && naming == SUBFOLDERS ? path_folder(path) : NULL;
    int rc = path && (naming != SUBFOLDERS || place) ? 0 : error_memory(err);
    if (rc == 0 && place) rc = folder_make(place, err);
    if (rc == 0) rc = file_write(path, row->bytes, row->size, err);
    free(place);
    free(path);
    free(name);
    return rc;
}

static int put_all(struct rows *rows, const char *folder, enum naming naming, struct error *err) {
    const struct row *row;
    uint64_t count;
    int rc = 0;
    for (uint64_t first = 0; first < rows_count(rows); first += count) {
        if (rows_at(rows, first, &row, &count, err) != 0) return -1;
#pragma omp parallel for
        for (uint64_t i = 0; i < count; i++) {
            struct error one;
            if (put(folder, naming, rows_seed(rows, first + i), &row[i], &one) != 0) {
#pragma omp critical(export_failure)
                rc = (*err = one, -1);
            }
        }
        if (rc != 0) return -1;
    }
    return 0;
}

typedef int list_fn(const struct rows *rows, enum naming naming, struct text *text, struct error *err);

static int put_list(const struct rows *rows, const char *folder, enum naming naming, const char *name, list_fn *list,
                    struct error *err) {
    struct text json = {0};
    char *path = path_join(folder, name);
    int rc = path ? list(rows, naming, &json, err) : error_memory(err);
    if (rc == 0) rc = file_write(path, json.data, json.length, err);
    text_release(&json);
    free(path);
    return rc;
}

int export_folder(struct rows *rows, const char *path, bool subfolders, struct error *err) {
    struct draft draft;
    enum naming naming = subfolders ? SUBFOLDERS : FLAT;
    if (draft_begin(&draft, path, true, err) != 0) return -1;
    int rc = put_all(rows, draft.temporary, naming, err);
    if (rc == 0 && rows_labels(rows)) rc = put_list(rows, draft.temporary, naming, LABELS, list_labels, err);
    if (rc == 0 && rows_run(rows)->condition_rows > 0)
        rc = put_list(rows, draft.temporary, naming, ROWS, list_rows, err);
    if (rc == 0) return draft_commit(&draft, err);
    draft_abandon(&draft);
    return -1;
}

/* ---- a zip: a member a sample, and lists behind them ---- */

struct zip {
    struct rows *rows;
    size_t count; /* of lists */
    struct list {
        const char *name;
        list_fn *make;
        struct text text;
    } lists[2];
};

static char *member_name(void *context, size_t member) {
    const struct zip *zip = context;
    uint64_t samples = rows_count(zip->rows);
    return member < samples ? name_of(DATASET, rows_seed(zip->rows, member))
                            : strdup(zip->lists[member - samples].name);
}

static int member_bytes(void *context, size_t member, uint64_t offset, const char **bytes, size_t *size,
                        struct error *err) {
    struct zip *zip = context;
    (void)offset; /* always the whole member */
    if (member < rows_count(zip->rows)) {
        const struct row *row;
        uint64_t count;
        if (rows_at(zip->rows, member, &row, &count, err) != 0) return -1;
        *bytes = row->bytes;
        *size = row->size;
        return 0;
    }
    struct list *list = &zip->lists[member - rows_count(zip->rows)];
    if (list->text.length == 0 && list->make(zip->rows, DATASET, &list->text, err) != 0) return -1;
    *bytes = list->text.data;
    *size = list->text.length;
    return 0;
}

static int member_size(void *context, size_t member, uint64_t *size, struct error *err) {
    const char *bytes;
    size_t found;
    int rc = member_bytes(context, member, 0, &bytes, &found, err);
    *size = rc == 0 ? found : 0;
    return rc;
}

int export_zip(struct rows *rows, const char *path, struct error *err) {
    struct zip zip = {.rows = rows};
    if (rows_labels(rows)) zip.lists[zip.count++] = (struct list){LABELS, list_labels, {0}};
    if (rows_run(rows)->condition_rows > 0) zip.lists[zip.count++] = (struct list){ROWS, list_rows, {0}};
    struct archive archive = {(size_t)rows_count(rows) + zip.count, member_name, member_size, member_bytes, &zip};
    int rc = archive_write(path, &archive, err);
    for (size_t i = 0; i < zip.count; i++) text_release(&zip.lists[i].text);
    return rc;
}
