/* Job files: what is read, defaults, overrides, the resolved job. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/text.h"
#include "job/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINIMAL "model: m.pt\nseeds: 0-9\nsampler: {solver: taylor, nfe: 10}\n" /* three lines */
#define CARD \
    "{shape: [1, 8, 8], prediction: epsilon, time: {kind: continuous}, schedule: {kind: linear}, " \
    "labels: {classes: 10, null: 10}}"

static struct job parsed(const char *text, const char *const *overrides, size_t count) {
    struct job job;
    struct error err;
    if (job_parse(&job, text, "jobs/digits.yaml", "jobs", overrides, count, &err) != 0) fail_msg("%s", err.message);
    return job;
}

static void defaults(void **state) {
    (void)state;
    struct job job = parsed(MINIMAL, NULL, 0);
    assert_string_equal(job.name, "digits");
    assert_string_equal(job.model.path, "jobs/m.pt");
    assert_null(job.model.card);
    assert_int_equal(job.seeds.count, 10);
    assert_int_equal(job.labels.rule, LABELS_NONE);
    assert_int_equal(job.batch, 0); /* until job_set_batch */
    assert_string_equal(job.sampler.solver, "taylor");
    assert_int_equal(job.sampler.nfe, 10);
    assert_int_equal(job.sampler.steps, 0);
    assert_true(isnan(job.sampler.order) && isnan(job.sampler.t_start) && isnan(job.sampler.t_end));
    assert_true(isnan(job.sampler.eta) && isnan(job.sampler.rtol) && isnan(job.sampler.atol));
    assert_int_equal(job.sampler.clock, CLOCK_UNSET);
    assert_int_equal(job.sampler.grid, GRID_UNSET);
    assert_int_equal(job.sampler.final, FINAL_UNSET);
    assert_int_equal(job.sampler.variance, VARIANCE_UNSET);
    assert_true(job.sampler.guidance.scale == 1);
    assert_false(job.sampler.clip.on);
    assert_int_equal(job.sampler.state, STATE_FLOAT64);
    assert_string_equal(job.output.dir, "runs/digits");
    assert_int_equal(job.output.samples_per_shard, 0);
    assert_int_equal(job.output.level, 3);
    assert_int_equal(job.output.rounding, ROUNDING_EDM);
    assert_int_equal(job.output.dtype, SAMPLE_UINT8);
    assert_false(job.evaluate.enabled);
    assert_int_equal(job.device, DEVICE_AUTO);
    assert_false(job.share_device);
    assert_false(job.cuda_graphs);
    assert_int_equal(job.workers, 0);
    assert_int_equal(job.precision, PRECISION_FP32);
    assert_int_equal(job.noise, NOISE_PHILOX);
    assert_null(job.initial);
    job_release(&job);
}

#define EVERYTHING \
    "name: all\nmodel: {path: /m/model.pt, card: " CARD "}\n" \
    "seeds: [100-199, 7, \"0-3,50\"]\nlabels: labels.npy\nbatch: 16\n" \
    "sampler: {solver: ddim, order: .inf, steps: 12, clock: logsnr, grid: {times: [1, 0.5, 1e-3]}, t_start: 1.0,\n" \
    "  t_end: 0.001, final: denoise, eta: 0.3, variance: large, guidance: {scale: 2.5}, clip: true, rtol: 1e-5,\n" \
    "  atol: 1.0e-6, state: float32}\n" \
    "output: {dir: out/all, samples_per_shard: 32, level: 19, rounding: adm, dtype: float32}\n" \
    "evaluate: {features: ../f.pt, reference: r.npz, metrics: [fid]}\n" \
    "device: cuda\nshare_device: true\ncuda_graphs: true\nworkers: 3\nprecision: tf32\nnoise: torch-cuda\n" \
    "initial: x.npy\n"

