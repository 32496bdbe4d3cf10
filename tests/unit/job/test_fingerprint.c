/* The fingerprint: what it depends on, what it ignores, and how a difference is told. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "config/keys.h"
#include "job/fingerprint.h"

#include <stdlib.h>
#include <string.h>

#define JOB \
    "model: {path: m.pt, card: {shape: [1, 8, 8], prediction: epsilon, time: {kind: continuous}, " \
    "schedule: {kind: linear}, labels: {classes: 10}}}\n" \
    "seeds: 0-9\nsampler: {solver: taylor, order: 2, nfe: 10}\n"

struct inputs { /* of fingerprint_make, beside the job */
    struct file_digests files;
    int plan_version;
};
static const struct inputs usual = {{.model = "aa"}, 1};

static struct fingerprint made(const char *override, const struct inputs *inputs) {
    struct job job;
    struct card card;
    struct error err;
    struct fingerprint fingerprint;
    if (job_parse(&job, JOB, "job.yaml", "/f", &override, override != NULL, &err) != 0) fail_msg("%s", err.message);
    assert_int_equal(card_parse(&card, job.model.card, "card", &err), 0);
    assert_int_equal(job_set_batch(&job, &card, &err), 0);
    assert_int_equal(fingerprint_make(&fingerprint, &job, &card, &job.sampler, &inputs->files, inputs->plan_version,
                                      &err),
                     0);
    card_release(&card);
    job_release(&job);
    return fingerprint;
}

static bool same(const char *override, const struct inputs *inputs) {
    struct fingerprint first = made(NULL, &usual), second = made(override, inputs);
    struct error err = {.message = ""};
    bool equal = strcmp(first.hex, second.hex) == 0;
    assert_int_equal(fingerprint_compare(first.keys, second.keys, "runs/x", &err), equal ? 0 : -1);
    fingerprint_release(&first);
    fingerprint_release(&second);
    return equal;
}

/* Computed apart, by Python's json and hashlib. */
static void canonical_text(void **state) {
    (void)state;
    struct fingerprint fingerprint = made(NULL, &usual);
    assert_string_equal(fingerprint.hex, "46ed35f6d00b9025b0e37e431fe27cf925f0e1df9a5213d64e8cd1e7fd54263f");
    fingerprint_release(&fingerprint);
}

static void ignores_what_makes_no_difference(void **state) {
    (void)state;
    static const char *const overrides[] = {
        "seeds=5-7",
        "name=other",
        "output.dir=/elsewhere",
        "output.samples_per_shard=64",
        "output.level=9",
        "workers=3",
        "device=cuda",
        "share_device=true",
        "cuda_graphs=true",
        "evaluate={features: none, reference: r.npz}",
        "model.path=moved.pt",
        "sampler.order=2.0",
        "output.rounding=edm",
    };
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++)
        if (!same(overrides[i], &usual)) fail_msg("changed by %s", overrides[i]);
}

static void depends_on_what_makes_samples(void **state) {
    (void)state;
    static const char *const overrides[] = {
        "sampler.solver=ddim",
        "sampler.order=1.5",
        "sampler.order=.inf",
        "sampler.nfe=20",
        "sampler.clock=logsnr",
        "sampler.grid=quadratic",
        "sampler.grid={times: [1, 0.5]}",
        "sampler.t_start=0.9",
        "sampler.t_end=0.01",
        "sampler.final=zero",
        "sampler.eta=0.5",
        "sampler.variance=large",
        "sampler.guidance={scale: 1, channels: 1}",
        "sampler.variance=learned",
        "sampler.guidance=1.0000000000000002",
        "sampler.clip=true",
        "sampler.rtol=1e-4",
        "sampler.atol=1e-4",
        "sampler.state=float32",
        "labels=balanced",
        "labels=3",
        "labels=random",
        "labels=l.npy",
        "noise=torch-cpu",
        "batch=32",
        "precision=tf32",
        "output.rounding=adm",
        "output.dtype=float32",
        "model.card.schedule.beta1=19",
        "model.card.labels.classes=9",
    };
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++)
        if (same(overrides[i], &usual)) fail_msg("not changed by %s", overrides[i]);
    assert_true(same(NULL, &usual));
    assert_false(same(NULL, &(struct inputs){{.model = "bb"}, 1}));
    assert_false(same(NULL, &(struct inputs){{.model = "aa", .initial = "cc"}, 1}));
    assert_false(same(NULL, &(struct inputs){{.model = "aa"}, 2}));
}

