/* PNGs, in a folder or in a zip. */
#include "base/draft.h"
#include "base/files.h"
#include "base/text.h"
#include "format/archive.h"
#include "export/export.h"

#include <inttypes.h>
#include <stdlib.h>

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

static int put_labels(const struct rows *rows, const char *folder, enum naming naming, struct error *err) {
    struct text json = {0};
    char *path = path_join(folder, "dataset.json");
    int rc = path ? list_labels(rows, naming, &json, err) : error_memory(err);
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
    if (rc == 0 && rows_labels(rows)) rc = put_labels(rows, draft.temporary, naming, err);
    if (rc == 0) return draft_commit(&draft, err);
    draft_abandon(&draft);
    return -1;
}

/* ---- a zip: a member a sample, and the labels behind them ---- */

struct zip {
    struct rows *rows;
    struct text labels;
};

static char *member_name(void *context, size_t member) {
    const struct rows *rows = ((struct zip *)context)->rows;
    return member < rows_count(rows) ? name_of(DATASET, rows_seed(rows, member)) : text_new("dataset.json");
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
    if (zip->labels.length == 0 && list_labels(zip->rows, DATASET, &zip->labels, err) != 0) return -1;
    *bytes = zip->labels.data;
    *size = zip->labels.length;
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
    struct archive archive = {(size_t)rows_count(rows) + (rows_labels(rows) ? 1 : 0), member_name, member_size,
                              member_bytes, &zip};
    int rc = archive_write(path, &archive, err);
    text_release(&zip.labels);
    return rc;
}
