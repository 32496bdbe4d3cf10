/* The subject of a report, its date, and its terms. */
#include "report/about.h"

#include "base/text.h"
#include "format/json_file.h"
#include "job/multistep.h"
#include "job/seeds.h"
#include "metric/seal.h"
#include "report/race.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const struct term {
    const char *column, *line;
} terms[] = {
    {"nfe",
     "number of function evaluations: how often the model is evaluated for one sample (guidance is one with it)"},
    {"model_calls", "how often the network runs for one sample; with guidance up to twice the NFE"},
    {"samples", "how many samples there are; the metrics are of all of them, unless `evaluated` has another number"},
    {"evaluated", "how many samples the metrics are of, the first ones, where these are not all"},
    {"fid", "Frechet distance between Gaussians fitted to the features of samples and reference; lower is better"},
    {"fid_corrected", "FID without its bias, which grows as the number of samples falls"},
    {"fid_error",
     "standard error of the corrected FID: how far other samples of the same kind move it, not another reference"},
    {"fid_low", "lower end of the 95 % interval of the corrected FID"},
    {"fid_high", "upper end of the 95 % interval of the corrected FID"},
    {"fid_infinity", "FID extrapolated to infinitely many samples from several counts"},
    {"sfid", "FID of features that keep their place in the picture; lower is better"},
    {"kid", "squared distance of the features' distributions by a polynomial kernel, without bias; lower is better"},
    {"kid_std", "standard deviation of KID over its subsets"},
    {"kid_full", "KID over all pairs of samples at once"},
    {"kid_full_corrected",
     "the same without the bias that balanced labels give it: the one to quote, with kid_full_error"},
    {"fdr", "FID over that of a validation set to the same reference; lower is better"},
    {"fld", "how unlikely the validation set is under Gaussians at the samples' features; lower is better"},
    {"clip-score", "100 times the cosine of the features of a sample and of its text, at least 0; higher is better"},
    {"cmmd", "squared distance of CLIP's features by a Gaussian kernel, times 1,000; lower is better"},
    {"mind", "squared distance of the features along random directions; lower is better"},
    {"vendi", "how many different pictures the samples amount to; higher is more diverse"},
    {"is", "inception score: how sure and how varied the classifier is; higher is better"},
    {"is_std", "standard deviation of the inception score over its splits"},
    {"precision", "share of samples that lie among the reference's features: quality"},
    {"recall", "share of the reference that lies among the samples' features: diversity"},
    {"density", "how densely samples lie among the reference's features; above 1 is possible"},
    {"coverage", "share of reference images with a sample nearby"},
    {"same_as", "the cell whose samples these are: it was made once"},
    {"seconds", "time that workers were busy with these samples, divided by the number of those that had any"},
    {"samples_per_second", "samples over those seconds"},
    {"model_seconds", "time in the solver, added over workers"},
};

const char *about_term(const char *column) {
    const char *dot = strrchr(column, '.'), *name = dot ? dot + 1 : column; /* NETWORK.fid */
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        if (strcmp(terms[i].column, name) == 0) return terms[i].line;
    return NULL;
}

/* Takes the text over; an empty one is nothing to add. */
static void add(json_t **subject, const char *name, struct text *value) {
    if (value->failed || value->length)
        json_map_add_once(subject, name, value->failed ? NULL : json_string(value->data));
    text_release(value);
}

/* The name of a file without its folders, and the first digits of its sha256. */
static void add_file(struct text *out, const json_t *path, const json_t *sha256) {
    const char *name = json_string_value(path), *slash = name ? strrchr(name, '/') : NULL;
    if (!name) return;
    text_add(out, "%s", slash ? slash + 1 : name);
    if (json_is_string(sha256)) text_add(out, " (%.12s)", json_string_value(sha256));
}

void about_add(json_t **subject, const json_t *document, const json_t *metrics) {
    const json_t *job = json_object_get(document, "job"), *values = json_object_get(metrics, "metrics");
    const json_t *reference = json_object_get(values, "reference"), *count = json_object_get(reference, "count"),
                 *recipe = json_object_get(reference, "recipe");
    struct text model = {0}, network = {0}, against = {0};
    add_file(&model, json_member(job, "model", "path"),
             json_member(json_object_get(document, "keys"), "model", "sha256"));
    if (json_is_object(values)) {
        add_file(&network, json_member(job, "evaluate", "features"), json_member(values, "network", "sha256"));
        add_file(&against, json_object_get(reference, "path"), json_object_get(reference, "sha256"));
        if (json_is_integer(count)) text_add(&against, ", %lld images", (long long)json_integer_value(count));
        if (json_is_string(recipe)) text_add(&against, ", recipe %s", json_string_value(recipe));
    }
    add(subject, "model", &model);
    add(subject, "feature network", &network);
    add(subject, "reference", &against);
}

