/* The same latents under another decoder. */
#include "run/redecode.h"

#include "base/files.h"
#include "base/text.h"
#include "format/json_file.h"
#include "job/decoder.h"
#include "job/fingerprint.h"
#include "job/job_conditions.h"
#include "job/model_file.h"
#include "run/machines.h"
#include "run/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The older run's job with another decoder and folder: new, or NULL. */
static json_t *changed_job(const struct run *run, const struct other_decoder *decoder, const char *dir) {
    json_t *resolved = json_whole_deep_copy(run->job.resolved);
    char *path = path_absolute(decoder->path), *folder = path_absolute(dir);
    int batch = decoder->name ? decoder->batch : run->job.decode.batch;
    json_t *decode = json_pack("{s:s, s:o*}", "path", path, "batch", batch ? json_integer(batch) : NULL);
    bool whole = resolved && path && folder && json_object_set_new(resolved, "decode", decode) == 0 &&
                 json_object_set_new(json_object_get(resolved, "output"), "dir", json_string(folder)) == 0;
    free(path);
    free(folder);
    if (whole) return resolved;
    json_decref(resolved);
    return NULL;
}

#define WITHIN "../../" LATENTS_FOLDER /* as it is seen from decoded/NAME: the run may be moved */

/* Sets what the decoder changes in the document; job, card: with the new one. within: the run's folder. */
static int change(json_t *document, const struct run *run, const struct job *job, const struct card *card, bool within,
                  struct error *err) {
    char sha256[SHA256_HEX];
    struct fingerprint fingerprint;
    if (machines_take(document, NULL, err) != 0) return -1;
    json_object_del(document, "row_difference");
    if (model_file_digest(job->decode.path, sha256, err) != 0) return -1;
    if (run_fingerprint(&fingerprint, run, job, card, sha256, err) != 0) return -1;
    char *latents = text_new("%s/" LATENTS_FOLDER, run->job.output.dir);
    char *absolute = latents ? path_absolute(latents) : NULL;
    bool whole = absolute && json_object_set(document, "keys", fingerprint.keys) == 0 &&
                 json_object_set_new(document, "fingerprint", json_string(fingerprint.hex)) == 0 &&
                 json_object_set(document, "job", job->resolved) == 0 &&
                 json_object_set(document, "decoder", card->decoder->json) == 0 &&
                 json_object_set_new(document, "latents_of", json_string(within ? WITHIN : absolute)) == 0;
    free(absolute);
    free(latents);
    fingerprint_release(&fingerprint);
    return whole ? 0 : error_memory(err);
}

int redecode_document(json_t **document, const char *run_dir, const struct other_decoder *decoder, const char *dir,
                      struct error *err) {
    struct run run;
    struct job job = {0};
    struct card card = {0};
    json_t *older, *resolved = NULL;
    *document = NULL;
    if (document_read(&older, run_dir, err) != 0 || run_open(&run, older, run_dir, false, err) != 0) return -1;
    free(run.job.output.dir); /* where it is now */
    int rc = (run.job.output.dir = strdup(run_dir)) ? 0 : error_memory(err);
    if (rc == 0 && !run_wants(&run, LATENTS))
        rc = error_set(err, CODE_DATA,
                       run.job.decode.path
                           ? "%s keeps no latents that could be decoded: run its job once more with --set "
                             "output.latents=true, which makes them again and nothing else"
                           : "%s was made without a decoder: give its job one (`decode`), and another output.dir",
                       run_dir);
    if (rc == 0) rc = run_check(&run, err);
    if (rc == 0 && !(resolved = changed_job(&run, decoder, dir))) rc = error_memory(err);
    if (rc == 0) rc = job_from_json(&job, resolved, "run.json", err);
    if (rc == 0) rc = card_parse(&card, run.card.json, "run.json: card", err);
    if (rc == 0) rc = job_add_nulls(&job, &card, err);
    if (rc == 0) rc = decoder_add(&card, &job, NULL, err);
    if (rc == 0 && !(*document = json_whole_copy(run.document))) rc = error_memory(err);
    if (rc == 0) rc = change(*document, &run, &job, &card, decoder->name, err);
    if (rc != 0) json_decref(*document), *document = NULL;
    card_release(&card);
    job_release(&job);
    json_decref(resolved);
    run_close(&run);
    return rc;
}

int redecode_link(const json_t *document, const char *dir, struct error *err) {
    const char *latents = json_string_value(json_object_get(document, "latents_of"));
    char *path = latents ? text_new("%s/" LATENTS_FOLDER, dir) : NULL;
    int rc = !latents || path ? 0 : error_memory(err);
    if (rc == 0 && latents && symlink(latents, path) != 0 && errno != EEXIST)
        rc = error_set(err, CODE_IO, "cannot make the link %s to %s: %s", path, latents, strerror(errno));
    free(path);
    return rc;
}
