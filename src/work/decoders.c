/* The other decoders of a job, one after the other. */
#include "work/decoders.h"

#include "base/text.h"
#include "cluster/agree.h"
#include "run/cells.h"

#include <stdlib.h>
#include <string.h>

/* One decoder of one run, on all ranks. cell: of the list, the same on every rank. */
static int run_decoder(struct comm *comm, const json_t *cell, const json_t *decoder,
                       const struct pipeline_options *options, json_t **results, bool *lost, struct error *err) {
    const char *dir = json_string_value(json_object_get(cell, "dir"));
    const struct other_decoder other = {(char *)json_string_value(json_object_get(decoder, "name")),
                                        (char *)json_string_value(json_object_get(decoder, "path")),
                                        (int)json_integer_value(json_object_get(decoder, "batch"))};
    struct pipeline_options only = *options;
    json_t *list = NULL;
    only.only_decode = options->make_samples;
    *results = NULL;
    if (comm_rank(comm) == 0) {
        char *folder = text_new("%s/" DECODED_FOLDER "/%s", dir, other.name);
        if (!folder) error_memory(err);
        else cells_list_redecoded(&list, dir, &other, folder, err);
        free(folder);
    }
    if (document_share(comm, &list, err) != 0) return -1;
    int rc = pipeline_run(comm, list, &only, results, lost, err);
    json_decref(list);
    return rc;
}

/* Takes over the result of a decoder. */
static int note(json_t *results, const json_t *cell, const json_t *decoder, json_t *result, struct error *err) {
    const char *name = json_string_value(json_object_get(decoder, "name")),
               *of = json_string_value(json_object_get(cell, "name"));
    json_t *decoded = json_object_get(results, "decoded");
    char *key = of ? text_new("%s/%s", of, name) : strdup(name);
    int rc = decoded || json_object_set_new(results, "decoded", json_object()) == 0 ? 0 : error_memory(err);
    if (rc == 0 && (!key || json_object_set(json_object_get(results, "decoded"), key, result) != 0))
        rc = error_memory(err);
    free(key);
    return rc;
}

int decoders_run(struct comm *comm, const json_t *list, const struct pipeline_options *options, json_t **results,
                 bool *lost, struct error *err) {
    int rc = pipeline_run(comm, list, options, results, lost, err);
    json_t *cell;
    size_t i;
    if (options->dry_run) return rc; /* there are no latents for them */
    json_array_foreach(json_object_get(list, "cells"), i, cell) {
        const json_t *decoder;
        for (size_t k = 0; (decoder = document_decoder(json_object_get(cell, "document"), k)); k++) {
            json_t *result = NULL;
            struct error one;
            if (!*lost) rc = ranks_agree(comm, rc, err);
            if (*lost || (rc != 0 && err->code != CODE_QUARANTINE)) return rc;
            int failed = run_decoder(comm, cell, decoder, options, &result, lost, &one);
            if (failed == 0 && result) failed = note(*results, cell, decoder, result, &one);
            json_decref(result);
            if (failed == 0 || (rc != 0 && one.code == CODE_QUARANTINE)) continue;
            *err = one;
            rc = -1;
        }
    }
    return rc;
}
