/* Whose a run's folder is, and who may replace a file in it. */
#include "run/claim.h"

#include "base/files.h"
#include "base/clock.h"
#include "base/draft.h"
#include "base/log.h"
#include "base/text.h"
#include "format/json_file.h"
#include "run/attempts.h"
#include "run/failures.h"
#include "run/machines.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file's text (new), or NULL where there is none. */
static int read_any(char **text, const char *path, struct error *err) {
    size_t size;
    *text = NULL;
    return path ? file_read_if_there(path, text, &size, err) : 0;
}

/* A JSON file as text and as a value, both NULL where there is none. An empty one is on its way (file_write_guarded),
 * or of a job that died just then. */
static int read_document(const char *path, char **text, json_t **document, struct error *err) {
    *document = NULL;
    int rc = read_any(text, path, err);
    for (double until = clock_seconds() + 5; rc == 0 && *text && !**text && clock_seconds() < until;) {
        clock_sleep(0.1);
        free(*text);
        rc = read_any(text, path, err);
    }
    json_error_t at;
    if (rc == 0 && *text && **text && !(*document = json_loads(*text, JSON_REJECT_DUPLICATES, &at)))
        rc = error_set(err, CODE_DATA, "%s:%d:%d: not JSON: %s", path, at.line, at.column, at.text);
    return rc;
}

/* ---- a folder without a sample ---- */

static int has_samples(const char *dir, bool *any, struct error *err) {
    char *folder = text_new("%s/samples", dir), *path = text_new("%s/metrics.json", dir), *text = NULL;
    int rc = folder && path ? read_any(&text, path, err) : error_memory(err);
    json_t *metrics = text ? json_loads(text, 0, NULL) : NULL;
    *any = text && (!metrics || json_integer_value(json_object_get(metrics, "samples")) > 0);
    DIR *samples = rc == 0 ? opendir(folder) : NULL;
    if (rc == 0 && !samples && !file_absent(errno))
        rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    for (struct dirent *entry; samples && (errno = 0, entry = readdir(samples));) *any |= entry->d_name[0] != '.';
    if (samples && errno != 0) rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    if (samples) closedir(samples);
    json_decref(metrics);
    free(text);
    free(path);
    free(folder);
    return rc;
}

/* Is a job but this one at work on a run, or on the sweep that it is a cell of? */
static int is_busy(const char *dir, bool *busy, struct error *err) {
    const char *const where[] = {"", "/.."};
    *busy = false;
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        char *folder = text_new("%s%s", dir, where[i]);
        int rc = folder ? attempts_busy(folder, busy, err) : error_memory(err);
        free(folder);
        if (rc != 0 || *busy) return rc;
    }
    return 0;
}

/* May a job take over what another one left? */
static int is_vacant(const char *dir, bool *vacant, struct error *err) {
    bool samples = true, busy = true;
    if (has_samples(dir, &samples, err) != 0 || (!samples && is_busy(dir, &busy, err) != 0)) return -1;
    *vacant = !samples && !busy;
    return 0;
}

static int remove_leavings(const char *dir, const char *record_dir, const char *cell, struct error *err) {
    const char *const names[] = {"metrics.json", "manifest.jsonl", "quarantine.json"};
    int rc = failures_forget(record_dir, cell, err);
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++) {
        char *path = path_join(dir, names[i]);
        if (!path) rc = error_memory(err);
        else if (unlink(path) != 0 && errno != ENOENT)
            rc = error_set(err, CODE_IO, "cannot remove %s: %s", path, strerror(errno));
        free(path);
    }
    return rc;
}

/* ---- the claim ---- */

/* *vacated: the document takes over a folder whose job made nothing. */
static int settle(const json_t *document, const json_t *older, const char *dir, bool *vacated, struct error *err) {
    struct error why;
    *vacated = false;
    if (!older || document_extends(document, older, dir, err) == 0) return 0;
    return err->code != CODE_DATA || is_vacant(dir, vacated, &why) != 0 || !*vacated ? -1 : 0;
}

