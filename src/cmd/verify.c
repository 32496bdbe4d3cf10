/* verify: every file of a run or a sweep read again, and the manifest written anew. */
#include "base/draft.h"
#include "base/files.h"
#include "base/log.h"
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "format/json_file.h"
#include "run/attempts.h"
#include "run/quarantine.h"
#include "run/machines.h"
#include "work/result.h"
#include "run/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verdict {
    FILE *out;                   /* where the lines go: with --json not to stdout */
    size_t counts[SHARD_STATES]; /* files, by their state */
    size_t strangers;            /* files that are not this run's */
    size_t quarantined;          /* missing files whose shard is in quarantine.json */
    json_t *quarantine;          /* the shards in quarantine.json */
    char digest[SHA256_HEX];
};

/* Prints one line a file that is not as it should be; counts it. */
static int judge(const struct run *run, shard_id shard, int output, const char *samples, struct verdict *verdict,
                 struct shard_info *info, struct error *err) {
    enum shard_state state;
    struct error why;
    if (scan_file(run, shard, output, samples, &state, info, NULL, &why, err) != 0) return -1;
#pragma omp critical(verify)
    {
        verdict->counts[state]++;
        const json_t *known = state == SHARD_MISSING ? quarantine_find(verdict->quarantine, shard.value) : NULL;
        verdict->quarantined += known != NULL;
        if (known && output == SAMPLES) {
            print_line(verdict->out, "quarantined shard %" PRIu64 " (seeds %s): %s", shard.value,
                       json_string_value(json_object_get(known, "seeds")),
                       json_string_value(json_object_get(known, "reason")));
        } else if (state != SHARD_GOOD && !known) {
            char *path = run_path(run, shard, output);
            print_line(verdict->out, "%-8s %s%s%s", shard_state_names[state], path ? path : "?",
                       why.message[0] ? ": " : "", why.message);
            free(path);
        }
    }
    return 0;
}

static int verify_files(const struct run *run, struct verdict *verdict, struct shard_info *infos, struct error *err) {
    uint64_t shards = layout_shards(&run->layout);
    int rc = 0;
#pragma omp parallel for schedule(dynamic)
    for (uint64_t i = 0; i < shards; i++) {
        struct error one;
        struct shard_info ignored;
        int failed = judge(run, (shard_id){i}, SAMPLES, "", verdict, &infos[i], &one);
        for (int k = LATENTS; failed == 0 && k < FEATURE_FILES; k++)
            if (k != SAMPLES && run_wants(run, k))
                failed = judge(run, (shard_id){i}, k, infos[i].sha256, verdict, &ignored, &one);
        if (failed) {
#pragma omp critical(verify)
            rc = (*err = one, -1);
        }
    }
    return rc;
}

/* What verify saw when it began: jobs write the manifest themselves, so it may do so only if none has been at work
 * since. */
struct calm {
    const char *dir;
    int last[2]; /* number of the last attempt at the run, and at the sweep that it may be a cell of */
};

/* CODE_AGAIN: a job is at work on the run or its sweep. last: see struct calm. */
static int look_for_jobs(const struct calm *calm, int last[2], struct error *err) {
    const char *const where[] = {"", "/.."};
    bool busy = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof where / sizeof *where; i++) {
        char *folder = text_new("%s%s", calm->dir, where[i]);
        rc = folder ? attempts_last(folder, &last[i], err) : error_memory(err);
        if (rc == 0) rc = attempts_busy(folder, &busy, err);
        free(folder);
        if (rc == 0 && busy) rc = error_set(err, CODE_AGAIN, "a job is at work on it, and writes the manifest itself");
    }
    return rc;
}

/* A guard for the manifest (base/files.h): 0 where no job is at work and none has been since verify began. */
static int check_calm(const void *context, const char *replaced, struct error *err) {
    const struct calm *calm = context;
    int last[2];
    (void)replaced;
    if (look_for_jobs(calm, last, err) != 0) return -1;
    return memcmp(last, calm->last, sizeof last) == 0 ? 0
                                                      : error_set(err, CODE_AGAIN, "a job has been at work meanwhile");
}