/* A label file and a guiding model count by their content, not by their name. */
static void files_count_by_content(void **state) {
    (void)state;
    static const struct {
        const char *here, *there;
        struct inputs one, other;
    } files[] = {
        {"labels=l.npy", "labels=m.npy", {{.model = "aa", .labels = "1"}, 1}, {{.model = "aa", .labels = "2"}, 1}},
        {"sampler.guidance={scale: 2, model: l.pt}",
         "sampler.guidance={scale: 2, model: m.pt}",
         {{.model = "aa", .guide = "1"}, 1},
         {{.model = "aa", .guide = "2"}, 1}},
    };
    for (int i = 0; i < 2; i++) {
        struct fingerprint a = made(files[i].here, &files[i].one), b = made(files[i].there, &files[i].one);
        struct fingerprint c = made(files[i].here, &files[i].other);
        assert_string_equal(a.hex, b.hex);
        assert_string_not_equal(a.hex, c.hex);
        fingerprint_release(&a);
        fingerprint_release(&b);
        fingerprint_release(&c);
    }
}

static void a_difference_is_named(void **state) {
    (void)state;
    static const struct {
        const char *override, *expected;
    } cases[] = {
        {"sampler.nfe=20", "runs/x was made with sampler.nfe = 10, this job has 20: choose another output.dir, or "},
        {"sampler.eta=0.5", "with sampler.eta = nothing, this job has 0.5:"},
        {"labels=3", "with labels.label = nothing, this job has 3:"},
        {"labels=balanced", "with labels.rule = \"none\", this job has \"balanced\":"},
        {"sampler={solver: taylor, order: 3, nfe: 5}", "with sampler.nfe = 10, this job has 5:"},
        {"model.card.shape=[3, 8, 8]", "with card.shape = [1,8,8], this job has [3,8,8]:"},
        {"output.dtype=float32", "with output.dtype = \"uint8\", this job has \"float32\":"},
    };
    struct fingerprint there = made(NULL, &usual);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fingerprint here = made(cases[i].override, &usual);
        /* What was stored went through a file. */
        char *text = json_dumps(there.keys, JSON_INDENT(1));
        json_t *stored = json_loads(text, 0, NULL);
        struct error err;
        assert_int_equal(fingerprint_compare(stored, here.keys, "runs/x", &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, cases[i].expected)) fail_msg("%s: %s", cases[i].override, err.message);
        assert_int_equal(fingerprint_compare(stored, there.keys, "runs/x", &err), 0);
        json_decref(stored);
        free(text);
        fingerprint_release(&here);
    }
    fingerprint_release(&there);
}

static long left; /* of jansson's allocations, until one fails */

static void *run_short(size_t size) {
    return left-- == 0 ? NULL : malloc(size);
}

/* What is written while memory is short is whole, or nothing: a list without its last item would be another job. */
static void short_of_memory(void **state) {
    (void)state;
    static const char *const overrides[] = {
        "model.row_dependent=true", "sampler.restart=[{steps: 3, low: 0.1, high: 1}, {steps: 4, low: 2, high: 3}]",
        "sampler.guidance={scale: [[0.9, 2], [0.5, 3]]}",
        "evaluate={features: [{name: a, path: a.pt}, {name: b, path: b.pt}], reference: {a: r.npz, b: s.npz}, "
        "metrics: [fid, kid, is]}"};
    struct job job;
    struct card card;
    struct error err;
    struct fingerprint whole, found;
    if (job_parse(&job, JOB, "job.yaml", "/f", overrides, 4, &err) != 0) fail_msg("%s", err.message);
    assert_int_equal(card_parse(&card, job.model.card, "card", &err), 0);
    assert_int_equal(fingerprint_make(&whole, &job, &card, &job.sampler, &usual.files, 1, &err), 0);
    json_set_alloc_funcs(run_short, free);
    long n = 0;
    for (left = -1; left < 0; n++) {
        left = n;
        json_t *resolved = keys_write(&job_keys, &job);
        if (resolved && !json_equal(resolved, job.resolved)) fail_msg("other keys when allocation %ld fails", n);
        json_decref(resolved);
    }
    assert_true(n > 50);
    for (left = -1, n = 0; left < 0; n++) {
        left = n;
        if (fingerprint_make(&found, &job, &card, &job.sampler, &usual.files, 1, &err) != 0) continue;
        if (strcmp(found.hex, whole.hex) != 0) fail_msg("another fingerprint when allocation %ld fails", n);
        fingerprint_release(&found);
    }
    assert_true(n > 50);
    json_set_alloc_funcs(malloc, free);
    fingerprint_release(&whole);
    card_release(&card);
    job_release(&job);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_text),
        cmocka_unit_test(ignores_what_makes_no_difference),
        cmocka_unit_test(depends_on_what_makes_samples),
        cmocka_unit_test(files_count_by_content),
        cmocka_unit_test(a_difference_is_named),
        cmocka_unit_test(short_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
