/* Whether metrics may stand in one table. */
#include "run/comparable.h"

#include "base/text.h"
#include "format/json_file.h"

#include <stdlib.h>
#include <string.h>

static bool same_digests(const struct run *a, const struct run *b, int which) {
    json_t *mine = run_digests(a, which), *theirs = run_digests(b, which);
    bool same = mine && theirs && json_equal(mine, theirs);
    json_decref(mine);
    json_decref(theirs);
    return same;
}

static bool same(const struct run *a, const struct run *b) {
    return a->evaluated_count == b->evaluated_count && a->job.evaluate.count == b->job.evaluate.count &&
           same_digests(a, b, NETWORK_DIGESTS) && same_digests(a, b, EVALUATED_REFERENCE) &&
           same_digests(a, b, EVALUATED_VALIDATION) && same_digests(a, b, EVALUATED_TEXT);
}

/* The first cell's run, whose evaluation is that of all; NULL: they differ, or are not evaluated. */
static const struct run *evaluated(const struct cells *cells) {
    const struct run *first = &cells->cells[0].run;
    for (size_t i = 0; i < cells->count; i++)
        if (!cells->cells[i].run.job.evaluate.enabled || !same(&cells->cells[i].run, first)) return NULL;
    return first;
}

static bool names(const json_t *inputs, const char *key, const struct run *run, int which) {
    json_t *expected = run_digests(run, which);
    const json_t *found = json_object_get(inputs, key);
    bool equal = found && expected && json_equal(found, expected);
    json_decref(expected);
    return equal;
}

/* Of the files that not all jobs have: none, or the same. */
static bool names_others(const json_t *inputs, const struct run *run) {
    for (enum evaluated_file which = EVALUATED_VALIDATION; which < EVALUATED_FILES; which++) {
        bool any = false;
        for (size_t i = 0; i < run->evaluated_count; i++) any |= run->evaluated[i].files[which].path != NULL;
        if (any ? !names(inputs, evaluated_file_names[which], run, (int)which)
                : json_object_get(inputs, evaluated_file_names[which]) != NULL)
            return false;
    }
    return true;
}

int comparable_with(const struct cells *cells, const char *dir, bool *yes, struct error *err) {
    const struct run *run = evaluated(cells);
    json_t *result = NULL;
    *yes = true;
    if (!run) return 0;
    char *path = text_new("%s/metrics.json", dir);
    int rc = path ? json_file_read_if_there(&result, path, err) : error_memory(err);
    const json_t *inputs = json_object_get(result, "inputs"), *count = json_object_get(inputs, "count");
    if (rc == 0 && json_is_object(json_object_get(result, "metrics")))
        *yes = names(inputs, "reference", run, EVALUATED_REFERENCE) && names(inputs, "network", run, NETWORK_DIGESTS) &&
               names_others(inputs, run) && (uint64_t)json_integer_value(count) == run->job.evaluate.count;
    json_decref(result);
    free(path);
    return rc;
}
