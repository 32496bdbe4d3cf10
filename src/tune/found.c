/* What a tuning found: files, and the table that is printed. */
#include "tune/found.h"

#include "base/files.h"
#include "base/print.h"
#include "base/text.h"
#include "config/expand.h"
#include "format/json_file.h"
#include "job/fingerprint.h"
#include "job/multistep.h"
#include "solver/made.h"
#include "tune/folder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PUBLISHED = 50000 }; /* samples of a published FID, that the cost is compared with */
enum { SURE_FROM = 2 };     /* standard errors */

/* Of the job's own sampler, what all that a tuning finds go with. */
static const char *const kept[] = {"guidance", "clip", "state"};
enum { KEPT = sizeof kept / sizeof *kept };

/* ---- what is written ---- */

static json_t *at(const json_t *json, const char *key) {
    return json_object_get(json, key);
}

static int write_table(const char *folder, const json_t *found, const json_t *one, const json_t *document,
                       struct error *err) {
    json_int_t nfe = json_integer_value(at(one, "nfe"));
    char *path = text_new("%s/tuned-nfe%lld.json", folder, (long long)nfe);
    char digest[SHA256_HEX];
    const json_t *table = at(one, "table");
    int rc = path ? multistep_digest(table, digest, err) : error_memory(err);
    if (rc != 0) {
        free(path);
        return rc;
    }
    json_t *made = json_pack("{ss ss? ss sO so sO sO sO* sO sO* sO sO sO sO sO sO sO}", "by", "qtaylor tune",
                             "model_sha256", json_string_value(at(at(at(document, "keys"), "model"), "sha256")),
                             "table_sha256", digest, "seeds", at(one, "seeds"), "keys", made_keys(at(document, "keys")),
                             "chosen_by", at(one, "chosen_by"), "error", at(one, "error"), "fid", at(one, "fid"),
                             "rival", at(one, "rival"), "delta", at(one, "delta"), "ratio", at(one, "ratio"),
                             "ratio_error", at(one, "ratio_error"), "grid", at(one, "grid"), "order", at(one, "order"),
                             "polished", at(one, "polished"), "teacher", at(found, "teacher"), "paths",
                             at(found, "paths"));
    json_t *file = json_pack("{so sO sO so}", "name", json_sprintf("tuned-nfe%lld", (long long)nfe), "times",
                             at(table, "times"), "steps", at(table, "steps"), "made", made);
    rc = file ? json_file_write(path, file, err) : error_memory(err);
    json_decref(file);
    free(path);
    return rc;
}

/* One of the two samplers of an NFE. */
static json_t *cell_of(const json_t *one, bool table) {
    if (!table) return json_whole_deep_copy(at(at(one, "rival"), "sampler"));
    return json_pack("{ss so}", "solver", "table", "table",
                     json_sprintf("tuned-nfe%lld.json", (long long)json_integer_value(at(one, "nfe"))));
}

/* *dir: new, where compare.yaml's runs go. Another job's, or those of other tables and solvers, go elsewhere. */
static int comparison_dir(char **dir, const char *folder, const json_t *found, const json_t *document,
                          struct error *err) {
    json_t *of = json_pack("[O]", at(document, "fingerprint")), *one;
    char hex[SHA256_HEX], *absolute = path_absolute(folder);
    size_t i;
    bool whole = of && absolute;
    json_array_foreach(at(found, "tuned"), i, one) {
        const json_t *table = json_is_true(at(one, "wins")) ? at(one, "table") : NULL;
        whole = whole && json_array_append_new(of, json_pack("{sO? sO}", "table", table, "solver",
                                                             at(at(one, "rival"), "sampler"))) == 0;
    }
    *dir = whole && fingerprint_digest(of, hex, err) == 0 ? text_new("%s/compare-%.8s", absolute, hex) : NULL;
    free(absolute);
    json_decref(of);
    return *dir ? 0 : error_memory(err);
}

