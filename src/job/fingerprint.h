/* What determines a sample, as canonical JSON and its SHA-256. Two runs with equal fingerprints make equal samples
 * for equal seeds; seeds, shard size, device, workers, folder and evaluation are left out. */
#ifndef JOB_FINGERPRINT_H
#define JOB_FINGERPRINT_H

#include "base/error.h"
#include "base/hash.h"
#include "job/job.h"

struct fingerprint {
    json_t *keys; /* owned: {"model": {"sha256": ...}, "card": {...}, "sampler": {...}, "labels": ..., ...} */
    char hex[SHA256_HEX];
};

/* sampler: the resolved one. guide_sha256 (the guiding model's), label_sha256 and initial_sha256: of those files, or
 * NULL. plan_sha256: plan_digest of a plan that is a file, or NULL. plan_version: see solver/plan.h. */
int fingerprint_make(struct fingerprint *fingerprint, const struct job *job, const struct card *card,
                     const struct sampler *sampler, const char *model_sha256, const char *guide_sha256,
                     const char *plan_sha256, const char *label_sha256, const char *initial_sha256, int plan_version,
                     struct error *err);
/* Of keys alone. */
int fingerprint_digest(const json_t *keys, char hex[SHA256_HEX], struct error *err);
void fingerprint_release(struct fingerprint *fingerprint);
/* 0 when equal; otherwise CODE_DATA, naming the first key that differs (dotted path) with both values. */
int fingerprint_compare(const json_t *there, const json_t *here, const char *folder, struct error *err);

#endif
