/* How far a run or a sweep is, from its folder alone. */
#include "run/status.h"

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "job/seeds.h"
#include "format/json_file.h"
#include "run/attempts.h"
#include "run/cells.h"
#include "run/run.h"
#include "run/quarantine.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct count { /* of a run, or of all cells */
    uint64_t samples, done, shards, shards_done, quarantined;
    uint64_t latents, latents_wanted; /* of how many samples they are there, and are to be kept */
    bool unknown;                     /* a cell was not begun */
    json_t *stopped;                  /* of a run that has not all its seeds, by decision: run.json's; else NULL */
};

static int read_layout(struct layout *layout, bool *keeps, json_t **stopped, const char *dir, struct error *err) {
    json_t *document = NULL;
    struct seeds seeds = {0};
    if (document_read(&document, dir, err) != 0) return -1;
    const char *text = json_string_value(json_member(document, "job", "seeds"));
    json_int_t rows = json_integer_value(json_object_get(document, "shard_rows"));
    *keeps = json_member(json_object_get(document, "job"), "output", "latents") != NULL;
    int rc = text ? seeds_parse(&seeds, text, err)
                  : error_set(err, CODE_DATA, "%s/run.json: job.seeds is missing", dir);
    if (rc == 0)
        rc = layout_init(layout, document_samples(document, seeds.count), 1, rows > 0 ? (uint64_t)rows : 0, 1, err);
    seeds_release(&seeds);
    *stopped = rc == 0 ? json_incref(json_object_get(document, "stopped")) : NULL;
    if (*stopped && json_object_get(document, "latents_of")) json_object_set_new(*stopped, "latents", json_true());
    json_decref(document);
    return rc;
}

/* Adds to *shards and *rows. */
static int count_files(const struct layout *layout, const char *dir, const char *name, uint64_t *shards, uint64_t *rows,
                       struct error *err) {
    char *folder = text_new("%s/%s", dir, name);
    DIR *samples = folder ? opendir(folder) : NULL;
    int rc = folder ? 0 : error_memory(err);
    if (folder && !samples && !file_absent(errno))
        rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    for (struct dirent *entry; samples && (errno = 0, entry = readdir(samples));) {
        shard_id shard;
        if (!store_names(entry->d_name, layout_shards(layout), &shard)) continue;
        ++*shards;
        *rows += layout_rows(layout, shard);
    }
    if (samples && errno != 0) rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    if (samples) closedir(samples);
    free(folder);
    return rc;
}

/* Quarantined shards that are there after all do not count. */
static int count_quarantined(const char *dir, struct count *count, json_t *list, struct error *err) {
    json_t *shards, *shard;
    size_t i;
    if (quarantine_read(&shards, dir, err) != 0) return -1;
    int rc = 0;
    json_array_foreach(shards, i, shard) {
        char *path = store_path(dir, "", NULL,
                                (shard_id){(uint64_t)json_integer_value(json_object_get(shard, "shard"))});
        bool there = true;
        if (rc == 0) rc = path ? file_exists(path, &there, err) : error_memory(err);
        if (rc == 0 && !there) {
            count->quarantined += (uint64_t)json_integer_value(json_object_get(shard, "samples"));
            if (json_array_append(list, shard) != 0) rc = error_memory(err);
        }
        free(path);
    }
    json_decref(shards);
    return rc;
}

static int count_run(const char *dir, struct count *count, json_t *quarantine, struct error *err) {
    struct layout layout;
    *count = (struct count){0};
    uint64_t ignored = 0;
    bool keeps;
    if (read_layout(&layout, &keeps, &count->stopped, dir, err) != 0) return -1;
    count->samples = layout.samples;
    count->latents_wanted = keeps ? layout.samples : 0;
    count->shards = layout_shards(&layout);
    if (count_files(&layout, dir, "samples", &count->shards_done, &count->done, err) != 0 ||
        (keeps && count_files(&layout, dir, LATENTS_FOLDER, &ignored, &count->latents, err) != 0))
        return -1;
    return count_quarantined(dir, count, quarantine, err);
}

static const char *state_of(const struct count *count, bool alive) {
    bool latents = count->latents == count->latents_wanted;
    return count->done == count->samples && latents && !count->unknown             ? "complete"
           : alive                                                                 ? "running"
           : count->done + count->quarantined == count->samples && !count->unknown ? "quarantined"
                                                                                   : "stopped";
}