/* compare.yaml: the job itself, a cell a table and one a rival. */
static int write_comparison(const char *folder, const json_t *found, const json_t *document, struct error *err) {
    json_t *job = json_whole_deep_copy(at(document, "job")), *own = at(job, "sampler"), *cells = json_array(), *one;
    json_t *sampler = json_object();
    size_t i;
    char *dir = NULL, *path = text_new("%s/compare.yaml", folder);
    bool whole = job && cells && sampler && path && comparison_dir(&dir, folder, found, document, err) == 0;
    for (i = 0; whole && i < KEPT; i++)
        if (at(own, kept[i])) whole = json_object_set(sampler, kept[i], at(own, kept[i])) == 0;
    json_array_foreach(at(found, "tuned"), i, one) {
        if (json_is_true(at(one, "wins"))) whole = whole && json_array_append_new(cells, cell_of(one, true)) == 0;
        whole = whole && json_array_append_new(cells, cell_of(one, false)) == 0;
    }
    whole = whole && json_object_set_new(job, "sampler", json_incref(sampler)) == 0 &&
            json_object_set_new(job, "sweep", json_pack("{sO}", "sampler", cells)) == 0 &&
            json_object_set_new(at(job, "output"), "dir", json_string(dir)) == 0 && paths_write_literal(job) == 0;
    int rc = whole ? json_file_write(path, job, err) : error_memory(err);
    free(path);
    free(dir);
    json_decref(sampler);
    json_decref(cells);
    json_decref(job);
    return rc;
}

int tune_found_write(const char *folder, const json_t *found, const json_t *document, bool force, struct error *err) {
    json_t *one;
    size_t i;
    int rc = folder_make(folder, err);
    if (rc == 0) rc = tune_folder_take(folder, document, force, err);
    json_array_foreach(at(found, "tuned"), i, one) {
        if (rc != 0) break;
        rc = json_is_true(at(one, "wins")) ? write_table(folder, found, one, document, err)
                                           : tune_folder_drop(folder, (int)json_integer_value(at(one, "nfe")),
                                                              "this tuning recommends no table at its NFE", err);
    }
    return rc == 0 ? write_comparison(folder, found, document, err) : rc;
}

/* ---- what is printed ---- */

