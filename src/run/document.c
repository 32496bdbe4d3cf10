/* The run document: all that determines a run, as one JSON value. */
#include "run/document.h"

#include "base/digests.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "cluster/build.h"
#include "config/override.h"
#include "eval/network.h"
#include "format/json_file.h"
#include "job/decoder.h"
#include "job/fingerprint.h"
#include "job/job_conditions.h"
#include "job/model_file.h"
#include "sample/automatic.h"
#include "sample/conditions.h"
#include "sample/initial.h"
#include "sample/noise.h"
#include "sample/scales.h"
#include "shard/layout.h"
#include "solver/guidance.h"
#include "solver/made.h"

#include <stdlib.h>
#include <string.h>

/* Pixels are made of a range. */
static int check_range(const struct job *job, const struct card *card, struct error *err) {
    const struct sample_form form = card_sample(card);
    if (job->output.dtype != SAMPLE_UINT8 || sample_bounded(&form)) return 0;
    return error_set(err, CODE_DATA,
                     "output.dtype: uint8 needs the range of the samples, and the %s says that they have none "
                     "(\"range\": null): say float32 or float16",
                     card->decoder ? "decoder's card" : "model card");
}

/* What a job asks of labels must be what its model can take. */
static int check_labels(const struct job *job, const struct card *card, struct error *err) {
    const char *rule = label_rule_names[job->labels.rule];
    if (card->classes == 0 && job->labels.rule != LABELS_NONE)
        return error_set(err, CODE_DATA, "labels: %s, but the model takes none (its card has no classes)", rule);
    if (card->classes > 0 && job->labels.rule == LABELS_NONE && card->null_label < 0)
        return error_set(
            err, CODE_DATA,
            "labels: none, but the model has %lld classes and no null label: say balanced, random, a number or a file",
            (long long)card->classes);
    if (job->labels.rule == LABELS_CONSTANT && (job->labels.constant < 0 || job->labels.constant >= card->classes))
        return error_set(err, CODE_DATA, "labels: expected a class in 0..%lld, found %lld",
                         (long long)card->classes - 1, (long long)job->labels.constant);
    return 0;
}

/* A file that was made for one number of rows is always called with that. */
static int check_batch(const struct job *job, const struct card *card, struct error *err) {
    const struct guidance *guidance = &job->sampler.guidance;
    bool batched = guidance->batched == BATCHED_ON;
    for (const struct card *of = card; of; of = of->guide)
        if (of->batch > 0 && !batched && job->batch != of->batch)
            return error_set(
                err, CODE_DATA,
                "batch: %d, but the %s file was exported for batches of %d: leave `batch` out, or export it again",
                job->batch, of == card ? "model" : "guiding model's", of->batch);
    if (!batched || card->batch == 0) return 0;
    if (card->batch % 2 != 0 || job->batch != card->batch / 2)
        return error_set(
            err, CODE_DATA,
            "batch: %d, of which sampler.guidance.batched makes calls of %lld rows, but the model file was "
            "exported for calls of %d: export it for twice the batch, or say batched: false",
            job->batch, 2LL * job->batch, card->batch);
    if (guidance_everywhere(guidance)) return 0;
    return error_set(err, CODE_DATA,
                     "sampler.guidance.batched: the model file was exported for calls of %d rows, and where guidance "
                     "does not act (scale, interval, zero_init_steps) a call has half of that: export it without a "
                     "fixed batch, or say batched: false",
                     card->batch);
}

