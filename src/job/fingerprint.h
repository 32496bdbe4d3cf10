/* What determines a sample, as canonical JSON and its SHA-256. Two runs with equal fingerprints make equal samples
 * for equal seeds; seeds, shard size, device, workers, folder and evaluation are left out. */
#ifndef JOB_FINGERPRINT_H
#define JOB_FINGERPRINT_H

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "job/job.h"

struct fingerprint {
    json_t *keys; /* owned: {"model": {"sha256": ...}, "card": {...}, "sampler": {...}, "labels": ..., ...} */
    char hex[SHA256_HEX];
};

struct file_digests { /* sha256 of the files that samples are made of; NULL: there is none. Borrowed.
                         plan: plan_digest of a plan that is a file */
    const char *model, *guide, *plan, *labels, *initial, *decoder, *scales;
    const json_t *conditions; /* instead what conditions_look says of them (sample/conditions.h) */
};

/* sampler: the resolved one. plan_version: see solver/plan.h. */
int fingerprint_make(struct fingerprint *fingerprint, const struct job *job, const struct card *card,
                     const struct sampler *sampler, const struct file_digests *files, int plan_version,
                     struct error *err);
/* Of keys alone. */
int fingerprint_digest(const json_t *keys, char hex[SHA256_HEX], struct error *err);
/* Of what determines latents: the keys without decoder, rounding and type of the samples. */
int fingerprint_of_latents(const json_t *keys, char hex[SHA256_HEX], struct error *err);
void fingerprint_release(struct fingerprint *fingerprint);
/* 0 when equal; otherwise CODE_DATA, naming the first key that differs (dotted path) with both values. */
int fingerprint_compare(const json_t *there, const json_t *here, const char *folder, struct error *err);
/* *list (new): all keys that differ, [{"key": dotted path, "there", "here"}] in order; a value that is missing is left
 * out. */
int fingerprint_differences(json_t **list, const json_t *there, const json_t *here, struct error *err);
/* A value of such a list in a message; "nothing" of NULL. New, or NULL when out of memory. */
char *fingerprint_text(const json_t *value);
/* Adds one of such a list: "KEY = THERE, this job has HERE". */
void fingerprint_tell(struct text *out, const json_t *difference);

#endif
