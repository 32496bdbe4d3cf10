/* What a table or a plan says of its own making. */
#include "solver/made.h"

#include "base/files.h"
#include "job/fingerprint.h"
#include "job/model_file.h"
#include "job/multistep.h"

#include <inttypes.h>
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

json_t *made_keys(const json_t *keys) {
    static const char *const names[] = {"model", "card", "labels", "conditions", "decode"};
    static const char *const of_sampler[] = {"guidance", "clip", "t_start", "t_end", "final"};
    const json_t *sampler = json_object_get(keys, "sampler");
    json_t *made = json_object(), *ours = json_object();
    bool whole = made && ours;
    for (size_t i = 0; i < sizeof names / sizeof *names && whole; i++) {
        json_t *value = json_object_get(keys, names[i]);
        whole = !value || json_object_set(made, names[i], value) == 0;
    }
    for (size_t i = 0; i < sizeof of_sampler / sizeof *of_sampler && whole; i++) {
        json_t *value = json_object_get(sampler, of_sampler[i]);
        whole = !value || json_object_set(ours, of_sampler[i], value) == 0;
    }
    whole = whole && json_object_set(made, "sampler", ours) == 0;
    json_decref(ours);
    if (whole) return made;
    json_decref(made);
    return NULL;
}

const json_t *made_under(const struct sampler *sampler) {
    return json_object_get(json_object_get(sampler->table, "made"), "keys");
}

/* A table's times are its own, its model's digest is asked for alone, and in what batches latents are decoded is no
 * other picture. */
static bool is_asked(const json_t *difference) {
    static const char *const others[] = {"model.sha256",  "sampler.t_start", "sampler.t_end",
                                         "sampler.final", "decode.batch",    NULL};
    return text_find(json_string_value(json_object_get(difference, "key")), others) < 0;
}

static int doubt_keys(struct text *doubts, const json_t *theirs, const json_t *keys, struct error *err) {
    json_t *ours = made_keys(keys), *list = NULL, *one, *first = NULL;
    size_t i;
    int rc = ours ? fingerprint_differences(&list, theirs, ours, err) : error_memory(err);
    json_array_foreach(list, i, one) if (!first && is_asked(one)) first = one;
    if (first) {
        text_add(doubts, "sampler.table: it was fitted with ");
        fingerprint_tell(doubts, first);
        text_add(doubts, ": what its made says of it is not of this one (qtaylor tune fits tables to a job; without "
                         "made.keys nothing is compared)\n");
    }
    json_decref(list);
    json_decref(ours);
    return rc;
}

static int doubt_seeds(struct text *doubts, const char *list, const struct seeds *ours, struct error *err) {
    struct seeds theirs;
    struct error unreadable;
    uint64_t count, first;
    if (seeds_parse(&theirs, list, &unreadable) != 0) {
        text_add(doubts, "sampler.table: made.seeds: %s: whether it was chosen by this job's seeds is not known\n",
                 unreadable.message);
        return 0;
    }
    int rc = seeds_common(&theirs, ours, &count, &first, err);
    if (rc == 0 && count > 0)
        text_add(doubts,
                 "sampler.table: it was fitted and chosen by seeds %.200s, and %" PRIu64 " of this job's seeds are of "
                 "them (the first is %" PRIu64 "), so that its metrics are too good: evaluate it on others\n",
                 list, count, first);
    seeds_release(&theirs);
    return rc;
}

int made_doubts(struct text *doubts, const struct sampler *sampler, const struct plan *plan, const struct job *job,
                const json_t *keys, struct error *err) {
    const json_t *made = json_object_get(sampler->table, "made"), *under = made_under(sampler);
    const char *theirs = json_string_value(json_object_get(made, "model_sha256")),
               *numbers = json_string_value(json_object_get(made, "table_sha256")),
               *seeds = json_string_value(json_object_get(made, "seeds")), *model = job->model.path;
    char digest[SHA256_HEX];
    int rc = sampler->plan ? doubt_model(doubts, "sampler.plan", plan->made_for, model, err)
                           : doubt_model(doubts, "sampler.table", theirs ? theirs : "", model, err);
    if (rc == 0 && numbers && (rc = multistep_digest(sampler->table, digest, err)) == 0 && strcmp(numbers, digest) != 0)
        text_add(doubts, "sampler.table: its times or coefficients were changed since it was made: what its made says "
                         "of it is not of these (a table by hand has no made.table_sha256)\n");
    if (rc == 0 && under && keys) rc = doubt_keys(doubts, under, keys, err);
    if (rc == 0 && seeds) rc = doubt_seeds(doubts, seeds, &job->seeds, err);
    return rc == 0 && doubts->failed ? error_memory(err) : rc;
}
