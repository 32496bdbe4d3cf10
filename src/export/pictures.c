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

struct names { /* what each sample's file is called */
    enum { FLAT, SUBFOLDERS, DATASET, PROMPTS } kind;
    const struct rows *rows;
    uint64_t *numbers; /* PROMPTS: of the samples of a row of conditions */
};

static char *name_of(const struct names *names, uint64_t i) {
    uint64_t seed = rows_seed(names->rows, i);
    switch (names->kind) {
        case PROMPTS:
            return text_new("%05" PRIu64 "/samples/%04" PRIu64 ".png", rows_condition(names->rows, i),
                            names->numbers[i]);
        case SUBFOLDERS: return text_new("%06" PRIu64 "/%06" PRIu64 ".png", seed - seed % 1000, seed);
        case DATASET: return text_new("%05" PRIu64 "/img%08" PRIu64 ".png", seed / 1000, seed);
        default: return text_new("%06" PRIu64 ".png", seed);
    }
}

/* dataset.json, once all rows were read. */
static int list_labels(const struct names *names, struct text *json, struct error *err) {
    const struct rows *rows = names->rows;
    const int64_t *labels = rows_labels(rows);
    text_add(json, "{\"labels\": [");
    for (uint64_t i = 0; i < rows_count(rows); i++) {
        char *name = name_of(names, i);
        text_add(json, "%s[\"%s\", %" PRId64 "]", i ? ", " : "", name ? name : "", labels[i]);
        json->failed |= !name;
        free(name);
    }
    text_add(json, "]}\n");
    return json->failed ? error_memory(err) : 0;
}

/* The captions of the run's conditions, which must be those that it was begun with: they lie outside of it, where other
 * prompts may have taken their place. captions->lines NULL: it has none. */
static int read_captions(struct captions *captions, const struct run *run, struct error *err) {
    const char *path = run->job.conditions.captions;
    const char *expected = json_string_value(json_object_get(run->document, "captions")); /* of an older run NULL */
    *captions = (struct captions){0};
    if (!path) return 0;
    if (captions_read(captions, path, run->condition_rows, err) == 0 &&
        (!expected || strcmp(captions->sha256, expected) == 0))
        return 0;
    if (captions->lines)
        error_set(err, CODE_DATA,
                  "%s was changed after the run was begun (its sha256 is %.12s, expected %.12s), "
                  "and may be of other prompts than the pictures",
                  path, captions->sha256, expected);
    captions_release(captions);
    error_prefix(err, "conditions.captions");
    return error_suffix(err, ": put the file back, or run the job again with the captions that are right: no sample is "
                             "made anew");
}

/* metadata.jsonl, where the run has conditions: a line a sample, {"file_name", "row": of the conditions, "text": its
 * caption, where there are some}, as the readers of image folders take it. */
