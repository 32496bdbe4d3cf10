/* compare and reference: metrics between any two sets, and statistics of one. */
#include "base/files.h"
#include "base/log.h"
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/operands.h"
#include "cli/print_values.h"
#include "cmd/compare_same.h"
#include "metric/score.h"
#include "metric/values.h"
#include "torch_shim.h"
#include "sample/model.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct compare_options { /* also of reference: a and what is not compare's alone */
    const char *a, *b, *versus, *validation, *text, *indices, *output, *range;
    struct option_list features;
    int device; /* enum device */
    int order;  /* enum image_order */
    unsigned metrics;
    uint64_t count;
    bool json, same;
};

static int check_options(const struct compare_options *options, const struct named_paths *networks, unsigned metrics,
                         struct error *err) {
    const char *const operands[] = {options->a, options->b, options->versus, options->validation};
    const struct sides_given given = {.features = options->features.count > 0,
                                      .range = options->range,
                                      .order = options->order != IMAGES_NATURAL,
                                      .device = options->device != 0,
                                      .indices = options->indices,
                                      .validation = options->validation,
                                      .text = options->text,
                                      .versus = options->versus};
    return sides_check(operands, sizeof operands / sizeof *operands, networks, metrics, &given, err);
}

/* What --device and --range say; *how stays NULL without networks. */
static int read_extraction(struct extraction *extraction, const struct extraction **how,
                           const struct compare_options *options, const struct named_paths *networks, unsigned metrics,
                           struct error *err) {
    int kind = options->device, end = 0;
    double low = 0, high = 0;
    *how = NULL;
    if (options->range && (sscanf(options->range, "%lf,%lf%n", &low, &high, &end) != 2 || options->range[end] ||
                           !(low < high) || !isfinite(low) || !isfinite(high)))
        return error_set(err, CODE_USAGE, "--range: expected LOW,HIGH such as -1,1, found %s", options->range);
    if (networks->count == 0) return 0;
    int chosen;
    if (model_device((enum device_kind)kind, 0, "--device", &chosen, err) != 0) return -1;
    *extraction = (struct extraction){.networks = networks->list,
                                      .count = networks->count,
                                      .metrics = metrics,
                                      .device = chosen,
                                      .order = (enum image_order)options->order,
                                      .low = low,
                                      .high = high,
                                      .workers = chosen == SHIM_CPU ? omp_get_num_procs() : 1};
    *how = extraction;
    return 0;
}

struct comparison {
    const struct compare_options *options;
    struct named_paths networks; /* count 0: what the files are of */
    struct extraction extraction;
    struct operands operands;
    json_t *values, *others; /* of A; of A2, for the differences */
    json_t *warnings;
};

static int read_comparison(struct comparison *comparison, struct error *err) {
    const struct compare_options *options = comparison->options;
    struct operands *operands = &comparison->operands;
    unsigned metrics = operands->score.metrics;
    if (sides_networks(&comparison->networks, &options->features, options->a, options->b, err) != 0 ||
        check_options(options, &comparison->networks, metrics, err) != 0 ||
        read_extraction(&comparison->extraction, &operands->how, options, &comparison->networks, metrics, err) != 0)
        return -1;
    return operands_read(operands, &comparison->networks, err);
}

/* The name of one network among several. */
static const char *name_of(const struct comparison *comparison, size_t network) {
    return comparison->operands.networks > 1 ? comparison->networks.list[network].name : NULL;
}

static void warn_recipes(const struct comparison *comparison, const struct side *side, const struct side *reference,
                         int which) {
    const char *own = side ? side_recipe(side) : "", *theirs = side_recipe(reference);
    if (own[0] && theirs[0] && strcmp(own, theirs) != 0)
        log_warn("the images were prepared by two recipes, %s of %s and %s of %s: the metrics are also about these",
                 own, comparison->operands.paths[which], theirs, comparison->operands.paths[OPERAND_B]);
}

