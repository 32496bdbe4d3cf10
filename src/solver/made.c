/* What a table or a plan says of its own making. */
#include "solver/made.h"

#include "base/files.h"
#include "job/model_file.h"
#include "job/multistep.h"

#include <string.h>

enum { SHOWN = 12 }; /* digits of a digest */

static int doubt_model(struct text *doubts, const char *key, const char *theirs, const char *model, struct error *err) {
    char ours[SHA256_HEX];
    bool there = false, whole = strspn(theirs, "0123456789abcdef") == SHA256_HEX - 1;
    if (!*theirs || !model) return 0;
    if (file_exists(model, &there, err) != 0) return -1;
    if (!there) return 0;
    if (model_file_digest(model, ours, err) != 0) return -1;
    if (strcmp(theirs, ours) != 0)
        text_add(doubts,
                 "%s: it was made for another model, of sha256 %.*s..., and this job's has %.*s...: what its made says "
                 "of it is not of this one (qtaylor tune fits tables to a model; without made.model_sha256 nothing is "
                 "compared)\n",
                 key, SHOWN, whole ? theirs : "?", SHOWN, ours);
    return 0;
}

int made_doubts(struct text *doubts, const struct sampler *sampler, const struct plan *plan, const char *model,
                struct error *err) {
    const json_t *made = json_object_get(sampler->table, "made");
    const char *theirs = json_string_value(json_object_get(made, "model_sha256")),
               *numbers = json_string_value(json_object_get(made, "table_sha256"));
    char digest[SHA256_HEX];
    int rc = sampler->plan ? doubt_model(doubts, "sampler.plan", plan->made_for, model, err)
                           : doubt_model(doubts, "sampler.table", theirs ? theirs : "", model, err);
    if (rc == 0 && numbers && (rc = multistep_digest(sampler->table, digest, err)) == 0 && strcmp(numbers, digest) != 0)
        text_add(doubts, "sampler.table: its times or coefficients were changed since it was made: what its made says "
                         "of it is not of these (a table by hand has no made.table_sha256)\n");
    return rc == 0 && doubts->failed ? error_memory(err) : rc;
}
