/* What a table or a plan says of its own making. */
#include "solver/made.h"

#include "base/files.h"
#include "format/json_file.h"
#include "job/model_file.h"
#include "job/multistep.h"

#include <string.h>

enum { SHOWN = 12 }; /* digits of a digest */

static int doubt_model(struct text *doubts, const char *key, const char *theirs, const char *model, struct error *err) {
    char ours[SHA256_HEX];
    bool there = false;
    if (!theirs || !model) return 0;
    if (file_exists(model, &there, err) != 0) return -1;
    if (!there) return 0;
    if (model_file_digest(model, ours, err) != 0) return -1;
    if (strcmp(theirs, ours) != 0)
        text_add(doubts,
                 "%s: it was made for another model, of sha256 %.*s..., and this job's has %.*s...: what its made says "
                 "of it is not of this one (qtaylor tune fits tables to a model; without made.model_sha256 nothing is "
                 "compared)\n",
                 key, SHOWN, theirs, SHOWN, ours);
    return 0;
}

int made_doubts(struct text *doubts, const struct sampler *sampler, const char *model, struct error *err) {
    const char *key = sampler->table ? "sampler.table" : "sampler.plan";
    char digest[SHA256_HEX];
    json_t *json = sampler->table ? json_incref(sampler->table) : NULL;
    int rc = 0;
    if (!json && sampler->plan) rc = json_file_read(&json, sampler->plan, err);
    const json_t *made = json_object_get(json, "made");
    const char *numbers = json_string_value(json_object_get(made, "table_sha256"));
    if (rc == 0) rc = doubt_model(doubts, key, json_string_value(json_object_get(made, "model_sha256")), model, err);
    if (rc == 0 && sampler->table && numbers) {
        rc = multistep_digest(sampler->table, digest, err);
        if (rc == 0 && strcmp(numbers, digest) != 0)
            text_add(doubts,
                     "%s: its times or coefficients were changed since it was made: what its made says of it is not of "
                     "these (a table by hand has no made.table_sha256)\n",
                     key);
    }
    json_decref(json);
    return rc == 0 && doubts->failed ? error_memory(err) : rc;
}