static void every_key(void **state) {
    (void)state;
    struct job job = parsed(EVERYTHING, NULL, 0);
    assert_string_equal(job.name, "all");
    assert_string_equal(job.model.path, "/m/model.pt");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(job.model.card, "shape"), 2)), 8);
    assert_int_equal(job.seeds.count, 106);
    assert_int_equal(seeds_at(&job.seeds, 100), 7);
    assert_int_equal(seeds_at(&job.seeds, 105), 50);
    assert_int_equal(job.labels.rule, LABELS_FILE);
    assert_string_equal(job.labels.path, "jobs/labels.npy");
    assert_int_equal(job.batch, 16);
    assert_true(isinf(job.sampler.order));
    assert_int_equal(job.sampler.steps, 12);
    assert_int_equal(job.sampler.clock, CLOCK_LOGSNR);
    assert_int_equal(job.sampler.grid, GRID_TIMES);
    assert_int_equal(job.sampler.times_count, 3);
    assert_true(job.sampler.times[0] == 1 && job.sampler.times[1] == 0.5 && job.sampler.times[2] == 1e-3);
    assert_true(job.sampler.t_start == 1 && job.sampler.t_end == 0.001 && job.sampler.eta == 0.3);
    assert_int_equal(job.sampler.final, FINAL_DENOISE);
    assert_int_equal(job.sampler.variance, VARIANCE_LARGE);
    assert_true(job.sampler.guidance.scale == 2.5 && job.sampler.clip.on);
    assert_true(job.sampler.rtol == 1e-5 && job.sampler.atol == 1e-6);
    assert_int_equal(job.sampler.state, STATE_FLOAT32);
    assert_string_equal(job.output.dir, "out/all");
    assert_int_equal(job.output.samples_per_shard, 32);
    assert_int_equal(job.output.level, 19);
    assert_int_equal(job.output.rounding, ROUNDING_ADM);
    assert_int_equal(job.output.dtype, SAMPLE_FLOAT32);
    assert_true(job.evaluate.enabled);
    assert_string_equal(job.evaluate.features.list[0].path, "jobs/../f.pt");
    assert_string_equal(job.evaluate.files[EVALUATED_REFERENCE].list[0].path, "jobs/r.npz");
    assert_int_equal(job.device, DEVICE_CUDA);
    assert_true(job.share_device);
    assert_true(job.cuda_graphs);
    assert_int_equal(job.workers, 3);
    assert_int_equal(job.precision, PRECISION_TF32);
    assert_int_equal(job.noise, NOISE_TORCH_CUDA);
    assert_string_equal(job.initial, "jobs/x.npy");
    job_release(&job);
}

/* Some values have more than one way to be written. */
static void variants(void **state) {
    (void)state;
    struct job job = parsed("model: {card: " CARD "}\nseeds: 5\nlabels: 3\n"
                            "sampler: {solver: x, order: 1.5, guidance: 2}\n"
                            "evaluate: {features: none, reference: r.npz}\n",
                            NULL, 0);
    assert_null(job.model.path);
    assert_int_equal(seeds_at(&job.seeds, 0), 5);
    assert_int_equal(job.labels.rule, LABELS_CONSTANT);
    assert_int_equal(job.labels.constant, 3);
    assert_true(job.sampler.order == 1.5 && job.sampler.guidance.scale == 2);
    assert_true(job.evaluate.enabled);
    assert_null(job.evaluate.features.list[0].path);
    job_release(&job);

    job = parsed("model: m.pt\nseeds: 18446744073709551615\nlabels: edm\nnoise: torch-cpu\nsampler: {solver: rk45}\n",
                 NULL, 0);
    assert_true(seeds_at(&job.seeds, 0) == UINT64_MAX);
    assert_int_equal(job.labels.rule, LABELS_EDM);
    job_release(&job);

    job = parsed("model: m.pt\nseeds: &s 0-4\nsampler: {solver: heun}\nname: *s\n", NULL, 0); /* an alias */
    assert_string_equal(job.name, "0-4");
    job_release(&job);
}