/* One network's metrics, put among the values. */
static int compare_network(struct comparison *comparison, size_t i, struct error *err) {
    const struct compare_options *options = comparison->options;
    const struct network_sides sides = operands_of(&comparison->operands, i);
    const struct side *a = sides.of[OPERAND_A], *b = sides.of[OPERAND_B], *a2 = sides.of[OPERAND_A2];
    const char *name = name_of(comparison, i);
    const struct score_options with = operands_score(&comparison->operands, i);
    json_t *values = NULL, *others = NULL;
    log_about("%s", name ? name : "");
    for (int which = 0; which < OPERANDS; which++) warn_recipes(comparison, sides.of[which], b, which);
    int rc = score(&values, &with, a, b, err);
    if (rc == 0) score_warn(&with, a, b);
    log_about("%s%s%s", name ? name : "", name ? ", " : "", options->versus ? options->versus : "");
    if (rc == 0 && a2 && (rc = score_paired(&others, &with, a, a2, b, err)) != 0)
        error_prefix(err, "%s", options->versus);
    log_about_all();
    if (rc != 0 && name) error_prefix(err, "%s", name);
    if (rc == 0) rc = values_put(comparison->values, name, values, err);
    if (rc == 0 && others) rc = values_put(comparison->others, name, others, err);
    json_decref(values);
    json_decref(others);
    return rc;
}

/* What goes over all networks: means, and differences of these too. */
static int compare_all(struct comparison *comparison, struct error *err) {
    if (values_mean(comparison->values, "fdr", err) != 0 || values_mean(comparison->others, "fdr", err) != 0 ||
        values_difference(comparison->values, comparison->values, comparison->others, err) != 0)
        return -1;
    return values_holm(comparison->values, err);
}

/* What the numbers are of; of several networks by name. */
static int add_networks(json_t *to, const struct comparison *comparison, struct error *err) {
    size_t count = comparison->operands.networks;
    json_t *networks = count > 1 ? json_object() : NULL, *samples = networks ? json_object() : NULL;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct network_sides sides = operands_of(&comparison->operands, i);
        const char *name = name_of(comparison, i);
        rc = json_object_set_new(networks ? networks : to, networks ? name : "network", values_network(&sides));
        if (rc == 0)
            rc = json_object_set_new(networks ? samples : to, networks ? name : "samples", values_samples(&sides));
    }
    if (rc == 0 && networks) rc = json_object_set(to, "networks", networks);
    if (rc == 0 && networks) rc = json_object_set(to, "samples", samples);
    json_decref(networks);
    json_decref(samples);
    return rc == 0 ? 0 : error_memory(err);
}

static void print_network(const struct comparison *comparison, size_t i) {
    const struct network_sides sides = operands_of(&comparison->operands, i);
    const char *name = name_of(comparison, i);
    if (name && i > 0) printf("\n");
    if (name) print_line(stdout, "%s", name);
    values_print(comparison->values, name);
    values_print_network(&sides);
    values_print_samples(&sides, comparison->operands.paths);
}

static int print_comparison(const struct comparison *comparison) {
    const struct operands *operands = &comparison->operands;
    for (size_t i = 0; i < operands->networks; i++) print_network(comparison, i);
    if (operands->networks > 1) values_print_mean(comparison->values);
    if (operands->pairing)
        printf("%sA - A2         paired by %s\n", operands->networks > 1 ? "\n" : "", operands->pairing);
    return 0;
}

static int print_comparison_json(const struct comparison *comparison, struct error *err) {
    const struct compare_options *options = comparison->options;
    json_t *json = json_pack("{s:s, s:s, s:s?, s:s?, s:O, s:O}", "a", options->a, "b", options->b, "versus",
                             options->versus, "pairing", comparison->operands.pairing, "metrics", comparison->values,
                             "warnings", comparison->warnings);
    int rc = json ? add_networks(json, comparison, err) : error_memory(err);
    if (rc == 0) rc = print_json(json, err);
    json_decref(json);
    return rc;
}

