/* compare and reference: metrics between any two sets, and statistics of one. */
#include "base/files.h"
#include "base/log.h"
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "cmd/compare_same.h"
#include "metric/score.h"
#include "eval/side_read.h"
#include "export/rows.h"
#include "shard/store.h"
#include "work/result.h"
#include "torch_shim.h"
#include "sample/model.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader { /* of a run's samples */
    struct rows *rows;
    uint64_t next;
};

static int read_rows(void *context, size_t count, void *to, struct error *err) {
    struct reader *reader = context;
    char *out = to;
    const struct row *row;
    for (uint64_t got; count > 0; count -= (size_t)got, reader->next += got) {
        if (rows_at(reader->rows, reader->next, &row, &got, err) != 0) return -1;
        if (got > count) got = count;
        memcpy(out, row->bytes, (size_t)got * row->size);
        out += (size_t)got * row->size;
    }
    return 0;
}

/* A run's samples through a network that it was not evaluated with. */
static int extract_run(struct side *side, const struct run *run, const struct extraction *how, struct error *err) {
    const struct sample_form form = card_sample(&run->card);
    struct reader reader = {.next = 0};
    bool floats = run->job.output.dtype == SAMPLE_FLOAT32;
    if (rows_open(&reader.rows, run, NULL, run->job.evaluate.count, floats ? ROW_STORED : ROW_PIXELS, err) != 0)
        return -1;
    struct picture_source source = {.name = run->dir,
                                    .count = (size_t)rows_count(reader.rows),
                                    .height = form.height,
                                    .width = form.width,
                                    .channels = form.channels,
                                    .floats = floats,
                                    .low = form.low,
                                    .high = form.high,
                                    .read = read_rows,
                                    .context = &reader};
    int rc = extract(side, &source, how, err);
    rows_close(reader.rows);
    if (rc != 0) side_release(side);
    return rc;
}

/* Was the run evaluated with this network? */
static int evaluated_with(const struct run *run, const struct extraction *how, bool *same, struct error *err) {
    struct network network;
    *same = false;
    if (!run->job.evaluate.enabled) return 0;
    if (network_open(&network, how->network, &run->card, 0, err) != 0) return -1;
    if (run->job.output.dtype != SAMPLE_UINT8)
        network_take_floats(&network, &run->card, run->job.output.dtype == SAMPLE_FLOAT16);
    *same = strcmp(network.key, run->network.key) == 0;
    network_release(&network);
    return 0;
}

/* Of the first `count`, or of all (0), as text. New; NULL when out of memory. */
static char *first_seeds(const struct seeds *seeds, uint64_t count) {
    if (count == 0) return seeds_text(seeds);
    if (count > seeds->count) count = seeds->count; /* side_cut says so */
    uint64_t *first = malloc(count * sizeof *first);
    for (uint64_t i = 0; first && i < count; i++) first[i] = seeds_at(seeds, i);
    char *text = first ? store_seeds(first, count) : NULL;
    free(first);
    return text;
}

/* The features of a run directory, those made when it was evaluated where they are the ones asked for. *seeds (new):
 * which samples they are. */
static int read_run(struct side *side, char **seeds, const char *dir, const struct extraction *how, uint64_t count,
                    struct error *err) {
    json_t *document;
    struct run run;
    bool made = true;
    if (document_read(&document, dir, err) != 0 || run_open(&run, document, dir, true, err) != 0) return -1;
    run.keeps_latents = false;
    int rc = how ? evaluated_with(&run, how, &made, err) : 0;
    if (rc == 0 && !how && !run.job.evaluate.enabled)
        rc = error_set(err, CODE_DATA,
                       "%s has no features, for its job has no evaluate: block: say --features NET, the feature "
                       "network its samples go through, or --features none for their pixels",
                       dir);
    if (rc == 0 && !made && run.job.output.dtype == SAMPLE_FLOAT16)
        rc = error_set(err, CODE_DATA,
                       "%s holds float16 samples, which compare does not send through a network: say evaluate: "
                       "{features: ...} in its job and evaluate it",
                       dir);
    const struct sample_form form = card_sample(&run.card);
    if (rc == 0 && !made && !sample_bounded(&form))
        rc = error_set(err, CODE_DATA,
                       "%s holds samples without a range, which compare does not send through a network: say evaluate: "
                       "{features: ...} in its job and evaluate it",
                       dir);
    if (rc == 0) rc = made ? result_side(&run, side, err) : extract_run(side, &run, how, err);
    if (rc == 0 && !(*seeds = first_seeds(&run.job.seeds, count))) rc = error_memory(err);
    run_close(&run);
    return rc;
}