/* The decoders behind the first of a list fit as well, and the feature network what they make, where it is asked. */
static int check_decoders(const struct job *job, const struct card *card, bool evaluated, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < job->decode.others_count; i++) {
        const struct other_decoder *other = &job->decode.others[i];
        struct job alone = *job; /* borrowed */
        struct card with = *card;
        alone.decode.path = other->path;
        alone.decode.batch = other->batch;
        rc = decoder_add(&with, &alone, NULL, err);
        if (rc == 0 && (rc = check_range(job, &with, err)) != 0) error_prefix(err, "%s", other->path);
        for (size_t k = 0; rc == 0 && evaluated && k < job->evaluate.features.count; k++) {
            const char *path = job->evaluate.features.list[k].path;
            struct network network = {0};
            if (path) rc = network_open(&network, path, &with, job->evaluate.metrics, err);
            network_release(&network);
            if (rc != 0) error_prefix(err, "%s", other->path);
        }
        if (with.decoder != card->decoder) decoder_free(with.decoder);
    }
    return rc;
}

/* Tells the lines of a text. They are the list, new; NULL: there are none. Cuts it up. */
static json_t *told(const struct text *text) {
    json_t *list = text->data ? json_array() : NULL;
    for (char *line = list ? strtok(text->data, "\n") : NULL; line; line = strtok(NULL, "\n")) {
        log_warn("%s", line);
        json_list_add(&list, json_string(line));
    }
    return list;
}

int document_plan(struct job *job, struct card *card, struct sampler *sampler, struct plan *plan,
                  const struct job_file *file, const char *const *overrides, size_t overrides_count,
                  struct automatic *automatic, struct error *err) {
    struct text warnings = {0};
    *card = (struct card){0};
    *sampler = (struct sampler){0};
    *plan = (struct plan){0};
    if (job_from_file(job, file, overrides, overrides_count, err) != 0) return -1;
    if ((file->document && build_check_format(file->document, RUN_FORMAT, file->path, err) != 0) ||
        job_file_check_paths(file, job, err) != 0) {
        job_release(job);
        return -1;
    }
    int rc = !job->model.path  ? card_parse(card, job->model.card, file->path, err)
             : job->model.card ? card_read_under(card, job->model.path, job->model.card, err)
                               : card_read(card, job->model.path, err);
    if (rc != 0 && err->code == CODE_IO) error_prefix(err, "model.path");
    if (rc == 0 && job->sampler.guidance.model) rc = card_add_guide(card, NULL, job->sampler.guidance.model, err);
    if (rc == 0) rc = check_decoders(job, card, false, err);
    if (rc == 0 && job->decode.path) rc = decoder_add(card, job, NULL, err);
    if (rc == 0) rc = job_add_nulls(job, card, err);
    if (rc == 0) rc = check_range(job, card, err);
    if (rc == 0) rc = check_labels(job, card, err);
    if (rc == 0) automatic_settle_fixed(job, card);
    if (rc == 0 && job->batch > 0) rc = check_batch(job, card, err); /* before anything is measured */
    if (rc == 0) rc = automatic_settle(automatic, job, card, err);
    if (rc == 0) rc = check_batch(job, card, err);
    if (rc == 0 && (rc = plan_resolve(sampler, &job->sampler, card, err)) == 0)
        rc = plan_compile(plan, sampler, card, &warnings, err);
    if (rc != 0 && err->code == CODE_DATA && !strstr(err->message, file->path)) {
        const char *set = override_named(err->message, overrides, overrides_count);
        error_prefix(err, set ? "--set %s" : "%s", set ? set : file->path);
    }
    json_decref(told(&warnings));
    text_release(&warnings);
    if (rc != 0) {
        plan_release(plan);
        sampler_release(sampler);
        card_release(card);
        job_release(job);
    }
    return rc;
}

/* sha256 of a file that may not be there to hash: path NULL gives hex "" and success. */
static int digest(const char *path, char hex[SHA256_HEX], struct error *err) {
    hex[0] = '\0';
    return path ? digest_file(path, hex, err) : 0;
}

static int model_digest(const char *path, char hex[SHA256_HEX], struct error *err) {
    hex[0] = '\0';
    return path ? model_file_digest(path, hex, err) : 0;
}

static const char *given(const char *hex) {
    return hex[0] ? hex : NULL;
}

