/* Whether metrics may stand in one table. */
#include "run/comparable.h"

#include "base/text.h"
#include "format/json_file.h"

#include <stdlib.h>
#include <string.h>

/* The first cell's run, whose evaluation is that of all; NULL: they differ, or are not evaluated. */
static const struct run *evaluated(const struct cells *cells) {
    const struct run *first = &cells->cells[0].run;
    for (size_t i = 0; i < cells->count; i++) {
        const struct run *run = &cells->cells[i].run;
        if (!run->job.evaluate.enabled || strcmp(run->reference, first->reference) != 0 ||
            strcmp(run->network.sha256, first->network.sha256) != 0 ||
            run->job.evaluate.count != first->job.evaluate.count)
            return NULL;
    }
    return first;
}

static bool names(const json_t *inputs, const char *key, const char *sha256) {
    const char *found = json_string_value(json_object_get(inputs, key));
    return found && strcmp(found, sha256) == 0;
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
        *yes = names(inputs, "reference", run->reference) && names(inputs, "network", run->network.sha256) &&
               (uint64_t)json_integer_value(count) == run->job.evaluate.count;
    json_decref(result);
    free(path);
    return rc;
}