/* count: the first so many; 0: all. *seeds stays NULL for a file, which does not say. */
static int read_side(struct side *side, char **seeds, const char *path, const struct extraction *how, uint64_t count,
                     struct error *err) {
    char *document = text_new("%s/run.json", path);
    if (!document) return error_memory(err);
    bool run;
    int rc = file_exists(document, &run, err);
    if (rc == 0) rc = run ? read_run(side, seeds, path, how, count, err) : side_read(side, path, how, err);
    free(document);
    return rc == 0 && count > 0 ? side_cut(side, (size_t)count, path, err) : rc;
}

struct compare_options { /* also of reference: a and what is not compare's alone */
    const char *a, *b, *versus, *features, *indices, *output, *range;
    int device; /* enum device */
    unsigned metrics;
    uint64_t count;
    bool json, same;
};

/* What --features and --device say; *how stays NULL without the former. */
static int read_extraction(struct extraction *extraction, const struct extraction **how,
                           const struct compare_options *options, unsigned metrics, struct error *err) {
    int kind = options->device, end = 0;
    double low = 0, high = 0;
    *how = NULL;
    if (options->range && (sscanf(options->range, "%lf,%lf%n", &low, &high, &end) != 2 || options->range[end] ||
                           !(low < high) || !isfinite(low) || !isfinite(high)))
        return error_set(err, CODE_USAGE, "--range: expected LOW,HIGH such as -1,1, found %s", options->range);
    if (!options->features) return 0;
    int chosen;
    if (model_device((enum device_kind)kind, 0, "--device", &chosen, err) != 0) return -1;
    *extraction = (struct extraction){.network = strcmp(options->features, "none") == 0 ? NULL : options->features,
                                      .metrics = metrics,
                                      .device = chosen,
                                      .low = low,
                                      .high = high,
                                      .workers = chosen == SHIM_CPU ? omp_get_num_procs() : 1};
    *how = extraction;
    return 0;
}

/* *file new: the indices are in it. */
static int read_indices(struct score_options *options, char **file, const char *path, struct error *err) {
    struct npy npy;
    size_t offset;
    *file = NULL;
    if (!path) return 0;
    if (npy_read(&npy, file, &offset, path, err) != 0) return -1;
    char found[NPY_TEXT];
    npy_text(&npy, found);
    if (npy.type != NPY_INT64 || npy.rank != 3 || npy.shape[0] < 1 || npy.shape[1] != 2 || npy.shape[2] < 2)
        return error_set(err, CODE_DATA, "%s: expected int64 [subsets, 2, size], found %s", path, found);
    memmove(*file, *file + offset, npy_bytes(&npy)); /* aligned */
    options->indices = (const int64_t *)(const void *)*file;
    options->subsets = npy.shape[0];
    options->size = npy.shape[2];
    return 0;
}