static json_t *document_json(const struct job *job, const struct card *card, const struct sampler *sampler,
                             const struct plan *plan, const struct fingerprint *fingerprint,
                             const struct layout *layout, const char *captions, json_t *doubts) {
    return json_pack("{s:i, s:s, s:s, s:O, s:I, s:O, s:s*, s:O, s:O?, s:O*, s:o, s:o, s:o, s:O*}", "format", RUN_FORMAT,
                     "name", job->name, "fingerprint", fingerprint->hex, "keys", fingerprint->keys, "shard_rows",
                     (json_int_t)layout->shard_rows, "job", job->resolved, "captions", captions, "card", card->json,
                     "guide", card->guide ? card->guide->json : NULL, "decoder",
                     card->decoder ? card->decoder->json : NULL, "sampler", sampler_to_json(sampler), "plan",
                     plan_pack(plan), "versions", build_versions(), "warnings", doubts);
}

size_t document_sample_bytes(const struct job *job, const struct card *card) {
    struct sample_form form = card_sample(card);
    static const size_t bytes[] = {[SAMPLE_UINT8] = 1, [SAMPLE_FLOAT32] = 4, [SAMPLE_FLOAT16] = 2};
    return sample_elements(&form) * bytes[job->output.dtype];
}

/* A job out of a run.json makes that run's samples again, unless something is not what it was then. */
static int warn_of_others(const struct job_file *file, const json_t *keys, struct error *err) {
    json_t *list, *one;
    size_t i;
    if (!file->document) return 0;
    if (fingerprint_differences(&list, json_object_get(file->document, "keys"), keys, err) != 0) return -1;
    json_array_foreach(list, i, one) {
        char *there = fingerprint_text(json_object_get(one, "there"));
        char *here = fingerprint_text(json_object_get(one, "here"));
        log_warn("%s: the samples will be others than that run's: it has %s = %.200s, this job %.200s",
                 file->source.name, json_string_value(json_object_get(one, "key")), there ? there : "?",
                 here ? here : "?");
        free(there);
        free(here);
    }
    json_decref(list);
    return 0;
}

/* Reads what the job's files hold. */
static int make_fingerprint(struct fingerprint *fingerprint, const struct job *job, const struct card *card,
                            const struct sampler *sampler, const struct plan *plan, struct error *err) {
    char model[SHA256_HEX], guide[SHA256_HEX], labels[SHA256_HEX], initial[SHA256_HEX], decoder[SHA256_HEX];
    char digest_of_plan[SHA256_HEX] = "", scales[SHA256_HEX] = "";
    const char *scale_rows = job->sampler.guidance.scale_rows;
    double *values = NULL;
    json_t *conditions = NULL;
    int rc = -1;
    if (model_digest(job->model.path, model, err) == 0 && model_digest(job->sampler.guidance.model, guide, err) == 0 &&
        model_digest(job->decode.path, decoder, err) == 0 && conditions_look(&conditions, card, job, err) == 0 &&
        (!scale_rows || scales_read(&values, scale_rows, NULL, scales,
                                    (uint64_t)json_integer_value(json_object_get(conditions, "count")), err) == 0) &&
        (!sampler->plan || plan_digest(plan, digest_of_plan, err) == 0) && digest(job->labels.path, labels, err) == 0 &&
        digest(job->initial, initial, err) == 0) {
        const struct file_digests files = {.model = model,
                                           .guide = given(guide),
                                           .plan = given(digest_of_plan),
                                           .labels = given(labels),
                                           .initial = given(initial),
                                           .decoder = given(decoder),
                                           .scales = given(scales),
                                           .conditions = conditions};
        rc = fingerprint_make(fingerprint, job, card, sampler, &files, PLAN_VERSION, err);
    }
    json_decref(conditions);
    free(values);
    return rc;
}