/* The run's own plan goes on. One that is ours stays packed. */
static int take_plan(json_t *document, const json_t *older, const char *path, struct error *err) {
    json_t *there = json_object_get(older, "plan"), *sha256 = json_object_get(older, "plan_sha256"), *ours;
    struct plan plan;
    if (document_plan_json(&ours, document, err) != 0) return -1;
    bool same = json_equal(there, ours);
    json_decref(ours);
    if (!same) {
        if (plan_check_seal(there, sha256, path, err) != 0 || plan_from_json(&plan, there, path, err) != 0) return -1;
        plan_release(&plan);
    } else if (json_equal(json_object_get(json_object_get(document, "plan"), "sha256"), sha256)) return 0;
    return json_object_set(document, "plan", there) == 0 ? 0 : error_memory(err);
}

int claim_settle(json_t *document, struct error *err) {
    const char *dir = json_string_value(json_member(json_object_get(document, "job"), "output", "dir"));
    char *path = dir ? text_new("%s/run.json", dir) : NULL, *text = NULL;
    json_t *older = NULL;
    bool vacated;
    int rc = path ? read_document(path, &text, &older, err) : error_memory(err);
    if (rc == 0) rc = settle(document, older, dir, &vacated, err);
    if (rc == 0 && older && !vacated) rc = take_plan(document, older, path, err);
    if (rc == 0 && older && !vacated) rc = machines_take(document, older, err);
    json_decref(older);
    free(text);
    free(path);
    return rc;
}

/* A guard: replaces exactly this text (NULL: nothing). */
static int check_same(const void *context, const char *replaced, struct error *err) {
    const char *expected = context;
    char *found;
    if (read_any(&found, replaced, err) != 0) return -1;
    bool same = found && expected ? strcmp(found, expected) == 0 : !found && !expected;
    free(found);
    return same ? 0 : error_set(err, CODE_AGAIN, "another job has changed it");
}

static int try_update(const char *path, bool anew, bool unsynced, claim_change *change, void *context,
                      struct error *err) {
    char *text = NULL;
    json_t *older = NULL, *newer = NULL;
    int rc = read_document(path, &text, &older, err);
    if (rc != 0 && text && anew) rc = 0;
    if (rc == 0) rc = change(context, older, &newer, err);
    const struct file_guard unchanged = {check_same, text, unsynced && !text}; /* an older one must not become empty */
    bool same = unsynced && older && json_equal(newer, older);
    if (rc == 0 && !same) rc = document_write(path, newer, &unchanged, err);
    json_decref(newer);
    json_decref(older);
    free(text);
    return rc;
}

static int update(const char *path, bool anew, bool unsynced, claim_change *change, void *context, struct error *err) {
    enum { TRIES = 100 }; /* every one that is in vain is another job's success */
    int rc = -1;
    for (int i = 0; i < TRIES; i++)
        if ((rc = try_update(path, anew, unsynced, change, context, err)) == 0 || err->code != CODE_AGAIN) break;
    return rc;
}

int claim_update(const char *path, bool anew, claim_change *change, void *context, struct error *err) {
    return update(path, anew, false, change, context, err);
}

struct taking {
    const struct run *run;
    const char *dir, *cell;
    bool vacated;
};

static int take(void *context, const json_t *older, json_t **newer, struct error *err) {
    struct taking *taking = context;
    const struct run *run = taking->run;
    if (settle(run->document, older, run->dir, &taking->vacated, err) != 0) return -1;
    json_t *whole = json_whole_copy(run->document), *plan = NULL;
    int rc = whole ? 0 : error_memory(err);
    if (rc == 0 && older && (rc = document_plan_json(&plan, run->document, err)) == 0 &&
        json_object_set_new(whole, "plan", plan) != 0)
        rc = error_memory(err);
    if (rc == 0 && older && !taking->vacated && !json_equal(json_object_get(older, "plan"), plan))
        rc = error_set(err, CODE_DATA,
                       "%s: another program began this run meanwhile, with a plan of its own: run again", run->dir);
    if (rc == 0 && taking->vacated) rc = remove_leavings(run->dir, taking->dir, taking->cell, err);
    if (rc == 0) *newer = json_incref(whole);
    json_decref(whole);
    return rc;
}

int claim_take(const struct run *run, const char *dir, const char *cell, bool unsynced, struct error *err) {
    struct taking taking = {run, dir, cell, false};
    char *path = text_new("%s/run.json", run->dir);
    int rc = path ? update(path, false, unsynced, take, &taking, err) : error_memory(err);
    if (rc == 0 && taking.vacated)
        log_info("%s held another job that made no sample: this one takes its place", run->dir);
    free(path);
    return rc;
}

/* ---- what decides how many samples there are ---- */

