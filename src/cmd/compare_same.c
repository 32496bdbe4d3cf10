/* compare --same: the verdict, and the keys that differ. */
#include "cmd/compare_same.h"

#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "export/same.h"
#include "job/fingerprint.h"

#include <inttypes.h>
#include <stdlib.h>

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
    int rc = add_differences(*list, "seeds", json_object_get(json_object_get(a->document, "job"), "seeds"),
                             json_object_get(json_object_get(b->document, "job"), "seeds"), err);
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

static void print_words(const struct same *same, enum code code, const json_t *differences) {
    print_line(stdout, "verdict      %s", verdicts[code]);
    print_line(stdout, "samples      %" PRIu64 " of the same seeds, of which %" PRIu64 " differ in their bytes",
               same->samples, same->differing);
    if (same->levels)
        print_line(stdout, "pixels       the largest difference is %d of 255 levels; %.4g %% of the values differ",
                   same->largest, 100.0 * (double)same->changed / (double)same->values);
    print_differences(differences);
}

static int print_verdict(const struct same *same, enum code code, const json_t *differences, bool json,
                         struct error *err) {
    if (!json) {
        print_words(same, code, differences);
        return 0;
    }
    json_t *result = json_pack("{s:s, s:I, s:I, s:O}", "verdict", verdicts[code], "samples", (json_int_t)same->samples,
                               "differing", (json_int_t)same->differing, "differences", differences);
    bool whole = result;
    if (whole && same->levels)
        whole = json_object_set_new(result, "largest", json_integer(same->largest)) == 0 &&
                json_object_set_new(result, "share", json_real((double)same->changed / (double)same->values)) == 0;
    int rc = whole ? print_json(result, err) : error_memory(err);
    json_decref(result);
    return rc;
}

static int compare_runs(const struct run *a, const struct run *b, bool json, struct error *err) {
    struct same same;
    json_t *differences;
    if (same_compare(&same, a, b, err) != 0 || find_differences(&differences, a, b, err) != 0) return -1;
    enum code code = judge(&same, same.samples == a->job.seeds.count && same.samples == b->job.seeds.count);
    int rc = print_verdict(&same, code, differences, json, err);
    json_decref(differences);
    if (rc != 0 || code == CODE_OK) return rc;
    *err = (struct error){.code = code};
    return -1;
}

int compare_same(const char *a, const char *b, bool json, struct error *err) {
    struct run of_a, of_b;
    if (command_open_run(&of_a, a, err) != 0) return -1;
    int rc = command_open_run(&of_b, b, err);
    if (rc == 0) {
        rc = compare_runs(&of_a, &of_b, json, err);
        run_close(&of_b);
    }
    run_close(&of_a);
    return rc;
}