static int verify_run(const struct run *run, struct verdict *verdict, struct error *err) {
    struct calm calm = {.dir = run->dir};
    const struct file_guard guard = {.check = check_calm, .context = &calm};
    struct error unwritten;
    bool is_calm = look_for_jobs(&calm, calm.last, &unwritten) == 0;
    const struct layout whole = {run->all_seeds, run->layout.shard_rows, run->layout.batch};
    uint64_t shards = layout_shards(&run->layout), most = layout_shards(&whole); /* a run that was stopped may have had
                                                                                    more */
    struct shard_info *infos = calloc(shards, sizeof *infos);
    struct text names = {0};
    int rc = infos ? verify_files(run, verdict, infos, err) : error_memory(err);
    if (rc == 0) rc = store_strangers(run->dir, "", NULL, most, &names, &verdict->strangers, err);
    if (rc == 0 && run_wants(run, LATENTS))
        rc = store_strangers(run->dir, "", LATENTS_FOLDER, most, &names, &verdict->strangers, err);
    for (int k = 0; rc == 0 && k < FEATURE_FILES; k++)
        if (run_wants(run, k))
            rc = store_strangers(run->dir, run->evaluated[k / NETWORK_OUTPUTS].network.key, run_output(run, k)->name,
                                 most, &names, &verdict->strangers, err);
    for (char *line = names.data ? strtok(names.data, "\n") : NULL; line; line = strtok(NULL, "\n"))
        print_line(verdict->out, "foreign  %s: not one of this run's files", line);
    if (rc == 0 &&
        (!is_calm || result_manifest(run, infos, &guard, verdict->digest, &unwritten) != 0)) { /* or read-only */
        if (is_calm) log_warn("the manifest is as it was: %s", unwritten.message);
        else log_info("the manifest is as it was: %s", unwritten.message);
        store_payload_digest(infos, shards, verdict->digest);
    }
    text_release(&names);
    free(infos);
    return rc;
}

/* What was found in numbers: *json (new). 0 when that is exactly the run. */
static int sum_up(const struct run *run, const struct verdict *verdict, json_t **json, struct error *err) {
    const size_t *counts = verdict->counts;
    size_t others = counts[SHARD_OTHERS], foreign = counts[SHARD_FOREIGN] + others + verdict->strangers;
    size_t bad = counts[SHARD_MISSING] + counts[SHARD_DAMAGED] + counts[SHARD_FOREIGN] + counts[SHARD_STALE] + others;
    *json = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:s*, s:O*}", "run", run->dir, "complete",
                      bad == 0, "samples", (json_int_t)run->layout.samples, "good", (json_int_t)counts[SHARD_GOOD],
                      "missing", (json_int_t)counts[SHARD_MISSING], "damaged", (json_int_t)counts[SHARD_DAMAGED],
                      "foreign", (json_int_t)foreign, "stale", (json_int_t)counts[SHARD_STALE], "quarantined",
                      (json_int_t)verdict->quarantined, "quarantine", verdict->quarantine, "payload_sha256",
                      bad == 0 ? verdict->digest : NULL, "made_with", json_object_get(run->document, "made_with"));
    if (!*json) return error_memory(err);
    fprintf(verdict->out, "%zu files good, %zu missing, %zu damaged, %zu foreign or doubled, %zu stale\n",
            counts[SHARD_GOOD], counts[SHARD_MISSING], counts[SHARD_DAMAGED], foreign, counts[SHARD_STALE]);
    if (bad > 0 && bad == verdict->quarantined)
        return error_set(err, CODE_QUARANTINE, "%s: all but %zu quarantined files are there: see its quarantine.json",
                         run->dir, bad);
    if (others > 0)
        return error_set(err, CODE_DATA,
                         "%s: %zu files were made by another job: move them away (is its samples/ a link to another "
                         "run's?); a job replaces none of them",
                         run->dir, others);
    if (bad > 0)
        return error_set(err, CODE_AGAIN, "%s: %zu files are missing or bad: run the job again to make them", run->dir,
                         bad);
    if (verdict->strangers > 0)
        return error_set(err, CODE_DATA, "%s holds %zu files that are not this run's: move them away", run->dir,
                         verdict->strangers);
    print_line(verdict->out, "%s holds exactly its %llu samples, digest %s", run->dir,
               (unsigned long long)run->layout.samples, verdict->digest);
    return 0;
}

static int verify_dir(const char *dir, FILE *out, json_t **json, struct error *err) {
    json_t *document;
    struct run run;
    struct verdict verdict = {.out = out};
    struct error unopened = {0};
    if (document_read(&document, dir, err) != 0) return -1;
    bool whole = run_open(&run, document, dir, true, &unopened) == 0;
    if (!whole) {
        if (unopened.code != CODE_IO) return *err = unopened, -1;
        log_warn("%s: its features are not looked at, so it does not count as whole: %s", dir, unopened.message);
        if (document_read(&document, dir, err) != 0 || run_open(&run, document, dir, false, err) != 0) return -1;
    }
    int rc = quarantine_read(&verdict.quarantine, dir, err);
    if (rc == 0) rc = verify_run(&run, &verdict, err);
    char *mixed = machines_mixed(run.document);
    if (rc == 0 && mixed) fprintf(out, "made on several kinds of machine, which give other last bits: %s\n", mixed);
    free(mixed);
    if (rc == 0) rc = sum_up(&run, &verdict, json, err);
    if (rc == 0 && !whole) { /* the samples are as they should be */
        *err = unopened;
        rc = -1;
        if (*json) json_object_set_new(*json, "complete", json_false());
    }
    json_decref(verdict.quarantine);
    run_close(&run);
    return rc;
}

typedef int verifier(const char *dir, FILE *out, json_t **json, struct error *err);

