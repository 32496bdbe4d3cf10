/* compare and reference: metrics between any two sets, and statistics of one. */
#include "base/files.h"
#include "base/text.h"
#include "cmd/command.h"
#include "eval/score.h"
#include "run/result.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The features of a run directory. *seeds (new): which samples they are. */
static int read_run(struct side *side, char **seeds, const char *dir, struct error *err) {
    json_t *document;
    struct run run;
    struct features features;
    if (document_read(&document, dir, err) != 0 || run_open(&run, document, dir, err) != 0) return -1;
    int rc = run.job.evaluate.enabled
                 ? result_features(&run, &features, err)
                 : error_set(err, CODE_DATA, "%s has no features: its job has no evaluate: block", dir);
    if (rc == 0) rc = side_take(side, &features, run.network.sha256, err);
    if (rc == 0 && !(*seeds = seeds_text(&run.job.seeds))) rc = error_memory(err);
    run_close(&run);
    return rc;
}

/* *seeds stays NULL for a file, which does not say. */
static int read_side(struct side *side, char **seeds, const char *path, struct error *err) {
    char *document = text_new("%s/run.json", path);
    if (!document) return error_memory(err);
    int rc = file_exists(document) ? read_run(side, seeds, path, err) : side_read(side, path, err);
    free(document);
    return rc;
}

static int parse_metrics(unsigned *metrics, const char *list, struct error *err) {
    *metrics = 0;
    for (const char *at = list; *at; at += at[strcspn(at, ",")] ? strcspn(at, ",") + 1 : strlen(at)) {
        unsigned metric = 0;
        size_t length = strcspn(at, ",");
        while (metric_names[metric] &&
               (strlen(metric_names[metric]) != length || strncmp(metric_names[metric], at, length) != 0))
            metric++;
        if (!metric_names[metric])
            return error_set(err, CODE_USAGE, "--metrics: expected fid, fid_infinity, kid, is or prdc, found %.*s",
                             (int)length, at);
        *metrics |= 1u << metric;
    }
    return *metrics ? 0 : error_set(err, CODE_USAGE, "--metrics: expected a list such as fid,kid, found nothing");
}

/* *file new: the indices are in it. */
static int read_indices(struct score_options *options, char **file, const char *path, struct error *err) {
    struct npy npy;
    size_t offset;
    *file = NULL;
    if (!path) return 0;
    if (npy_read(&npy, file, &offset, path, err) != 0) return -1;
    if (npy.type != NPY_INT64 || npy.rank != 3 || npy.shape[0] < 1 || npy.shape[1] != 2 || npy.shape[2] < 2)
        return error_set(err, CODE_DATA, "%s: expected int64 [subsets, 2, size]", path);
    memmove(*file, *file + offset, npy_bytes(&npy)); /* aligned */
    options->indices = (const int64_t *)(const void *)*file;
    options->subsets = npy.shape[0];
    options->size = npy.shape[2];
    return 0;
}

static void print_values(const json_t *values) {
    static const char *const rest[] = {"fid_infinity", "kid_full", "precision", "recall", "density", "coverage", NULL};
    static const char *const spread[] = {"kid", "is", NULL};
#define NUMBER(name) json_real_value(json_object_get(values, name))
    if (json_object_get(values, "fid")) printf("fid           %.6g\n", NUMBER("fid"));
    if (json_object_get(values, "fid_error"))
        printf("fid_corrected %.6g +- %.2g, 95 %% interval %.6g to %.6g\n", NUMBER("fid_corrected"), NUMBER("fid_error"),
               NUMBER("fid_low"), NUMBER("fid_high"));
    if (json_object_get(values, "fid_delta"))
        printf("fid_delta     %.6g +- %.2g, 95 %% interval %.6g to %.6g\n", NUMBER("fid_delta"), NUMBER("fid_delta_error"),
               NUMBER("fid_delta_low"), NUMBER("fid_delta_high"));
    for (size_t i = 0; spread[i]; i++) {
        char deviation[16];
        snprintf(deviation, sizeof deviation, "%s_std", spread[i]);
        if (json_object_get(values, spread[i]))
            printf("%-13s %.6g, standard deviation %.2g\n", spread[i], NUMBER(spread[i]), NUMBER(deviation));
    }
    for (size_t i = 0; rest[i]; i++)
        if (json_object_get(values, rest[i])) printf("%-13s %.6g\n", rest[i], NUMBER(rest[i]));
#undef NUMBER
}

