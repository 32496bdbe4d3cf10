/* The other decoders of a job, one after the other. */
#include "work/decoders.h"

#include "base/log.h"
#include "base/signals.h"
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

/* Takes over the result of a decoder; NULL, of a rank that has none, or beside no others: nothing. */
static int note(json_t *results, const json_t *cell, const json_t *decoder, json_t *result, struct error *err) {
    if (!results || !result) return 0;
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

/* Collective: is there more to do after an end with this rc and error? Rank 0's, where they differ. */
static bool goes_on(struct comm *comm, int *rc, struct error *err) {
    struct error failure;
    *rc = ranks_agree(comm, *rc, err);
    enum code code = *rc == 0 ? CODE_OK : err->code;
    return comm_broadcast(comm, &code, sizeof code, 0, &failure) == 0 && (code == CODE_OK || code == CODE_QUARANTINE);
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
            struct error one = {.code = CODE_OK};
            if (*lost || !goes_on(comm, &rc, err)) return rc;
            int failed = run_decoder(comm, cell, decoder, options, &result, lost, &one);
            if (failed == 0) failed = note(*results, cell, decoder, result, &one);
            json_decref(result);
            /* of a quarantined shard there may be no latents; that is no other reason to start again */
            bool waits = one.code == CODE_AGAIN && !*lost && !*signals_flag();
            if (failed == 0 || (rc != 0 && one.code == CODE_QUARANTINE)) continue;
            if (rc == 0 || !waits) rc = (*err = one, -1);
            else if (log_leads())
                log_warn("decoder %s: %s", json_string_value(json_object_get(decoder, "name")), one.message);
        }
    }
    return rc;
}
