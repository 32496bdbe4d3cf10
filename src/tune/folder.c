/* Whose a tuning's folder is. */
#include "tune/folder.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"
#include "job/fingerprint.h"
#include "solver/made.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NFE_MOST = 100, RECORD }; /* of cmd/tune.c */

/* Name i of what a tuning writes: compare.yaml, the tables, and at RECORD tune.json. New. */
static char *file_at(const char *folder, int i) {
    if (i == RECORD) return text_new("%s/tune.json", folder);
    return i == 0 ? text_new("%s/compare.yaml", folder) : text_new("%s/tuned-nfe%d.json", folder, i);
}

/* *record: new, or NULL; why: of a file that is there and is no tuning's record. */
static int read_record(json_t **record, struct text *why, const char *path, struct error *err) {
    struct error found = {0};
    int rc = json_file_read_if_there(record, path, &found);
    if (rc != 0 && found.code != CODE_DATA) {
        *err = found;
        return rc;
    }
    if (rc != 0) text_add(why, "%s", found.message);
    if (*record && !json_is_object(json_object_get(*record, "keys"))) {
        text_add(why, "it has no map \"keys\" that says what for");
        json_decref(*record);
        *record = NULL;
    }
    return 0;
}

/* *foreign: a file, new, that is not this job's, where there is one; why: with tune.json's first difference,
 * or what is wrong with it. */
static int look(const char *folder, const json_t *document, char **foreign, struct text *why, struct error *err) {
    char *path = text_new("%s/tune.json", folder);
    json_t *record = NULL, *keys = made_keys(json_object_get(document, "keys")), *list = NULL;
    *foreign = NULL;
    int rc = path && keys ? read_record(&record, why, path, err) : error_memory(err);
    bool damaged = rc == 0 && why->length > 0, there = damaged;
    if (damaged) *foreign = path, path = NULL;
    if (rc == 0 && record) rc = fingerprint_differences(&list, json_object_get(record, "keys"), keys, err);
    const json_t *first = json_array_get(list, 0);
    for (int i = 0; rc == 0 && !there && (first || !record) && i <= NFE_MOST; i++) {
        free(*foreign);
        *foreign = file_at(folder, i);
        rc = *foreign ? file_exists(*foreign, &there, err) : error_memory(err);
    }
    if (!there) free(*foreign), *foreign = NULL;
    if (there && !record && !damaged) text_add(why, "there is no tune.json that says what for");
    if (there && first) {
        text_add(why, "it was made with ");
        fingerprint_tell(why, first);
    }
    json_decref(list);
    json_decref(record);
    json_decref(keys);
    free(path);
    return rc;
}

/* look, and an error where there is a foreign file, unless forced. */
static int look_and_refuse(const char *folder, const json_t *document, bool force, char **foreign, struct text *why,
                           struct error *err) {
    int rc = look(folder, document, foreign, why, err);
    if (rc == 0 && *foreign && !force)
        rc = error_set(err, CODE_DATA,
                       "%s is there already, and not of this job: %s: give another --output, or say --force to replace "
                       "what a tuning wrote in that folder",
                       *foreign, why->data ? why->data : "");
    return rc;
}

int tune_folder_check(const char *folder, const json_t *document, bool force, struct error *err) {
    struct text why = {0};
    char *foreign;
    int rc = look_and_refuse(folder, document, force, &foreign, &why, err);
    free(foreign);
    text_release(&why);
    return rc;
}

static int drop(const char *path, const char *why, struct error *err) {
    if (unlink(path) == 0) log_warn("removed %s: %s", path, why);
    else if (!file_absent(errno)) return error_set(err, CODE_IO, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}

int tune_folder_take(const char *folder, const json_t *document, bool force, struct error *err) {
    struct text why = {0};
    char *foreign = NULL, *path = text_new("%s/tune.json", folder);
    int rc = path ? look_and_refuse(folder, document, force, &foreign, &why, err) : error_memory(err);
    for (int i = 0; rc == 0 && foreign && i <= RECORD; i++) {
        char *file = file_at(folder, i);
        rc = file ? drop(file, why.data ? why.data : "", err) : error_memory(err);
        free(file);
    }
    json_t *record = json_pack("{ss sO so}", "by", "qtaylor tune", "name", json_object_get(document, "name"), "keys",
                               made_keys(json_object_get(document, "keys")));
    if (rc == 0) rc = record ? json_file_write(path, record, err) : error_memory(err);
    json_decref(record);
    free(foreign);
    free(path);
    text_release(&why);
    return rc;
}

int tune_folder_drop(const char *folder, int nfe, const char *why, struct error *err) {
    char *path = file_at(folder, nfe);
    int rc = path ? drop(path, why, err) : error_memory(err);
    free(path);
    return rc;
}