static int list_rows(const struct names *names, struct text *lines, struct error *err) {
    const struct rows *rows = names->rows;
    struct captions captions;
    if (read_captions(&captions, rows_run(rows), err) != 0) return -1;
    for (uint64_t i = 0; i < rows_count(rows); i++) {
        uint64_t row = rows_condition(rows, i);
        char *name = name_of(names, i);
        json_t *line = json_pack("{s:s*, s:I, s:s*}", "file_name", name, "row", (json_int_t)row, "text",
                                 captions.lines ? captions.lines[row] : NULL);
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

static int put(const char *folder, const struct names *names, uint64_t i, const struct row *row, struct error *err) {
    char *name = name_of(names, i), *path = name ? path_join(folder, name) : NULL;
    char *place = path && names->kind != FLAT ? path_folder(path) : NULL;
    int rc = path && (names->kind == FLAT || place) ? 0 : error_memory(err);
    if (rc == 0 && place) rc = folder_make(place, err);
    if (rc == 0) rc = file_write(path, row->bytes, row->size, err);
    free(place);
    free(path);
    free(name);
    return rc;
}

static int put_all(struct rows *rows, const struct names *names, const char *folder, struct error *err) {
    const struct row *row;
    uint64_t count;
    int rc = 0;
    for (uint64_t first = 0; first < rows_count(rows); first += count) {
        if (rows_at(rows, first, &row, &count, err) != 0) return -1;
#pragma omp parallel for
        for (uint64_t i = 0; i < count; i++) {
            struct error one;
            if (put(folder, names, first + i, &row[i], &one) != 0) {
#pragma omp critical(export_failure)
                rc = (*err = one, -1);
            }
        }
        if (rc != 0) return -1;
    }
    return 0;
}

typedef int list_fn(const struct names *names, struct text *text, struct error *err);

static int put_list(const struct names *names, const char *folder, const char *name, list_fn *list, struct error *err) {
    struct text json = {0};
    char *path = path_join(folder, name);
    int rc = path ? list(names, &json, err) : error_memory(err);
    if (rc == 0) rc = file_write(path, json.data, json.length, err);
    text_release(&json);
    free(path);
    return rc;
}

int export_folder(struct rows *rows, const char *path, bool subfolders, struct error *err) {
    struct draft draft;
    const struct names names = {subfolders ? SUBFOLDERS : FLAT, rows, NULL};
    if (draft_begin(&draft, path, true, err) != 0) return -1;
    int rc = put_all(rows, &names, draft.temporary, err);
    if (rc == 0 && rows_labels(rows)) rc = put_list(&names, draft.temporary, LABELS, list_labels, err);
    if (rc == 0 && rows_run(rows)->condition_rows > 0) rc = put_list(&names, draft.temporary, ROWS, list_rows, err);
    if (rc == 0) return draft_commit(&draft, err);
    draft_abandon(&draft);
    return -1;
}

/* ---- a folder a prompt ---- */

/* The number of each sample among those of its row, in the order of rows. New; NULL: out of memory. */
static uint64_t *number_by_row(const struct rows *rows) {
    uint64_t count = rows_count(rows);
    uint64_t *numbers = malloc((count + 1) * sizeof *numbers);
    uint64_t *made = calloc(rows_run(rows)->condition_rows + 1, sizeof *made);
    for (uint64_t i = 0; numbers && made && i < count; i++) numbers[i] = made[rows_condition(rows, i)]++;
    if (!made) free(numbers), numbers = NULL;
    free(made);
    return numbers;
}

/* Are they the same words? A caption has one blank between two. */
static bool same_words(const char *a, const char *b) {
    static const char blanks[] = " \t\r\n\v\f";
    for (size_t length;; a += length, b += length) {
        a += strspn(a, blanks);
        b += strspn(b, blanks);
        length = strcspn(a, blanks);
        if (length != strcspn(b, blanks) || strncmp(a, b, length) != 0) return false;
        if (length == 0) return true;
    }
}

/* caption: of the row; NULL: the run has none. */
static int check_record(const char *line, const char *caption, struct error *err) {
    json_error_t at;
    json_t *record = json_loads(line, JSON_REJECT_DUPLICATES, &at);
    const char *prompt = json_string_value(json_object_get(record, "prompt"));
    int rc = 0;
    if (!json_is_object(record))
        rc = error_set(err, CODE_DATA, "expected a JSON object a line, found %s", record ? "another value" : at.text);
    else if (prompt && caption && !same_words(prompt, caption))
        rc = error_set(
            err, CODE_DATA,
            "its prompt is \"%.200s\", and the pictures of that row are of \"%.200s\": expected the file that "
            "the run's prompts were read from",
            prompt, caption);
    json_decref(record);
    return rc;
}

static int check_records(const struct captions *records, const struct run *run, const char *path, struct error *err) {
    struct captions captions;
    int rc = read_captions(&captions, run, err);
    for (uint64_t row = 0; rc == 0 && row < run->condition_rows; row++)
        if ((rc = check_record(records->lines[row], captions.lines ? captions.lines[row] : NULL, err)) != 0)
            error_prefix(err, "%s:%" PRIu64, path, row + 1);
    captions_release(&captions);
    return rc;
}

/* Beside the first sample of each row. */
static int put_records(const struct names *names, const char *folder, const struct captions *records,
                       struct error *err) {
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < rows_count(names->rows); i++) {
        uint64_t row = rows_condition(names->rows, i);
        if (names->numbers[i] > 0) continue;
        char *path = text_new("%s/%05" PRIu64 "/%s", folder, row, ROWS), *line = text_new("%s\n", records->lines[row]);
        rc = path && line ? file_write(path, line, strlen(line), err) : error_memory(err);
        free(line);
        free(path);
    }
    return rc;
}

int export_prompts(struct rows *rows, const char *path, const char *records, struct error *err) {
    struct captions lines = {0};
    struct draft draft;
    uint64_t count = rows_run(rows)->condition_rows;
    if (count == 0)
        return error_set(err, CODE_USAGE, "export: --prompts is for runs with conditions, and this one has none");
    if (captions_read(&lines, records, count, err) != 0) return -1;
    const struct names names = {PROMPTS, rows, number_by_row(rows)};
    int rc = names.numbers ? check_records(&lines, rows_run(rows), records, err) : error_memory(err);
    if (rc == 0 && (rc = draft_begin(&draft, path, true, err)) == 0) {
        rc = put_all(rows, &names, draft.temporary, err);
        if (rc == 0) rc = put_records(&names, draft.temporary, &lines, err);
        if (rc == 0) rc = draft_commit(&draft, err);
        else draft_abandon(&draft);
    }
    free(names.numbers);
    captions_release(&lines);
    return rc;
}

/* ---- a zip: a member a sample, and lists behind them ---- */

struct zip {
    struct rows *rows;
    struct names names;
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
    return member < samples ? name_of(&zip->names, member) : strdup(zip->lists[member - samples].name);
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
    if (list->text.length == 0 && list->make(&zip->names, &list->text, err) != 0) return -1;
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
    struct zip zip = {.rows = rows, .names = {DATASET, rows, NULL}};
    if (rows_labels(rows)) zip.lists[zip.count++] = (struct list){LABELS, list_labels, {0}};
    if (rows_run(rows)->condition_rows > 0) zip.lists[zip.count++] = (struct list){ROWS, list_rows, {0}};
    struct archive archive = {(size_t)rows_count(rows) + zip.count, member_name, member_size, member_bytes, &zip};
    int rc = archive_write(path, &archive, err);
    for (size_t i = 0; i < zip.count; i++) text_release(&zip.lists[i].text);
    return rc;
}