/* *lines (new, or NULL: there are none): what is doubted, and told. keys: of the fingerprint, or NULL. */
static int doubt(json_t **lines, const struct job *job, const struct sampler *sampler, const struct plan *plan,
                 const json_t *keys, struct error *err) {
    struct text doubts = {0};
    int rc = made_doubts(&doubts, sampler, plan, job, keys, err);
    *lines = rc == 0 ? told(&doubts) : NULL;
    if (rc == 0 && doubts.data && !*lines) rc = error_memory(err);
    text_release(&doubts);
    return rc;
}

int document_doubts(const struct job *job, const struct card *card, const struct sampler *sampler,
                    const struct plan *plan, struct error *err) {
    struct fingerprint fingerprint = {0};
    struct error ignored = {0};
    json_t *lines;
    if (made_under(sampler)) make_fingerprint(&fingerprint, job, card, sampler, plan, &ignored);
    int rc = doubt(&lines, job, sampler, plan, fingerprint.keys, err);
    json_decref(lines);
    fingerprint_release(&fingerprint);
    return rc;
}

int document_make(json_t **document, const struct job_file *file, const char *const *overrides, size_t overrides_count,
                  struct automatic *automatic, struct error *err) {
    struct job job;
    struct card card;
    struct sampler sampler;
    struct plan plan;
    struct fingerprint fingerprint = {0};
    struct layout layout;
    char captions[SHA256_HEX];
    json_t *doubts = *document = NULL;
    if (document_plan(&job, &card, &sampler, &plan, file, overrides, overrides_count, automatic, err) != 0) return -1;
    int rc = -1;
    if (!job.model.path) {
        error_set(err, CODE_DATA, "%s: model.path: missing; samples need the model's file", file->path);
        goto out;
    }
    if (job_file_check_folder(file, &job, err) != 0 ||
        (job.evaluate.enabled && check_decoders(&job, &card, true, err) != 0) ||
        (job.initial && initial_look(job.initial, &job.seeds, &card, plan.initial_scale, err) != 0) ||
        make_fingerprint(&fingerprint, &job, &card, &sampler, &plan, err) != 0 ||
        digest(job.conditions.captions, captions, err) != 0 ||
        layout_init(&layout, job.seeds.count, (uint64_t)job.batch, job.output.samples_per_shard,
                    document_sample_bytes(&job, &card), err) != 0 ||
        warn_of_others(file, fingerprint.keys, err) != 0 ||
        doubt(&doubts, &job, &sampler, &plan, fingerprint.keys, err) != 0)
        goto out;
    *document = document_json(&job, &card, &sampler, &plan, &fingerprint, &layout, given(captions), doubts);
    rc = *document ? 0 : error_memory(err);
out:
    if (rc != 0 && err->code == CODE_DATA && !strstr(err->message, file->path)) error_prefix(err, "%s", file->path);
    json_decref(doubts);
    fingerprint_release(&fingerprint);
    plan_release(&plan);
    sampler_release(&sampler);
    card_release(&card);
    job_release(&job);
    return rc;
}

uint64_t document_samples(const json_t *document, uint64_t all) {
    json_int_t samples = json_integer_value(json_member(document, "stopped", "samples"));
    return samples > 0 && (uint64_t)samples < all ? (uint64_t)samples : all;
}

const json_t *document_decoder(const json_t *document, size_t k) {
    return json_array_get(json_member(document, "job", "decode"), k + 1);
}

int document_plan_json(json_t **json, const json_t *document, struct error *err) {
    json_t *plan = json_object_get(document, "plan");
    char *text;
    if (!plan_is_packed(plan)) return *json = json_incref(plan), 0;
    if (plan_unpack(&text, plan, err) != 0) return -1;
    *json = json_loads(text, 0, NULL);
    free(text);
    return *json ? 0 : error_memory(err);
}

int document_read_plan(struct plan *plan, const json_t *document, struct error *err) {
    json_t *json;
    *plan = (struct plan){0};
    if (document_plan_json(&json, document, err) != 0) return -1;
    int rc = plan_from_json(plan, json, "run.json: plan", err);
    json_decref(json);
    return rc;
}

