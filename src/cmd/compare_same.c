/* compare --same: the verdict, and the keys that differ. */
#include "cmd/compare_same.h"

#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "export/same.h"
#include "job/fingerprint.h"
#include "run/document.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDING = 1 }; /* levels that another order of the same sums may make of a value */

static const char *const verdicts[] = {
    [CODE_OK] = "the same bytes", [CODE_ROUNDED] = "the same within rounding", [CODE_DIFFERENT] = "different"};

/* The pixels are the same within rounding; bytes that hold no pixels never are. */
static enum code judge(const struct same *same, bool all) {
    if (!all) return CODE_DIFFERENT;
    if (same->differing == 0) return CODE_OK;
    return same->levels && same->largest <= ROUNDING ? CODE_ROUNDED : CODE_DIFFERENT;
}

/* Appends what differs between two members of run.json, with the member's name before the keys. */
static int add_differences(json_t *list, const char *name, const json_t *a, const json_t *b, struct error *err) {
    json_t *found, *one;
    size_t i;
    if (!a && !b) return 0;
    if (fingerprint_differences(&found, a, b, err) != 0) return -1;
    int rc = 0;
    json_array_foreach(found, i, one) {
        const char *key = json_string_value(json_object_get(one, "key"));
        char *whole = text_new("%s%s%s", name, *name && *key ? "." : "", key);
        if (!whole || json_object_set_new(one, "key", json_string(whole)) != 0) rc = error_memory(err);
        free(whole);
    }
    if (rc == 0 && json_array_extend(list, found) != 0) rc = error_memory(err);
    json_decref(found);
    return rc;
}

static int find_differences(json_t **list, const struct run *a, const struct run *b, struct error *err) {
    static const struct {
        const char *member, *name;
    } parts[] = {{"keys", ""}, {"made_with", "made_with"}, {"versions", "versions"}};
    if (!(*list = json_array())) return error_memory(err);
    char *seeds[] = {seeds_text(&a->job.seeds), seeds_text(&b->job.seeds)};
    json_t *mine = seeds[0] ? json_string(seeds[0]) : NULL, *theirs = seeds[1] ? json_string(seeds[1]) : NULL;
    int rc = mine && theirs ? add_differences(*list, "seeds", mine, theirs, err) : error_memory(err);
    json_decref(mine);
    json_decref(theirs);
    free(seeds[0]);
    free(seeds[1]);
    for (size_t i = 0; rc == 0 && i < sizeof parts / sizeof *parts; i++)
        rc = add_differences(*list, parts[i].name, json_object_get(a->document, parts[i].member),
                             json_object_get(b->document, parts[i].member), err);
    if (rc == 0) return 0;
    json_decref(*list);
    *list = NULL;
    return -1;
}

static void print_differences(const json_t *list) {
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one) {
        char *there = fingerprint_text(json_object_get(one, "there")),
             *here = fingerprint_text(json_object_get(one, "here"));
        print_line(stdout, "differs      %s: A has %s, B has %s", json_string_value(json_object_get(one, "key")),
                   there ? there : "?", here ? here : "?");
        free(there);
        free(here);
    }
}

static void print_words(const json_t *result) {
    const json_t *largest = json_object_get(result, "largest");
    print_line(stdout,
               "samples      %" JSON_INTEGER_FORMAT " of the same seeds, of which %" JSON_INTEGER_FORMAT
               " differ in their bytes",
               json_integer_value(json_object_get(result, "samples")),
               json_integer_value(json_object_get(result, "differing")));
    if (largest)
        print_line(stdout,
                   "pixels       the largest difference is %" JSON_INTEGER_FORMAT
                   " of 255 levels; %.4g %% of the values differ",
                   json_integer_value(largest), 100.0 * json_real_value(json_object_get(result, "share")));
    print_differences(json_object_get(result, "differences"));
}

static void print_result(const json_t *result) {
    const char *name;
    json_t *one;
    print_line(stdout, "verdict      %s", json_string_value(json_object_get(result, "verdict")));
    print_words(result);
    json_object_foreach(json_object_get(result, DECODED_FOLDER), name, one) {
        const char *only = json_string_value(json_object_get(one, "only"));
        print_line(stdout, "decoder      %s: %s%s%s", name, json_string_value(json_object_get(one, "verdict")),
                   only ? ": only in " : "", only ? only : "");
        if (!only) print_words(one);
    }
}