static double value_of(const json_t *json, const char *key) {
    const json_t *value = at(json, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* "unipc of order 2, quadratic" */
static void print_rival(const json_t *sampler) {
    const json_t *grid = at(sampler, "grid"), *order = at(sampler, "order");
    char *text = json_is_string(grid) ? strdup(json_string_value(grid)) : json_text(grid, JSON_COMPACT);
    printf("%s", json_string_value(at(sampler, "solver")));
    if (order) printf(" of order %g", json_number_value(order));
    print_line(stdout, ", %s", text ? text : "");
    free(text);
}

static void print_one(const json_t *one) {
    const json_t *rival = at(one, "rival"), *fid = at(one, "fid"), *theirs = at(rival, "fid"),
                 *delta = at(one, "delta");
    printf("%4lld  %9.5f %9.5f  %5.3f +- %.3f", (long long)json_integer_value(at(one, "nfe")), value_of(rival, "error"),
           value_of(one, "error"), value_of(one, "ratio"), value_of(one, "ratio_error"));
    if (fid || theirs)
        printf("  %8.4f %8.4f  %+.4f +- %.4f", value_of(theirs, "fid_corrected"), value_of(fid, "fid_corrected"),
               value_of(delta, "fid_delta"), value_of(delta, "fid_delta_error"));
    printf("  %s, order %lld%s%s; ", json_string_value(at(one, "grid")),
           (long long)json_integer_value(at(one, "order")), json_is_true(at(one, "polished")) ? ", polished" : "",
           json_is_true(at(one, "wins")) ? "" : " (not written)");
    print_rival(at(rival, "sampler"));
}

/* How many of its standard errors the table is better by, where negative; NAN: not known. */
static double errors_of(const json_t *one) {
    const json_t *delta = at(one, "delta");
    return delta ? value_of(delta, "fid_delta") / value_of(delta, "fid_delta_error")
                 : (value_of(one, "ratio") - 1) / value_of(one, "ratio_error");
}

/* A sampler as a line of a job, with what the job's own has besides. */
static void print_use(const json_t *one, const json_t *document, const char *place) {
    bool table = json_is_true(at(one, "wins"));
    json_t *sampler = cell_of(one, table),
           *plain = json_pack("{sf sb ss}", "guidance", 1.0, "clip", 0, "state", "float64"), *value;
    const char *key, *between = "";
    for (size_t i = 0; i < KEPT; i++) {
        json_t *own = at(at(at(document, "job"), "sampler"), kept[i]);
        bool same = json_equal(own, at(plain, kept[i])) || json_number_value(own) == 1;
        if (own && !same) json_map_add(&sampler, kept[i], json_whole_deep_copy(own));
    }
    long long nfe = json_integer_value(at(one, "nfe"));
    if (table) json_map_add(&sampler, "table", json_sprintf("%s/tuned-nfe%lld.json", place, nfe));
    struct text line = {.failed = !sampler || paths_write_literal(sampler) != 0};
    json_object_foreach(sampler, key, value) {
        char *text = json_text(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        bool word = strcmp(key, "table") != 0 && json_is_string(value);
        text_add(&line, "%s%s: %s", between, key, word ? json_string_value(value) : text ? text : "?");
        between = ", ";
        line.failed |= !text;
        free(text);
    }
    print_line(stdout, "use at NFE %lld:  sampler: {%s}%s", nfe, line.failed ? "(out of memory)" : line.data,
               table                        ? ""
               : errors_of(one) > SURE_FROM ? "  # of the registry: the table is worse"
                                            : "  # of the registry: no table is surely better");
    text_release(&line);
    json_decref(plain);
    json_decref(sampler);
}

/* Where FIDs of more samples would tell more. */
static void print_unsure(const json_t *found, json_int_t samples) {
    const char *between = "NFE ";
    const json_t *one;
    size_t i;
    json_array_foreach(at(found, "tuned"), i, one) {
        if (!at(one, "delta") || !(fabs(errors_of(one)) < SURE_FROM)) continue;
        printf("%s%lld", between, (long long)json_integer_value(at(one, "nfe")));
        between = ", ";
    }
    if (*between == ',')
        printf(": the difference is within %d of its errors; --samples %lld halves them\n", SURE_FROM,
               4 * (long long)samples);
}

static void print_comparison(const json_t *found, const json_t *document, const char *place) {
    struct error err = {0};
    struct text line = {0};
    char *dir = NULL, *path = text_new("%s/compare.yaml", place);
    if (path && comparison_dir(&dir, place, found, document, &err) == 0) {
        text_add(&line, "compare all:  qtaylor run");
        text_add_word(&line, path);
        text_add(&line, "; qtaylor report");
        text_add_word(&line, dir);
    }
    print_line(stdout, "%s", line.data && !line.failed ? line.data : "(out of memory)");
    text_release(&line);
    free(path);
    free(dir);
}

/* Below the table: how to read its FIDs, and how to use what is recommended, from anywhere. */
static void print_uses(const json_t *found, const json_t *document, const char *folder) {
    char *absolute = path_absolute(folder);
    const char *place = absolute ? absolute : folder;
    json_int_t samples = 0;
    double margin = 1;
    size_t i;
    json_t *one;
    json_array_foreach(at(found, "tuned"), i, one) {
        json_int_t of_one = json_integer_value(at(one, "samples"));
        if (at(one, "fid") && of_one > samples) samples = of_one;
        margin = fmax(margin, value_of(one, "margin"));
    }
    if (samples)
        printf("the FIDs are of few samples (at most %lld), so they may even be negative: only the difference of a row "
               "counts;\na table is used where it is below 0 by more than %.3g times its standard error, as of tables "
               "that are no better one in six is by chance\n",
               (long long)samples, margin);
    json_array_foreach(at(found, "tuned"), i, one) print_use(one, document, place);
    print_unsure(found, samples);
    print_comparison(found, document, place);
    free(absolute);
}

void tune_found_print(const json_t *found, const json_t *document, const char *folder) {
    const json_t *teacher = at(found, "teacher");
    json_t *one;
    size_t i;
    double rows = value_of(found, "model_rows"), whole = 0;
    printf("teacher: %s with %lld evaluations, its own error about %.1e (rms; samples have %.3g)\n\n",
           json_string_value(at(teacher, "solver")), (long long)json_integer_value(at(teacher, "nfe")),
           value_of(teacher, "error"), value_of(teacher, "spread"));
    bool fids = json_integer_value(at(found, "samples")) > 0;
    printf("      rms distance to the fine samples%s\n", fids ? "      FID, corrected" : "");
    printf(" NFE   registry     table   ratio          %s\n", fids ? "  registry    table  difference" : "");
    json_array_foreach(at(found, "tuned"), i, one) {
        print_one(one);
        whole += (double)PUBLISHED * value_of(one, "nfe") * value_of(found, "calls");
    }
    printf("\n%.0f model evaluations of a sample, %.1f %% of what %d samples at %s NFE take\n", rows,
           100 * rows / whole, PUBLISHED, json_array_size(at(found, "tuned")) > 1 ? "each of these" : "this");
    print_uses(found, document, folder);
}