static int compare_whole(const struct compare_options *options, struct error *err) {
    if (options->count || options->metrics || options->features.count || options->versus || options->validation ||
        options->text || options->indices || options->range || options->order || options->device)
        return error_set(err, CODE_USAGE,
                         "--same compares all samples of two runs: leave out --count, --metrics, "
                         "--features, --versus, --validation, --text, --kid-indices, --range, --order and --device");
    return compare_same(options->a, options->b, options->json, err);
}

static int compare(const struct call *call, struct error *err) {
    const struct compare_options *options = call->options;
    if (options->same) return compare_whole(options, err);
    struct comparison comparison = {
        .options = options,
        .operands = {.paths = {options->a, options->b, options->versus, options->validation},
                     .text = options->text,
                     .count = options->count,
                     .score.metrics = options->metrics ? options->metrics : 1u << METRIC_FID},
        .values = json_object(),
        .others = json_object(),
        .warnings = json_array()};
    const struct operands *operands = &comparison.operands;
    char *indices = NULL;
    log_warnings_to(comparison.warnings);
    int rc = comparison.values && comparison.others && comparison.warnings ? 0 : error_memory(err);
    for (int which = OPERAND_A; rc == 0 && options->json && which <= OPERAND_A2; which++)
        if (operands->paths[which]) rc = path_check_utf8(operands->paths[which], err);
    if (rc == 0) rc = sides_indices(&comparison.operands.score, &indices, options->indices, err);
    if (rc == 0) rc = read_comparison(&comparison, err);
    for (size_t i = 0; rc == 0 && i < operands->networks; i++) rc = compare_network(&comparison, i, err);
    if (rc == 0) rc = compare_all(&comparison, err);
    if (rc == 0) rc = options->json ? print_comparison_json(&comparison, err) : print_comparison(&comparison);
    log_warnings_to(NULL);
    json_decref(comparison.warnings);
    json_decref(comparison.values);
    json_decref(comparison.others);
    free(indices);
    operands_release(&comparison.operands);
    sides_networks_release(&comparison.networks);
    return rc;
}

static int write_features(const struct side *side, const struct compare_options *options, struct error *err) {
    const struct features *features = &side->views[FEATURES_POOL].features;
    struct features_origin origin;
    memcpy(origin.network, side->network, SHA256_HEX);
    snprintf(origin.recipe, RECIPE_SIZE, "%s", side_recipe(side));
    memcpy(origin.shape, side->shape, sizeof origin.shape);
    if (features_write(features, &origin, options->output, err) != 0) return -1;
    print_line(stdout, "%s: features [%zu, %zu]", options->output, features->count, features->dim);
    return 0;
}

static int write_statistics(const struct side *side, const struct compare_options *options, struct error *err) {
    const struct statistics *spatial = &side->views[FEATURES_SPATIAL].statistics;
    struct statistics statistics = side->views[FEATURES_POOL].statistics; /* borrowed */
    char count[60] = "of a number of samples that is not known";
    memcpy(statistics.network, side->network, SHA256_HEX);
    memcpy(statistics.shape, side->shape, sizeof side->shape);
    if (statistics_write(&statistics, spatial->dim ? spatial : NULL, NULL, options->output, err) != 0) return -1;
    if (statistics.count) snprintf(count, sizeof count, "of %" PRIu64 " samples", statistics.count);
    print_line(stdout, "%s: mu and sigma %s, %zu features each%s", options->output, count, statistics.dim,
               spatial->dim ? "; mu_s and sigma_s" : "");
    return 0;
}

/* Is there what is to be written? Also of a side that is only foreseen. */
static int check_reference(const struct side *side, const struct compare_options *options, struct error *err) {
    const struct features *features = &side->views[FEATURES_POOL].features;
    if (text_ends_in(options->output, ".npy"))
        return features->rows ? 0
                              : error_set(err, CODE_DATA, "%s holds no features, only their statistics", options->a);
    if (!features->rows || features->count >= 2) return 0;
    return error_set(err, CODE_DATA, "%s: a covariance needs at least 2 samples, found 1: -o FILE.npy writes features",
                     options->a);
}