/* *result new. */
static int compare_runs(json_t **result, enum code *code, const struct run *a, const struct run *b, struct error *err) {
    struct same same;
    json_t *differences;
    if (same_compare(&same, a, b, err) != 0 || find_differences(&differences, a, b, err) != 0) return -1;
    *code = judge(&same, same.samples == a->job.seeds.count && same.samples == b->job.seeds.count);
    *result = json_pack("{s:s, s:I, s:I, s:o}", "verdict", verdicts[*code], "samples", (json_int_t)same.samples,
                        "differing", (json_int_t)same.differing, "differences", differences);
    bool whole = *result;
    if (whole && same.levels)
        whole = json_object_set_new(*result, "largest", json_integer(same.largest)) == 0 &&
                json_object_set_new(*result, "share", json_real((double)same.changed / (double)same.values)) == 0;
    if (whole) return 0;
    json_decref(*result);
    *result = NULL;
    return error_memory(err);
}

/* What decoder NAME made of the latents of both. */
static int compare_decoded(json_t **result, enum code *code, const char *a, const char *b, const char *name,
                           struct error *err) {
    char *folders[] = {text_new("%s/" DECODED_FOLDER "/%s", a, name), text_new("%s/" DECODED_FOLDER "/%s", b, name)};
    struct run of_a, of_b;
    int rc = folders[0] && folders[1] ? command_open_run(&of_a, folders[0], err) : error_memory(err);
    if (rc == 0) {
        rc = command_open_run(&of_b, folders[1], err);
        if (rc == 0) {
            rc = compare_runs(result, code, &of_a, &of_b, err);
            run_close(&of_b);
        }
        run_close(&of_a);
    }
    free(folders[0]);
    free(folders[1]);
    return rc;
}

static bool has_decoder(const struct run *run, const char *name) {
    const json_t *decoder;
    for (size_t k = 0; (decoder = document_decoder(run->document, k)); k++)
        if (strcmp(json_string_value(json_object_get(decoder, "name")), name) == 0) return true;
    return false;
}

/* Adds those of run x, which is "A" or "B", to *decoded; those that both have are compared once, with A's. */
static int add_decoders(json_t *decoded, enum code *worst, const struct run *x, const struct run *y, const char *which,
                        struct error *err) {
    const json_t *decoder;
    for (size_t k = 0; (decoder = document_decoder(x->document, k)); k++) {
        const char *name = json_string_value(json_object_get(decoder, "name"));
        enum code code = CODE_DIFFERENT;
        json_t *one = NULL;
        if (json_object_get(decoded, name)) continue;
        if (!has_decoder(y, name)) one = json_pack("{s:s, s:s}", "verdict", verdicts[code], "only", which);
        else if (compare_decoded(&one, &code, x->dir, y->dir, name, err) != 0) return -1;
        if (json_object_set_new(decoded, name, one) != 0) return error_memory(err);
        if (code > *worst) *worst = code;
    }
    return 0;
}

/* The verdict is the worst of all decoders'. */
static int compare_all(const struct run *a, const struct run *b, bool json, struct error *err) {
    json_t *result = NULL, *decoded = json_object();
    enum code worst = CODE_OK;
    int rc = decoded ? compare_runs(&result, &worst, a, b, err) : error_memory(err);
    if (rc == 0) rc = add_decoders(decoded, &worst, a, b, "A", err);
    if (rc == 0) rc = add_decoders(decoded, &worst, b, a, "B", err);
    if (rc == 0 && (json_object_set_new(result, "verdict", json_string(verdicts[worst])) != 0 ||
                    (json_object_size(decoded) > 0 && json_object_set(result, DECODED_FOLDER, decoded) != 0)))
        rc = error_memory(err);
    if (rc == 0 && json) rc = print_json(result, err);
    else if (rc == 0) print_result(result);
    json_decref(result);
    json_decref(decoded);
    if (rc != 0 || worst == CODE_OK) return rc;
    *err = (struct error){.code = worst};
    return -1;
}

int compare_same(const char *a, const char *b, bool json, struct error *err) {
    struct run of_a, of_b;
    if (command_open_run(&of_a, a, err) != 0) return -1;
    int rc = command_open_run(&of_b, b, err);
    if (rc == 0) {
        rc = compare_all(&of_a, &of_b, json, err);
        run_close(&of_b);
    }
    run_close(&of_a);
    return rc;
}