/* A run in a folder of another one or of a sweep; *json new. One without a run.json counts as missing. */
static int verify_within(const char *parent, const char *folder, const char *name, verifier *verify_it, FILE *out,
                         json_t **json, struct error *err) {
    char *dir = strcmp(folder, ".") == 0 ? path_join(parent, name) : text_new("%s/%s/%s", parent, folder, name);
    bool begun = false;
    int rc = dir ? folder_has(dir, "run.json", &begun, err) : error_memory(err);
    if (rc == 0 && !begun) rc = error_set(err, CODE_AGAIN, "%s: not begun: run the job again to make it", dir);
    if (rc == 0) rc = verify_it(dir, out, json, err);
    if (!*json) *json = json_pack("{s:s*, s:b}", "run", dir, "complete", 0);
    free(dir);
    return rc;
}

static bool worse(enum code one, enum code than) {
    return one == CODE_AGAIN || than == CODE_OK || than == CODE_QUARANTINE;
}

/* A run, and behind it what other decoders made of its latents. The error is the worst, as of a sweep. */
static int verify_decoded(const char *dir, FILE *out, json_t **json, struct error *err) {
    json_t *document, *all = json_object();
    const json_t *decoder;
    int rc = all ? document_read(&document, dir, err) : error_memory(err);
    if (rc == 0) {
        rc = verify_dir(dir, out, json, err);
        for (size_t k = 0; *json && (decoder = document_decoder(document, k)); k++) {
            struct error one;
            json_t *found = NULL;
            const char *name = json_string_value(json_object_get(decoder, "name"));
            if (verify_within(dir, DECODED_FOLDER, name, verify_dir, out, &found, &one) != 0) {
                print_line(out, "%s", one.message);
                if (rc == 0 || worse(one.code, err->code)) *err = one;
                rc = -1;
            }
            json_map_add(&all, name, found);
        }
        if (*json && (!all || (json_object_size(all) > 0 && json_object_set(*json, DECODED_FOLDER, all) != 0)))
            rc = error_memory(err);
        json_decref(document);
    }
    json_decref(all);
    return rc;
}

/* One cell of a sweep, added to the list. */
static int verify_cell(const char *sweep, const char *name, FILE *out, json_t **list, struct error *err) {
    json_t *json = NULL;
    int rc = verify_within(sweep, ".", name, verify_decoded, out, &json, err);
    json_map_add(&json, "cell", json_string(name));
    json_list_add(list, json);
    return rc;
}

/* All cells, also after one that is not whole. The exit status is that of the worst: missing or bad files (75), then
 * foreign ones (65), then quarantined ones (76). */
static int verify_sweep(const char *dir, const json_t *names, FILE *out, json_t **json, struct error *err) {
    json_t *list = json_array(), *name;
    size_t i, bad = 0;
    enum code code = CODE_OK;
    json_array_foreach(names, i, name) {
        struct error one;
        if (verify_cell(dir, json_string_value(name), out, &list, &one) == 0) continue;
        print_line(out, "%s", one.message);
        if (worse(one.code, code)) code = one.code;
        bad++;
    }
    *json = json_pack("{s:s, s:b, s:I, s:o}", "sweep", dir, "complete", bad == 0, "bad_cells", (json_int_t)bad, "cells",
                      list);
    if (!*json) return error_memory(err);
    if (bad > 0)
        return error_set(err, code, "%s: %zu of its %zu cells are not whole (named above)%s", dir, bad,
                         json_array_size(names),
                         code == CODE_AGAIN ? ": run the job again to make what is missing" : "");
    print_line(out, "%s holds exactly the samples of its %zu cells", dir, json_array_size(names));
    return 0;
}

struct verify_options {
    const char *run;
    bool json;
};

static int verify(const struct call *call, struct error *err) {
    const struct verify_options *options = call->options;
    FILE *out = options->json ? stderr : stdout;
    json_t *names = NULL, *json = NULL;
    struct error unprinted;
    int rc = path_check_utf8(options->run, err);
    if (rc == 0) rc = cells_read(&names, options->run, err);
    if (rc == 0)
        rc = names ? verify_sweep(options->run, names, out, &json, err) : verify_decoded(options->run, out, &json, err);
    if (options->json && json && print_json(json, &unprinted) != 0 && rc == 0) {
        *err = unprinted;
        rc = -1;
    }
    json_decref(json);
    json_decref(names);
    return rc;
}

static const struct option_row rows[] = {ROW_RUN(verify_options), ROW_JSON(verify_options)};

const struct command command_verify = {
    "verify", "Read every file of a run again and say what is missing, damaged, doubled or foreign",
    "RUN may be a sweep's folder: all its cells. Rewrites the manifest from what it finds, unless a job is at work. "
    "Exit\n"
    "status: 0 complete; 75 files are missing or bad, run the job again; 76 all that is missing is quarantined;\n"
    "65 only foreign files besides.\n",
    OPTION_TABLE(rows, verify_options), verify};