static int reference(const struct call *call, struct error *err) {
    const struct compare_options *options = call->options;
    struct named_paths networks;
    struct extraction extraction;
    const struct extraction *how = NULL;
    struct side side = {0};
    bool run;
    if (command_check_file("reference", options->output, options->a, err) != 0) return -1;
    if (!text_ends_in(options->output, ".npz") && !text_ends_in(options->output, ".npy"))
        return error_set(err, CODE_USAGE, "--output: expected FILE.npz, statistics, or FILE.npy, features, found %s",
                         options->output);
    int rc = sides_networks(&networks, &options->features, options->a, NULL, err);
    if (rc == 0 && networks.count > 1)
        rc = error_set(err, CODE_USAGE, "reference: one file is of one feature network: say which, --features NET");
    if (rc == 0) rc = check_options(options, &networks, 0, err);
    if (rc == 0) rc = read_extraction(&extraction, &how, options, &networks, 1u << METRIC_FID, err);
    extraction.spatial = extraction.afresh = extraction.foresee = true;
    if (rc == 0 && (rc = sides_read(&side, &run, options->a, how, 0, err)) == 0)
        rc = check_reference(&side, options, err);
    extraction.foresee = false;
    if (rc == 0 && side.foreseen) {
        side_release(&side);
        rc = sides_read(&side, &run, options->a, how, 0, err);
    }
    sides_networks_release(&networks);
    if (rc == 0)
        rc = text_ends_in(options->output, ".npy") ? write_features(&side, options, err)
                                                   : write_statistics(&side, options, err);
    side_release(&side);
    return rc;
}

#define SIDES \
    "a run directory (its own features, or its samples through --features), features (.npy, or .npz with features " \
    "or\n" \
    "arr_0; taken as float32), statistics (.npz with mu and sigma, perhaps mu_s and sigma_s: pytorch-fid's, EDM's, " \
    "ADM's),\n" \
    "or, through --features, images: a folder or zip of PNG, JPEG or WebP files, or an array uint8 [N,H,W,C]\n" \
    "or float32 [N,C,H,W] (.npy, as export writes it; arr_0 of ADM's .npz).\n"

#define ROW_FEATURES \
    OPTION(LIST, compare_options, features, "features", .argument = "NET", \
           .help = "a feature network that images go through, or none: their pixels; also NAME=NET")
#define ROW_RANGE \
    OPTION(STRING, compare_options, range, "range", .argument = "LOW,HIGH", \
           .help = "black and white of arrays of floats, such as -1,1")
#define ROW_ORDER \
    OPTION(CHOICE, compare_options, order, "order", .choices = image_order_names, \
           .help = "of image files: numbers as numbers (natural), or byte by byte (name), as Python's sorted()")
#define ROW_DEVICE \
    OPTION(CHOICE, compare_options, device, "device", .help = "where the network runs", .choices = device_names)

static const struct option_row compare_rows[] = {
    OPTION(OPERAND, compare_options, a, "A"),
    OPTION(OPERAND, compare_options, b, "B"),
    ROW_FEATURES,
    OPTION(CHOICES, compare_options, metrics, "metrics", .argument = "M,...", .help = "default fid; of",
           .choices = metric_names, .nearest = metric_guess),
    OPTION(STRING, compare_options, versus, "versus", .argument = "A2",
           .help = "also the differences A - A2 of those metrics that have an error, paired by seeds"),
    OPTION(STRING, compare_options, validation, "validation", .argument = "V",
           .help = "a second set of real images, for fld and fdr"),
    OPTION(STRING, compare_options, text, "text", .argument = "T",
           .help = "the texts' features, for clip-score; of several networks NAME=T (.npy)"),
    OPTION(COUNT, compare_options, count, "count", .argument = "N", .help = "only the first N samples of A and of A2"),
    OPTION(STRING, compare_options, indices, "kid-indices", .argument = "I.npy",
           .help = "KID's subsets, int64 [subsets, 2, size]: rows of A, of B"),
    OPTION(FLAG, compare_options, same, "same", .help = "instead: whether the runs A and B are one set of samples"),
    ROW_RANGE,
    ROW_ORDER,
    ROW_DEVICE,
    ROW_JSON(compare_options),
};
static const struct option_row reference_rows[] = {
    OPTION(OPERAND, compare_options, a, "A"),
    OPTION(STRING, compare_options, output, "output", .argument = "FILE",
           .help = "the .npz that the statistics go to, or the .npy that the features go to (also -o)", .letter = 'o',
           .required = true),
    ROW_FEATURES,
    ROW_RANGE,
    ROW_ORDER,
    ROW_DEVICE,
};