static const json_t *until_of(const json_t *document) {
    return json_member(json_object_get(document, "job"), "evaluate", "until");
}

static bool alike(const json_t *a, const json_t *b) {
    return a == b || json_equal(a, b);
}

/* New words; NULL: out of memory. */
static char *wish(const json_t *document) {
    const json_t *race = json_object_get(document, "race"), *until = until_of(document);
    if (race)
        return text_new("a race of %lld cells by %s, confidence %g",
                        (long long)json_integer_value(json_object_get(race, "cells")),
                        json_string_value(json_object_get(race, "metric")),
                        json_number_value(json_object_get(race, "confidence")));
    return until ? text_new("samples until the FID's standard error is %g",
                            json_number_value(json_object_get(until, "fid_error")))
                 : text_new("the samples of all its seeds");
}

/* One of two jobs that let different rules decide would count, or call whole, what the other asked for. */
static int check_rule(const json_t *document, const json_t *there, const char *dir, struct error *err) {
    if (alike(json_object_get(document, "race"), json_object_get(there, "race")) &&
        alike(until_of(document), until_of(there)))
        return 0;
    char *mine = wish(document), *theirs = wish(there);
    int rc = mine && theirs ? error_set(err, CODE_DATA,
                                        "%s: another job has begun there since, for %s; this one is for %s and leaves "
                                        "the folder to it: what was made is kept; run again when that job has ended",
                                        dir, theirs, mine)
                            : error_memory(err);
    free(mine);
    free(theirs);
    return rc;
}

/* ---- notes in it ---- */

struct note {
    const struct run *run;
    const char *key;
    const json_t *value;
};

/* Sets the note, or adds what is new of it: to an array its values, to an object its members. Hosts are replaced. */
static int add_note(json_t *document, const struct note *note) {
    json_t *there = json_object_get(document, note->key), *value, *known;
    size_t i, k;
    if (!there || strcmp(note->key, "hosts") == 0)
        return json_object_set_new(document, note->key, json_whole_deep_copy(note->value));
    if (json_is_object(there)) return json_object_update(there, (json_t *)note->value);
    json_array_foreach(note->value, i, value) {
        bool found = false;
        json_array_foreach(there, k, known) found |= json_equal(known, value) != 0;
        if (!found && json_array_append(there, value) != 0) return -1;
    }
    return 0;
}

static int change_note(void *context, const json_t *older, json_t **newer, struct error *err) {
    const struct note *note = context;
    if (!older) return error_set(err, CODE_IO, "run.json is gone");
    if (strcmp(note->key, "stopped") == 0 && check_rule(note->run->document, older, note->run->dir, err) != 0)
        return -1;
    *newer = json_whole_deep_copy(older);
    return *newer && add_note(*newer, note) == 0 ? 0 : error_memory(err);
}

int claim_note(const struct run *run, const char *key, const json_t *value, struct error *err) {
    struct note note = {run, key, value};
    char *path = text_new("%s/run.json", run->dir);
    int rc = path && add_note(run->document, &note) == 0 ? claim_update(path, false, change_note, &note, err)
                                                         : error_memory(err);
    free(path);
    return rc;
}

/* ---- and whether it holds ---- */

/* whole: also where a longer run is there, or another rule decides how long it is. */
static int check(const struct run *run, bool whole, struct error *err) {
    char *path = text_new("%s/run.json", run->dir), *text = NULL;
    struct error other;
    json_t *there = NULL;
    int rc = path ? read_document(path, &text, &there, err) : error_memory(err);
    if (rc == 0 && !there)
        rc = error_set(err, CODE_IO,
                       "%s is gone, so this is no run any more, and nothing is added: the shards that were made are "
                       "whole in %s/samples, and the same job, run again, takes them up",
                       path, run->dir);
    if (rc == 0 && document_extends(run->document, there, run->dir, err) != 0)
        rc = whole && document_extends(there, run->document, run->dir, &other) == 0 ? 0 : -1;
    if (rc == 0 && !whole) rc = check_rule(run->document, there, run->dir, err);
    json_decref(there);
    free(text);
    free(path);
    return rc;
}

int claim_check(const struct run *run, struct error *err) {
    return check(run, false, err);
}

int claim_guard(const void *run, const char *replaced, struct error *err) {
    (void)replaced;
    return check(run, false, err);
}

int claim_guard_shard(const void *run, const char *replaced, struct error *err) {
    (void)replaced;
    return check(run, true, err);
}
