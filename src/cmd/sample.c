/* sample: one sample of a run, from its shard on disk or made again by the model. */
#include "base/draft.h"
#include "base/files.h"
#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "format/npy.h"
#include "export/rows.h"
#include "run/machines.h"
#include "work/remake.h"
#include "torch_shim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 0 where the sample made now has the bytes of the stored one; else CODE_DATA, naming both machines. */
static int compare(const struct run *run, uint64_t seed, const char *made, const struct row *stored,
                   struct error *err) {
    size_t different = 0;
    for (size_t i = 0; i < stored->size; i++) different += made[i] != stored->bytes[i];
    if (different == 0) return 0;
    const char *then = json_string_value(json_object_get(json_object_get(run->document, "versions"), "torch"));
    char *mixed = machines_mixed(run->document), now[128];
    shim_describe_device(run_remake_device(run), now, sizeof now);
    int rc = error_set(err, CODE_DATA,
                       "seed %" PRIu64 ": %zu of %zu bytes differ from those on disk, which stay: another kind of "
                       "machine or libtorch made them (then: %s%s; now: %s)",
                       seed, different, stored->size, mixed ? "one of " : "",
                       mixed  ? mixed
                       : then ? then
                              : "unknown",
                       now);
    free(mixed);
    return rc;
}

static int write_sample(const struct run *run, const void *stored, const char *path, bool png, bool latent,
                        struct error *err) {
    struct npy npy = run_npy(run, (shard_id){0}, latent ? LATENTS : SAMPLES);
    struct row row;
    if (!png) {
        memmove(npy.shape, npy.shape + 1, 3 * sizeof *npy.shape);
        npy.rank = 3;
        return npy_write(&npy, stored, path, err);
    }
    if (row_convert(run, ROW_PNG, stored, &row, err) != 0) return -1;
    int rc = file_write_atomic(path, row.bytes, row.size, err);
    free(row.bytes);
    return rc;
}

struct sample_options {
    const char *run, *id, *output;
    bool recompute, latent, force;
};

/* Writes the sample from its shard, verified; with --recompute as the model makes it, once that was compared. */
static int find(const struct sample_options *options, const struct run *run, const struct seeds *seed, const char *path,
                bool png, struct error *err) {
    struct rows *rows = NULL;
    const struct row *row = NULL;
    uint64_t count, position;
    void *made = NULL;
    int rc = seeds_locate(&run->job.seeds, seed, &position, err);
    if (rc != 0) return error_prefix(err, "%s", run->dir);
    rc = rows_open(&rows, run, seed, 0, options->latent ? ROW_LATENT : ROW_STORED, err);
    if (rc == 0) rc = rows_at(rows, 0, &row, &count, err);
    bool gap = rc != 0 && err->code == CODE_AGAIN;
    if (gap && options->recompute) rc = 0;
    else if (gap) error_prefix(err, "not on disk (--recompute makes it from the model)");
    if (rc == 0 && options->recompute) rc = run_remake(run, position, &made, err);
    if (rc == 0 && made && !gap) rc = compare(run, seed->ranges[0].first, made, row, err);
    if (rc == 0) rc = write_sample(run, made ? made : row->bytes, path, png, options->latent, err);
    if (rc == 0)
        print_line(stdout, "%s: %s", path,
                   !made ? "from disk"
                   : gap ? "made again; it is not on disk"
                         : "made again, the same as on disk");
    free(made);
    rows_close(rows);
    return rc;
}

static int write_one(const struct sample_options *options, const struct run *run, const struct seeds *seed,
                     struct error *err) {
    char *path = options->output ? strdup(options->output) : text_new("%06" PRIu64 ".png", seed->ranges[0].first);
    bool png = path && text_ends_in(path, ".png");
    bool there = false;
    const struct sample_form form = card_sample(&run->card);
    int rc = path ? command_check_output("sample", path, err) : error_memory(err);
    if (rc == 0) rc = file_exists(path, &there, err);
    if (rc == 0 && !png && !text_ends_in(path, ".npy"))
        rc = error_set(err, CODE_USAGE, "sample: --output: expected a name that ends in .png or .npy, found %s", path);
    else if (rc == 0 && png && !sample_bounded(&form))
        rc = error_set(err, CODE_DATA, "%s: its samples have no range, and are no pictures: say --output FILE.npy",
                       run->dir);
    else if (rc == 0 && png && form.channels != 1 && form.channels != 3)
        rc = error_set(err, CODE_DATA, "%s: a PNG has 1 or 3 channels, the samples have %d: say --output FILE.npy",
                       run->dir, form.channels);
    else if (rc == 0 && !options->force && there)
        rc = error_set(err, CODE_USAGE, "sample: %s is there already: say --force to replace it, or another --output",
                       path);
    if (rc == 0) rc = file_check_place(path, false, err);
    if (rc == 0) rc = find(options, run, seed, path, png, err);
    free(path);
    return rc;
}

static int sample(const struct call *call, struct error *err) {
    const struct sample_options *options = call->options;
    struct seeds seed = {0};
    struct run run;
    int rc = 0;
    if (options->latent && (options->recompute || !options->output || !text_ends_in(options->output, ".npy")))
        return error_set(
            err, CODE_USAGE,
            "sample: --latent reads a kept latent into a .npy: say --output FILE.npy, without --recompute");
    if (seeds_parse(&seed, options->id, err) != 0 || seed.count != 1)
        rc = error_set(err, CODE_USAGE, "sample: ID: expected one seed, found %s", options->id);
    if (rc == 0 && (rc = command_open_run(&run, options->run, err)) == 0) {
        rc = write_one(options, &run, &seed, err);
        run_close(&run);
    }
    seeds_release(&seed);
    return rc;
}

static const struct option_row rows[] = {
    ROW_RUN(sample_options),
    OPTION(OPERAND, sample_options, id, "ID"),
    ROW_OUTPUT(sample_options, "FILE"),
    OPTION(FLAG, sample_options, recompute, "recompute", .help = "run the model again for this sample's batch"),
    OPTION(FLAG, sample_options, latent, "latent", .help = "the latent that it was decoded of, where the run keeps it"),
    ROW_FORCE(sample_options),
};

const struct command command_sample = {
    "sample", "Write one sample of a run as a PNG or .npy",
    "ID is its seed; FILE ends in .png or .npy, by default it is {seed:06d}.png. The sample comes from its shard on "
    "disk. With\n"
    "--recompute the model runs again for that sample's batch alone; where the shard is there too, both must be the "
    "same bytes\n"
    "(exit status 65: they differ). A run.json and the model are enough for that.\n" MODEL_IS_CODE,
    OPTION_TABLE(rows, sample_options), sample};