const struct command command_compare = {
    "compare", "Metrics of samples A against reference B",
    "A and B: " SIDES
    "--same takes two runs, and says whether they hold the same bytes (exit status 0), the same within rounding: no\n"
    "pixel further apart than one of 255 levels (1), or not (2), and which keys of their jobs differ;\n"
    "of several decoders it is the worst of their verdicts, and a decoder of one run alone is a difference.\n"
    "--versus pairs by seed, or by the files' names, or says: by position; names of which just some are on both sides\n"
    "are an error. It takes 200 samples or more, and of --metrics compares fid, sfid, kid (over all pairs), cmmd, "
    "mind,\n"
    "fdr and clip-score.\n\n"
    "  fid           Frechet distance, as pytorch-fid and EDM define it; with every sample's features also corrected\n"
    "                for the bias of finite samples, with a standard error and a 95 % interval: delete-block "
    "jackknife,\n"
    "                20 blocks by position. They cover the samples' randomness, not the reference's; near 0 the "
    "interval\n"
    "                is wider than it need be.\n"
    "  sfid          the same of the network's output `spatial`, as ADM defines it\n"
    "  fid_infinity  extrapolated over 15 sample counts (Chong & Forsyth 2020)\n"
    "  kid           unbiased, kernel (x.y/d + 1)^3: mean over 100 subsets of 1000, as torch-fidelity, and their "
    "deviation\n"
    "                where both sides have more samples than that; kid_full over all pairs\n"
    "                (quote kid_full_corrected: balanced labels make kid_full too low)\n"
    "  is            inception score of the output `logits` (a file's rows are taken for them) over 10 splits in "
    "order,\n"
    "                as torch-fidelity without shuffling\n"
    "  prdc          precision and recall (ADM's rule), density and coverage (Naeem et al. 2020), all with k = "
    "3\n"
    "  cmmd          1,000 times the squared MMD of features scaled to norm 1, Gaussian kernel of sigma 10 (Jayasumana "
    "et\n"
    "                al. 2023, whose NET is CLIP); corrected and with its error as fid\n"
    "  mind          3 D times the squared sliced Wasserstein distance of D features (Berthet et al. 2026), over\n"
    "                orthonormal frames, in all at least 1,000 directions; corrected and with its error as fid\n"
    "  vendi         Vendi score of A, its kernel the cosine (Friedman & Dieng 2023); takes nothing of "
    "B\n"
    "  fld           feature likelihood divergence (Jiralerspong et al. 2023) with B the training set and V the test "
    "set;\n"
    "                fld_gap far below 0: A holds copies of training images\n"
    "  fdr           FID(A) / FID(V) (Yang et al. 2026); of several networks also the mean over them\n"
    "  clip-score    100 max(cosine, 0) of A's features and its text's (Hessel et al. 2021); a run's samples have the\n"
    "                texts of their conditions' rows\n" MODEL_IS_CODE,
    OPTION_TABLE(compare_rows, compare_options), compare};
const struct command command_reference = {
    "reference", "Write statistics (mu, sigma) for use as a reference",
    "A: " SIDES "\nFILE.npz is one that pytorch-fid and EDM read, and ADM where the network has an output `spatial`\n"
    "(mu_s, sigma_s). FILE.npy: the features themselves, for kid, prdc, cmmd and mind; a comment\n"
    "in its header, which numpy passes over, says of which network.\n" MODEL_IS_CODE,
    OPTION_TABLE(reference_rows, compare_options), reference};