int document_write(const char *path, const json_t *document, const struct file_guard *guard, struct error *err) {
    static const char place[] = "\n  \"plan\": null";
    const json_t *plan = json_object_get(document, "plan");
    if (!plan_is_packed(plan)) return json_file_write_guarded(path, document, guard, err);
    json_t *rest = json_whole_copy(document);
    char *text = NULL, *around = NULL;
    int rc = rest && json_object_set_new(rest, "plan", json_null()) == 0 ? plan_unpack(&text, plan, err)
                                                                         : error_memory(err);
    if (rc == 0 && !(around = json_text(rest, JSON_INDENT(2) | JSON_REAL_PRECISION(17)))) rc = error_memory(err);
    char *at = around ? strstr(around, place) : NULL; /* two blanks: a member of the document itself */
    char *whole = at ? text_new("%.*s\n  \"plan\": %s%s\n", (int)(at - around), around, text, at + strlen(place))
                     : NULL;
    if (rc == 0) rc = whole ? file_write_guarded(path, whole, strlen(whole), guard, err) : error_memory(err);
    free(whole);
    free(around);
    free(text);
    json_decref(rest);
    return rc;
}

int document_extends(const json_t *document, const json_t *older, const char *dir, struct error *err) {
    char *path = text_new("%s/run.json", dir);
    int rc = path ? build_check_format(older, RUN_FORMAT, path, err) : error_memory(err);
    free(path);
    if (rc != 0) return -1;
    if (fingerprint_compare(json_object_get(older, "keys"), json_object_get(document, "keys"), dir, err) != 0)
        return -1;
    json_int_t rows_there = json_integer_value(json_object_get(older, "shard_rows"));
    json_int_t rows_here = json_integer_value(json_object_get(document, "shard_rows"));
    if (rows_there != rows_here)
        return error_set(err, CODE_DATA,
                         "%s holds shards of %lld samples, this job makes %lld (output.samples_per_shard): keep %lld "
                         "or choose another output.dir",
                         dir, (long long)rows_there, (long long)rows_here, (long long)rows_there);
    const char *seeds_there = json_string_value(json_member(older, "job", "seeds"));
    const char *seeds_here = json_string_value(json_member(document, "job", "seeds"));
    if (seeds_there && seeds_here && (strcmp(seeds_there, seeds_here) == 0 || seeds_extend(seeds_there, seeds_here)))
        return 0;
    return error_set(err, CODE_DATA,
                     "%s holds seeds %s, this job asks for %s: a finished run can only grow at the end of its list; "
                     "choose another output.dir",
                     dir, seeds_there ? seeds_there : "(unreadable)", seeds_here ? seeds_here : "(none)");
}

int document_share(struct comm *comm, json_t **document, struct error *err) {
    struct {
        enum code code;
        size_t size;
    } head = {.code = CODE_OK};
    char *text = NULL;
    bool first = comm_rank(comm) == 0;
    if (first) {
        if (!*document) head.code = err->code;
        else if (comm_size(comm) == 1) return 0;
        else if (!(text = json_text(*document, JSON_REAL_PRECISION(17)))) head.code = (error_memory(err), err->code);
        head.size = text ? strlen(text) + 1 : 0;
    }
    int rc = comm_broadcast(comm, &head, sizeof head, 0, err);
    if (rc == 0 && head.code != CODE_OK) {
        if (!first) *err = (struct error){.code = head.code}; /* rank 0 has the word */
        rc = -1;
    }
    if (rc == 0) rc = ranks_agree(comm, text || (text = malloc(head.size)) ? 0 : error_memory(err), err);
    if (rc == 0) rc = comm_broadcast(comm, text, head.size, 0, err);
    if (rc == 0) {
        bool arrived = first || (*document = json_loads(text, 0, NULL));
        rc = ranks_agree(comm, arrived ? 0 : error_memory(err), err);
    }
    free(text);
    if (rc == 0) return 0;
    json_decref(*document);
    *document = NULL;
    return -1;
}