/* The resolved job, read back from another folder, is the same job. */
static void resolved_round_trip(void **state) {
    (void)state;
    static const char *const texts[] = {
        MINIMAL,
        EVERYTHING,
        "model: {card: " CARD "}\nseeds: 5,1-3\nlabels: 3\nsampler: {solver: x, order: 1.5, grid: karras}\n"
        "evaluate: {features: none, reference: r.npz}\n",
        "model: m.pt\nseeds: 18446744073709551615\nlabels: random\nsampler: {solver: rk45, rtol: 0.1}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct job job = parsed(texts[i], NULL, 0), again;
        struct error err;
        char *text = json_dumps(job.resolved, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
        if (job_parse(&again, text, "run.json", "/elsewhere", NULL, 0, &err) != 0) fail_msg("%s", err.message);
        if (!json_equal(job.resolved, again.resolved)) fail_msg("not the same: %s", text);
        assert_string_equal(again.name, job.name);
        const json_t *output = json_object_get(job.resolved, "output");
        assert_int_equal(*json_string_value(json_object_get(output, "dir")), '/'); /* absolute */
        assert_int_equal(again.seeds.count, job.seeds.count);
        assert_int_equal(again.labels.rule, job.labels.rule);
        assert_int_equal(again.sampler.grid, job.sampler.grid);
        free(text);
        job_release(&again);
        job_release(&job);
    }
}

static void overrides_change_the_job(void **state) {
    (void)state;
    static const char *const overrides[] = {
        "sampler.nfe=null",         "sampler.steps=7", "sampler.order=1.5",
        "output.level=1",           "model.path=o.pt", "sampler.grid={times: [1, 0.5]}",
        "seeds=[0-3, 9]",           "labels=balanced", "evaluate={features: none, reference: a=b.npz}",
        "sampler.guidance.scale=3", "batch=8",         "batch=4",
    };
    struct job job = parsed("model: {path: m.pt}\nseeds: 0-9\nsampler: {solver: taylor, nfe: 10}\n", overrides,
                            sizeof overrides / sizeof *overrides);
    assert_int_equal(job.sampler.nfe, 0);
    assert_int_equal(job.sampler.steps, 7);
    assert_true(job.sampler.order == 1.5);
    assert_int_equal(job.output.level, 1);
    assert_string_equal(job.model.path, "jobs/o.pt");
    assert_int_equal(job.sampler.times_count, 2);
    assert_int_equal(job.seeds.count, 5);
    assert_int_equal(job.labels.rule, LABELS_BALANCED);
    assert_string_equal(job.evaluate.files[EVALUATED_REFERENCE].list[0].path, "jobs/a=b.npz");
    assert_true(job.sampler.guidance.scale == 3);
    assert_int_equal(job.batch, 4); /* the last one counts */
    job_release(&job);
}

/* The ends of a range belong to it. */
static void edges_are_accepted(void **state) {
    (void)state;
    static const char *const overrides[] = {
        "output.level=1",
        "output.level=22",
        "batch=1",
        "batch=2147483647",
        "labels=0",
        "sampler.order=1",
        "sampler.eta=0",
        "sampler.t_end=0",
        "sampler.grid={times: [0]}",
        "workers=1",
        "sampler.nfe=1",
        "sampler.order=.Inf",
        "sampler.guidance=-1e300",
        "name=job.v2",
    };
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) {
        struct job job = parsed(MINIMAL, &overrides[i], 1);
        job_release(&job);
    }
}

static void files(void **state) {
    (void)state;
    struct job job;
    struct error err;
    assert_int_equal(job_read(&job, "jobs/digits/job.yaml", NULL, 0, &err), 0);
    assert_string_equal(job.name, "digits");
    assert_string_equal(job.model.path, "jobs/digits/model.pt");
    assert_string_equal(job.evaluate.features.list[0].path, "jobs/digits/features.pt");
    job_release(&job);

    assert_int_equal(job_read(&job, "no/such.yaml", NULL, 0, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    assert_non_null(strstr(err.message, "no/such.yaml"));

    char folder[] = "/tmp/test_job_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = text_new("%s/zero.yaml", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite("a: 1\0\n", 1, 6, file), 6);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(job_read(&job, path, NULL, 0, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "zero bytes"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(variants),
        cmocka_unit_test(resolved_round_trip),
        cmocka_unit_test(overrides_change_the_job),
        cmocka_unit_test(edges_are_accepted),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