static void print_values(const json_t *values) {
    static const char *const intervals[] = {"fid", "sfid", "cmmd", "mind"}, *const spreads[] = {"kid", "is"};
    static const char *const rest[] = {"fid_infinity", "kid_full", "precision", "recall",
                                       "density",      "coverage", "vendi"};
#define NUMBER(...) json_real_value(json_object_get(values, (snprintf(key, sizeof key, __VA_ARGS__), key)))
#define HAS(...) json_object_get(values, (snprintf(key, sizeof key, __VA_ARGS__), key))
    char key[40];
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) {
        const char *name = intervals[i];
        if (HAS("%s", name)) printf("%-14s %.6g\n", name, NUMBER("%s", name));
        if (HAS("%s_error", name))
            printf("%s_corrected%*s %.6g +- %.2g, 95 %% interval %.6g to %.6g\n", name, 4 - (int)strlen(name), "",
                   NUMBER("%s_corrected", name), NUMBER("%s_error", name), NUMBER("%s_low", name),
                   NUMBER("%s_high", name));
    }
    if (HAS("fid_delta"))
        printf("fid_delta      %.6g +- %.2g, 95 %% interval %.6g to %.6g\n", NUMBER("fid_delta"),
               NUMBER("fid_delta_error"), NUMBER("fid_delta_low"), NUMBER("fid_delta_high"));
    for (size_t i = 0; i < sizeof spreads / sizeof *spreads; i++)
        if (HAS("%s_std", spreads[i]))
            printf("%-14s %.6g, standard deviation %.2g\n", spreads[i], NUMBER("%s", spreads[i]),
                   NUMBER("%s_std", spreads[i]));
        else if (HAS("%s", spreads[i])) printf("%-14s %.6g\n", spreads[i], NUMBER("%s", spreads[i]));
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (HAS("%s", rest[i])) printf("%-14s %.6g\n", rest[i], NUMBER("%s", rest[i]));
#undef NUMBER
#undef HAS
}

static int compare(const struct call *call, struct error *err) {
    const struct compare_options *options = call->options;
    struct score_options score_options = {.metrics = options->metrics ? options->metrics : 1u << METRIC_FID};
    struct extraction extraction;
    const struct extraction *how = NULL;
    struct side a = {0}, b = {0}, versus = {0};
    json_t *values = NULL;
    char *indices = NULL, *seeds[3] = {NULL};
    if (options->same) return compare_same(options->a, options->b, options->json, err);
    int rc = options->json ? path_check_utf8(options->a, err) : 0;
    if (rc == 0 && options->json) rc = path_check_utf8(options->b, err);
    if (rc == 0) rc = read_indices(&score_options, &indices, options->indices, err);
    if (rc == 0) rc = read_extraction(&extraction, &how, options, score_options.metrics, err);
    if (rc == 0) rc = read_side(&a, &seeds[0], options->a, how, options->count, err);
    if (rc == 0) rc = read_side(&b, &seeds[1], options->b, how, 0, err);
    if (rc == 0 && options->versus) rc = read_side(&versus, &seeds[2], options->versus, how, options->count, err);
    if (rc == 0 && seeds[0] && seeds[2] && strcmp(seeds[0], seeds[2]) != 0)
        rc = error_set(err, CODE_DATA, "a paired difference needs the same seeds: %s has %s, %s has %s", options->a,
                       seeds[0], options->versus, seeds[2]);
    if (rc == 0 && options->versus && !(seeds[0] && seeds[2]) && !(a.names[0] && strcmp(a.names, versus.names) == 0))
        log_warn("--versus: the samples of %s and %s are paired by position, for %s", options->a, options->versus,
                 a.names[0] && versus.names[0] ? "their files have other names" : "they have no names in common");
    if (rc == 0 && side_recipe(&a)[0] && side_recipe(&b)[0] && strcmp(side_recipe(&a), side_recipe(&b)) != 0)
        log_warn("the images were prepared by two recipes, %s of %s and %s of %s: the metrics are also about these",
                 side_recipe(&a), options->a, side_recipe(&b), options->b);
    if (rc == 0) rc = score(&values, &score_options, &a, &b, err);
    if (rc == 0) score_warn(&score_options, &a, &b);
    if (rc == 0 && options->versus) rc = score_difference(values, &a, &versus, &b, err);
    if (rc == 0 && !options->json) print_values(values);
    if (rc == 0 && options->json) {
        json_t *json = json_pack("{s:s, s:s, s:O}", "a", options->a, "b", options->b, "metrics", values);
        rc = json ? print_json(json, err) : error_memory(err);
        json_decref(json);
    }
    json_decref(values);
    free(indices);
    for (size_t i = 0; i < 3; i++) free(seeds[i]);
    side_release(&a);
    side_release(&b);
    side_release(&versus);
    return rc;
}