static int is_run(const char *dir, bool *run, struct error *err) {
    return folder_has(dir, "run.json", run, err);
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

struct life {
    json_t *attempts;    /* the live ones */
    double rate, silent; /* silent < 0: unknown */
    double pace;         /* share of what is left that they make a second, as they say: 1/eta, added up; 0: unknown */
    int ranks;
    size_t records;
    bool ended; /* all of them */
};

/* *age -1: there is no progress.json. */
static int since_progress(const char *dir, double *age, struct error *err) {
    struct stat info;
    bool there = false;
    char *path = text_new("%s/progress.json", dir);
    int rc = path ? file_look(path, &info, &there, err) : error_memory(err);
    *age = rc == 0 && there ? fmax(difftime(time(NULL), info.st_mtime), 0) : -1; /* a server's clock may be ahead */
    free(path);
    return rc;
}

static void add_attempt(struct life *life, const json_t *record) {
    static const char *const keys[] = {"attempt", "host", "pid", "slurm", "ranks", "rate", "started", "silent"};
    const json_t *eta = json_object_get(record, "eta_seconds");
    double silent = json_number_value(json_object_get(record, "silent"));
    if (life->silent < 0 || silent < life->silent) life->silent = silent;
    life->ended &= json_is_string(json_object_get(record, "ended"));
    life->records++;
    if (!json_is_true(json_object_get(record, "alive"))) return;
    life->rate += json_number_value(json_object_get(record, "rate"));
    if (json_is_number(eta)) life->pace += 1 / fmax(json_number_value(eta) - silent, 1);
    life->ranks += (int)json_integer_value(json_object_get(record, "ranks"));
    json_t *one = json_object();
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        json_object_set(one, keys[k], json_object_get(record, keys[k]));
    json_list_add(&life->attempts, one);
}

/* Adds a folder's attempts. */
static int look_for_life(const char *dir, struct life *life, struct error *err) {
    struct attempts attempts;
    size_t i;
    json_t *record;
    double age;
    if (since_progress(dir, &age, err) != 0) return -1;
    if (age >= 0 && (life->silent < 0 || age < life->silent)) life->silent = age;
    if (attempts_read(&attempts, dir, 0, err) != 0) return -1;
    json_array_foreach(attempts.records, i, record) add_attempt(life, record);
    attempts_release(&attempts);
    return 0;
}

/* The jobs at a run are its own, or those of the sweep that it is a cell of. */
static int look_around(const char *dir, struct life *life, struct error *err) {
    char *parent = text_new("%s/..", dir);
    int rc = parent ? look_for_life(dir, life, err) : error_memory(err);
    if (rc == 0 && life->records == 0) rc = look_for_life(parent, life, err);
    free(parent);
    return rc;
}

/* The names of a sweep's cells: those of its sweep.json, or of the folders that are runs. */
static int list_cells(json_t **names, const char *dir, struct error *err) {
    struct dirent **entries = NULL;
    if (cells_read(names, dir, err) != 0 || *names) return *names ? 0 : -1;
    if (!(*names = json_array())) return error_memory(err);
    int found = scandir(dir, &entries, is_visible, alphasort);
    int rc = found < 0 ? error_set(err, CODE_IO, "cannot list %s: %s", dir, strerror(errno)) : 0;
    for (int i = 0; i < found; i++) {
        char *folder = path_join(dir, entries[i]->d_name);
        bool run = false;
        if (rc == 0) rc = folder ? is_run(folder, &run, err) : error_memory(err);
        if (run) rc = path_check_utf8(folder, err);
        if (run && rc == 0) json_list_add(names, json_string(entries[i]->d_name));
        free(folder);
        free(entries[i]);
    }
    free(entries);
    if (rc == 0 && !*names) rc = error_memory(err);
    if (rc == 0 && json_array_size(*names) == 0)
        rc = error_set(err, CODE_DATA,
                       "%s is no run directory and no sweep: neither it nor a folder in it has a run.json", dir);
    return rc;
}

static int count_cell(const char *dir, const char *name, bool at_sweep, struct life *life, json_t *cells,
                      struct count *all, json_t *quarantine, struct error *err);

/* What other decoders make of a run's latents, each as a cell. */
static int count_decoders(const char *dir, struct life *life, json_t *decoders, struct count *all, json_t *quarantine,
                          struct error *err) {
    json_t *document;
    const json_t *decoder;
    char *folder = text_new("%s/" DECODED_FOLDER, dir);
    int rc = folder ? document_read(&document, dir, err) : error_memory(err);
    if (rc == 0) {
        bool alive = json_array_size(life->attempts) > 0;
        for (size_t k = 0; rc == 0 && (decoder = document_decoder(document, k)); k++)
            rc = count_cell(folder, json_string_value(json_object_get(decoder, "name")), alive, life, decoders, all,
                            quarantine, err);
        json_decref(document);
    }
    free(folder);
    return rc;
}

static int count_cell(const char *dir, const char *name, bool at_sweep, struct life *life, json_t *cells,
                      struct count *all, json_t *quarantine, struct error *err) {
    struct count one = {.unknown = true};
    size_t before = json_array_size(life->attempts);
    char *folder = path_join(dir, name);
    int rc = folder ? 0 : error_memory(err);
    bool begun = false;
    if (rc == 0) rc = is_run(folder, &begun, err);
    if (rc == 0 && begun) rc = look_for_life(folder, life, err);
    if (rc == 0 && begun) rc = count_run(folder, &one, quarantine, err);
    struct count decoded = {0};
    json_t *decoders = json_array();
    if (rc == 0 && begun)
        rc = decoders ? count_decoders(folder, life, decoders, &decoded, quarantine, err) : error_memory(err);
    free(folder);
    if (rc != 0) return json_decref(decoders), -1;
    bool alive = at_sweep || json_array_size(life->attempts) > before;
    one.unknown |= strcmp(state_of(&decoded, alive), "complete") != 0;
    *all = (struct count){all->samples + one.samples,
                          all->done + one.done,
                          all->shards + one.shards,
                          all->shards_done + one.shards_done,
                          all->quarantined + one.quarantined,
                          all->latents + one.latents,
                          all->latents_wanted + one.latents_wanted,
                          all->unknown || one.unknown,
                          NULL};
    if (json_array_size(decoders) == 0) json_decref(decoders), decoders = NULL;
    rc = json_array_append_new(cells, json_pack("{s:s, s:s, s:I, s:I, s:I, s:o*, s:o*}", "cell", name, "state",
                                                state_of(&one, alive), "samples", (json_int_t)one.samples, "done",
                                                (json_int_t)one.done, "quarantined", (json_int_t)one.quarantined,
                                                "stopped", one.stopped, "decoders", decoders));
    return rc == 0 ? 0 : error_memory(err);
}

static int count_cells(const char *dir, struct life *life, json_t *cells, struct count *all, json_t *quarantine,
                       struct error *err) {
    json_t *names = NULL, *name;
    size_t i;
    bool at_sweep = json_array_size(life->attempts) > 0; /* at all cells, not at one */
    int rc = list_cells(&names, dir, err);
    json_array_foreach(names, i, name) if (rc == 0)
        rc = count_cell(dir, json_string_value(name), at_sweep, life, cells, all, quarantine, err);
    json_decref(names);
    return rc;
}

/* *race: race.json with how the sweep was asked for ("job" of sweep.json), new; NULL: it was none. */
static int read_race(json_t **race, const char *dir, struct error *err) {
    json_t *sweep = NULL;
    char *path = text_new("%s/sweep.json", dir);
    int rc = path ? cells_race_read(race, dir, err) : error_memory(err);
    if (rc != 0 && err->code == CODE_DATA) rc = 0, log_warn("%s", err->message); /* a record, which counts nothing */
    if (rc == 0 && *race) rc = json_file_read_if_there(&sweep, path, err);
    if (json_object_get(sweep, "job")) json_object_set(*race, "job", json_object_get(sweep, "job"));
    if (rc != 0) json_decref(*race), *race = NULL;
    json_decref(sweep);
    free(path);
    return rc;
}

int status_read(json_t **status, const char *dir, struct error *err) {
    struct count count = {0}, decoded = {0};
    struct life life = {.attempts = json_array(), .silent = -1, .ended = true};
    json_t *quarantine = json_array(), *cells = json_array(), *decoders = json_array();
    json_t *race = NULL;
    bool run = false;
    *status = NULL;
    int rc = life.attempts && quarantine && cells && decoders ? path_check_utf8(dir, err) : error_memory(err);
    if (rc == 0) rc = is_run(dir, &run, err);
    if (rc == 0) rc = run ? look_around(dir, &life, err) : look_for_life(dir, &life, err);
    if (rc == 0)
        rc = run ? count_run(dir, &count, quarantine, err) : count_cells(dir, &life, cells, &count, quarantine, err);
    if (rc == 0 && !run) rc = read_race(&race, dir, err);
    if (rc == 0 && run) rc = count_decoders(dir, &life, decoders, &decoded, quarantine, err);
    bool alive = json_array_size(life.attempts) > 0;
    if (rc == 0) {
        const char *state = state_of(&count, alive);
        if (strcmp(state, "complete") == 0 && json_array_size(decoders) > 0) state = state_of(&decoded, alive);
        double left = (double)(count.samples - count.done - count.quarantined);
        json_t *eta = left <= 0 ? json_integer(0) : life.pace > 0 ? json_real(1 / life.pace) : json_null();
        *status = json_pack(
            "{s:s, s:s, s:I, s:I, s:o*, s:I, s:I, s:I, s:O, s:f, s:o, s:i, s:O, s:o, s:b, s:O*, s:O*, s:O*, s:O*}",
            "run", dir, "state", state, "samples", (json_int_t)count.samples, "done", (json_int_t)count.done, "latents",
            count.latents_wanted ? json_integer((json_int_t)count.latents) : NULL, "shards", (json_int_t)count.shards,
            "shards_done", (json_int_t)count.shards_done, "quarantined", (json_int_t)count.quarantined, "quarantine",
            quarantine, "rate", life.rate, "eta_seconds", eta, "ranks", life.ranks, "attempts", life.attempts,
            "silent_seconds", life.silent < 0 ? json_null() : json_real(life.silent), "ended", life.ended, "cells",
            run ? NULL : cells, "decoders", json_array_size(decoders) > 0 ? decoders : NULL, "stopped", count.stopped,
            "race", race);
        if (!*status) rc = error_memory(err);
    }
    json_decref(race);
    json_decref(count.stopped);
    json_decref(life.attempts);
    json_decref(cells);
    json_decref(decoders);
    json_decref(quarantine);
    return rc;
}