static int compare_sides(const struct options *options, struct error *err) {
    struct score_options score_options = {0};
    struct side a = {0}, b = {0}, versus = {0};
    json_t *values = NULL;
    char *indices = NULL, *seeds[3] = {NULL};
    int rc = parse_metrics(&score_options.metrics, options->metrics ? options->metrics : "fid", err);
    if (rc == 0) rc = read_indices(&score_options, &indices, options->indices, err);
    if (rc == 0) rc = read_side(&a, &seeds[0], options->operand, err);
    if (rc == 0) rc = read_side(&b, &seeds[1], options->second, err);
    if (rc == 0 && options->versus) rc = read_side(&versus, &seeds[2], options->versus, err);
    if (rc == 0 && seeds[0] && seeds[2] && strcmp(seeds[0], seeds[2]) != 0)
        rc = error_set(err, CODE_DATA, "a paired difference needs the same seeds: %s has %s, %s has %s", options->operand,
                       seeds[0], options->versus, seeds[2]);
    if (rc == 0) rc = score(&values, &score_options, &a, &b, err);
    if (rc == 0 && options->versus) rc = score_difference(values, &a, &versus, &b, err);
    if (rc == 0 && !options->json) print_values(values);
    if (rc == 0 && options->json) {
        json_t *json = json_pack("{s:s, s:s, s:O}", "a", options->operand, "b", options->second, "metrics", values);
        rc = json ? print_json(json, err) : error_memory(err);
        json_decref(json);
    }
    json_decref(values);
    free(indices);
    for (size_t i = 0; i < 3; i++) free(seeds[i]);
    side_free(&a);
    side_free(&b);
    side_free(&versus);
    return rc;
}

static int compare(int argc, char **argv, struct error *err) {
    struct options options;
    bool done;
    int rc = options_parse(&options, argc, argv, &command_compare, "2jmiv", &done, err);
    if (rc == 0 && !done) rc = compare_sides(&options, err);
    options_free(&options);
    return rc;
}

static int write_reference(const struct options *options, struct error *err) {
    struct side side = {0};
    char *seeds = NULL;
    if (!options->output)
        return error_set(err, CODE_USAGE, "reference: --output is missing: the .npz that the statistics go to");
    int rc = read_side(&side, &seeds, options->operand, err);
    free(seeds);
    if (rc == 0) rc = statistics_write(&side.statistics, options->output, err);
    if (rc == 0)
        printf("%s: mu and sigma of %" PRIu64 " samples, %zu features each\n", options->output, side.statistics.count,
               side.statistics.dim);
    side_free(&side);
    return rc;
}

static int reference(int argc, char **argv, struct error *err) {
    struct options options;
    bool done;
    int rc = options_parse(&options, argc, argv, &command_reference, "o", &done, err);
    if (rc == 0 && !done) rc = write_reference(&options, err);
    options_free(&options);
    return rc;
}

const struct command command_compare = {
    "compare", "A B [--metrics M,...] [--versus A2] [--kid-indices I.npy] [--json]", "Metrics of samples A against reference B",
    "A and B: a run directory, features (.npy, or .npz with features or arr_0), or statistics (.npz with mu and sigma,\n"
    "enough for fid).\n\n"
    "  fid           Frechet distance, as pytorch-fid and EDM define it; with every sample's features also corrected\n"
    "                for the bias of finite samples, with a standard error and a 95 % interval: delete-block jackknife,\n"
    "                20 blocks by position. They cover the samples' randomness, not the reference's; near 0 the interval\n"
    "                is wider than it need be.\n"
    "  fid_infinity  extrapolated over 15 sample counts (Chong & Forsyth 2020)\n"
    "  kid           unbiased, kernel (x.y/d + 1)^3: mean and deviation over 100 subsets of 1000, as torch-fidelity;\n"
    "                kid_full over all pairs\n"
    "  is            inception score over 10 splits in order, as torch-fidelity without shuffling; A's rows are logits\n"
    "  prdc          precision and recall (k = 3, ADM's rule), density and coverage (Naeem et al. 2020)\n",
    compare};
const struct command command_reference = {
    "reference", "A --output FILE", "Write statistics (mu, sigma) for use as a reference",
    "A: as for compare. The file is one that pytorch-fid, EDM and ADM read.\n", reference};