static int reference(const struct call *call, struct error *err) {
    const struct compare_options *options = call->options;
    struct extraction extraction;
    const struct extraction *how = NULL;
    struct side side = {0};
    char *seeds = NULL;
    if (command_check_output("reference", options->output, err) != 0 ||
        file_check_place(options->output, false, err) != 0)
        return -1;
    int rc = read_extraction(&extraction, &how, options, 1u << METRIC_FID, err);
    extraction.spatial = true;
    if (rc == 0) rc = read_side(&side, &seeds, options->a, how, 0, err);
    free(seeds);
    const struct view *pool = &side.views[FEATURES_POOL], *spatial = &side.views[FEATURES_SPATIAL];
    if (rc == 0 && text_ends_in(options->output, ".npy")) {
        struct npy npy = {NPY_FLOAT32, sizeof(float), 2, {pool->features.count, pool->features.dim}};
        rc = pool->features.rows ? npy_write(&npy, pool->features.rows, options->output, err)
                                 : error_set(err, CODE_DATA, "%s holds no features, only their statistics", options->a);
        if (rc == 0)
            print_line(stdout, "%s: features [%zu, %zu]", options->output, pool->features.count, pool->features.dim);
    } else if (rc == 0) {
        struct statistics statistics = pool->statistics; /* borrowed */
        memcpy(statistics.network, side.network, SHA256_HEX);
        rc = statistics_write(&statistics, spatial->statistics.dim ? &spatial->statistics : NULL, NULL, options->output,
                              err);
        if (rc == 0)
            print_line(stdout, "%s: mu and sigma of %" PRIu64 " samples, %zu features each%s", options->output,
                       statistics.count, statistics.dim, spatial->statistics.dim ? "; mu_s and sigma_s" : "");
    }
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
    OPTION(STRING, compare_options, features, "features", .argument = "NET", \
           .help = "the feature network that images go through, or none: their pixels")
#define ROW_RANGE \
    OPTION(STRING, compare_options, range, "range", .argument = "LOW,HIGH", \
           .help = "black and white of arrays of floats, such as -1,1")
#define ROW_DEVICE \
    OPTION(CHOICE, compare_options, device, "device", .help = "where the network runs", .choices = device_names)

static const struct option_row compare_rows[] = {
    OPTION(OPERAND, compare_options, a, "A"),
    OPTION(OPERAND, compare_options, b, "B"),
    ROW_FEATURES,
    OPTION(CHOICES, compare_options, metrics, "metrics", .argument = "M,...", .help = "default fid; of",
           .choices = metric_names, .nearest = metric_guess),
    OPTION(STRING, compare_options, versus, "versus", .argument = "A2",
           .help = "also the difference FID(A) - FID(A2), paired by seeds"),
    OPTION(COUNT, compare_options, count, "count", .argument = "N", .help = "only the first N samples of A and of A2"),
    OPTION(STRING, compare_options, indices, "kid-indices", .argument = "I.npy",
           .help = "KID's subsets, int64 [subsets, 2, size]: rows of A, of B"),
    OPTION(FLAG, compare_options, same, "same", .help = "instead: whether the runs A and B are one set of samples"),
    ROW_RANGE,
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
    ROW_DEVICE,
};

const struct command command_compare = {
    "compare", "Metrics of samples A against reference B",
    "A and B: " SIDES
    "--same takes two runs, and says whether they hold the same bytes (exit status 0), the same within rounding: no\n"
    "pixel further apart than one of 255 levels (1), or not (2), and which keys of their jobs differ.\n"
    "--versus pairs by seed, or by the files' names where both sides have the same, or says: by position.\n\n"
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
    "B\n" MODEL_IS_CODE,
    OPTION_TABLE(compare_rows, compare_options), compare};
const struct command command_reference = {
    "reference", "Write statistics (mu, sigma) for use as a reference",
    "A: " SIDES "\nFILE.npz is one that pytorch-fid and EDM read, and ADM where the network has an output `spatial`\n"
    "(mu_s, sigma_s). FILE.npy: the features themselves, for kid, prdc, cmmd and mind.\n" MODEL_IS_CODE,
    OPTION_TABLE(reference_rows, compare_options), reference};