/* Its digest is of its numbers, as its file has it: the run does not keep the file. */
void about_table(struct text *out, const json_t *document) {
    const json_t *table = json_member(document, "sampler", "table"), *made = json_object_get(table, "made"),
                 *chosen = json_object_get(made, "chosen_by");
    const char *by = json_string_value(json_object_get(made, "by")),
               *metric = json_string_value(json_object_get(chosen, "metric")),
               *own = json_string_value(json_object_get(made, "table_sha256")),
               *reference = json_string_value(json_object_get(chosen, "reference_sha256"));
    char digest[SHA256_HEX] = "";
    struct error ignored;
    json_t *read = NULL;
    bool whole = multistep_read(&read, table, &ignored) == 0 && multistep_digest(read, digest, &ignored) == 0;
    json_decref(read);
    text_add(out, "table of coefficients");
    if (by && strcmp(by, "qtaylor tune") == 0 && own && strcmp(own, digest) == 0)
        text_add(out, " fitted by qtaylor tune for NFE %zu", multistep_steps(table));
    else metric = NULL;
    if (metric && strcmp(metric, "fid") == 0 && reference)
        text_add(out, ", chosen by the FID of %lld samples against the reference of sha256 %.12s",
                 (long long)json_integer_value(json_object_get(chosen, "samples")), reference);
    if (metric && strcmp(metric, "distance") == 0) text_add(out, ", chosen by the distance to fine samples");
    if (whole) text_add(out, ", table_sha256 %.12s (of its numbers)", digest);
}

char *about_date(const char *dir) {
    static const char *const files[] = {"results.json", "metrics.json"};
    char text[40] = "";
    for (size_t i = 0; i < sizeof files / sizeof *files && !text[0]; i++) {
        struct stat info;
        struct tm when;
        char *path = text_new("%s/%s", dir, files[i]);
        if (!path) return NULL;
        if (stat(path, &info) == 0 && gmtime_r(&info.st_mtime, &when))
            strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &when);
        free(path);
    }
    return strdup(text);
}

/* Are the metrics of fewer samples, the first ones, than there are? */
static bool is_part(const json_t *metrics, json_int_t *evaluated, json_int_t *samples) {
    const json_t *count = json_member(metrics, "metrics", "samples");
    *samples = json_integer_value(json_object_get(metrics, "samples"));
    *evaluated = json_is_integer(count) ? json_integer_value(count) : *samples;
    return *evaluated < *samples;
}

void about_all(struct text *out, const json_t *metrics) {
    json_int_t evaluated, samples;
    if (is_part(metrics, &evaluated, &samples)) text_add(out, ", of all %lld samples", (long long)samples);
}

void about_change(struct text *out, const json_t *metrics) {
    if (result_is_changed(metrics))
        text_add(out, "metrics.json was changed since it was written: its " RESULT_SEAL " is not that of its metrics");
}

void about_seeds(struct text *out, const json_t *document, const json_t *metrics) {
    const char *list = json_string_value(json_member(document, "job", "seeds"));
    json_int_t evaluated, samples;
    bool part = is_part(metrics, &evaluated, &samples), stopped = json_object_get(metrics, "stopped");
    char *head = list && (part || stopped) && evaluated > 0 ? seeds_head(list, (uint64_t)evaluated) : NULL;
    text_add(out, "%s", head ? head : list ? list : "");
    if (part) text_add(out, " (the first %lld of %lld samples)", (long long)evaluated, (long long)samples);
    free(head);
}

int about_check_whole(const json_t *document, const json_t *metrics, const char *dir, struct error *err) {
    const char *list = json_string_value(json_member(document, "job", "seeds"));
    const json_t *stopped = json_member(document, "stopped", "samples"), *made = json_object_get(metrics, "samples");
    struct seeds seeds;
    struct error unreadable;
    if (!list || !json_is_integer(made) || json_object_get(metrics, "quarantine")) return 0;
    if (seeds_parse(&seeds, list, &unreadable) != 0) return 0;
    json_int_t expected = json_is_integer(stopped) ? json_integer_value(stopped) : (json_int_t)seeds.count;
    seeds_release(&seeds);
    if (json_integer_value(made) == expected) return 0;
    return error_set(err, CODE_AGAIN,
                     "%s/metrics.json is of %lld samples, and the run of %lld by now: it is not finished; run it again "
                     "to continue",
                     dir, (long long)json_integer_value(made), (long long)expected);
}

void about_stop(struct text *out, const json_t *document, const json_t *metrics) {
    const json_t *stopped = json_object_get(metrics, "stopped");
    const char *leader = json_string_value(json_object_get(stopped, "leader"));
    if (!stopped) return;
    text_add(out, "after %lld of %lld seeds, ", (long long)json_integer_value(json_object_get(stopped, "samples")),
             (long long)json_integer_value(json_object_get(stopped, "of")));
    if (leader)
        text_add(out, "when it left a race: %.4g \xc2\xb1 %.2g (standard error) behind %s",
                 json_number_value(json_object_get(stopped, "delta")),
                 json_number_value(json_object_get(stopped, "error")), leader);
    else
        text_add(out, "when FID's standard error was at most %g (evaluate.until)",
                 json_number_value(json_object_get(stopped, "target")));
    text_add(out, "%s", json_object_get(document, "latents_of") ? "; decided for the run of its latents" : "");
}

/* The confidence is of a round and two-sided, and to be left behind is one of the sides. */
void race_risk(const json_t *race, const char *before, struct text *out) {
    double round = 100 * (1 - json_number_value(json_object_get(race, "confidence"))) / 2;
    size_t rounds = json_array_size(json_object_get(race, "rounds"));
    if (rounds == 0) return;
    text_add(out, "%sthe risk that the best cell was left behind is at most %.2g %% a round", before, round);
    if (rounds > 1) text_add(out, ", %.2g %% in %zu rounds", round * (double)rounds, rounds);
}
