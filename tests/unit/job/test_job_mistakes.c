/* Mistakes in job files and overrides: each is refused, and the message says where and what. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "job/job.h"

#include <string.h>

#define MINIMAL "model: m.pt\nseeds: 0-9\nsampler: {solver: taylor, nfe: 10}\n" /* three lines */
#define CARD \
    "{shape: [1, 8, 8], prediction: epsilon, time: {kind: continuous}, schedule: {kind: linear}, " \
    "labels: {classes: 10, null: 10}}"

struct mistake {
    const char *text;        /* the job */
    const char *expected[3]; /* parts of the message */
};

#define SIXTEEN "abcdefghijklmnop"
#define AFTER(line) MINIMAL line "\n"                                                            /* on line 4 */
#define SAMPLER(keys) "model: m.pt\nseeds: 0-9\nsampler:\n  solver: taylor\n  " keys "\n"        /* on line 5 */
#define WITH_CARD(card) "seeds: 0-9\nsampler: {solver: taylor}\nmodel:\n  card:\n    " card "\n" /* on line 5 */

static const struct mistake mistakes[] = {
    /* not YAML, or not a job */
    {"", {"jobs/digits.yaml:1:1", "expected YAML, found nothing"}},
    {"# only a comment\n", {"jobs/digits.yaml:1:1", "found nothing"}},
    {"[1, 2]\n", {"digits.yaml:1:1: expected a map of name, model, seeds", "found [1, 2]"}},
    {"just text\n", {"digits.yaml:1:1: expected a map of ", "found \"just text\""}},
    {"model: [m.pt\nseeds: 1\n", {"digits.yaml:3:1: expected YAML, found flow sequence without a closing bracket"}},
    {"model: \"m.pt\nseeds: 1\n", {"digits.yaml:1:8: expected YAML, found wrongly indented double-quoted scalar"}},
    {"model: m.pt\n\tseeds: 1\n", {"digits.yaml:1:8: expected YAML, found invalid multiline plain key"}},
    {AFTER("batch: 1\nbatch: 2"), {"digits.yaml:5:1: expected YAML, found duplicate key"}},
    {AFTER("output: {level: 1, level: 2}"), {"digits.yaml:4:20: expected YAML, found duplicate key"}},
    {AFTER("name: *nowhere"), {"digits.yaml:4:8: expected YAML, found invalid alias"}},
    {AFTER("---\nbatch: 3"), {"digits.yaml:1:1: expected one YAML document, found several"}},
    {AFTER("batch: !!int 3"), {"digits.yaml:4:14: expected a value without a tag, found tag:yaml.org,2002:int"}},
    {AFTER("sweep: !include {nfe: 3}"), {"digits.yaml:4:1: expected a value without a tag, found !include"}},
    {AFTER("sweep: {nfe: !set [3]}"), {"digits.yaml:4:9: expected a value without a tag, found !set"}},
    {AFTER("? [a, b]\n: 1"), {"digits.yaml:1:1: expected a key that is a word"}},
    {AFTER("name: \"a\\0b\""), {"digits.yaml:4:7: expected text, found a zero byte"}},
    /* missing keys */
    {"seeds: 1\nsampler: {solver: x}\n", {"digits.yaml:1:1: model: missing; expected a path"}},
    {"model: m.pt\nsampler: {solver: x}\n", {"digits.yaml:1:1: seeds: missing; expected seeds such as 0-9999"}},
    {"model: m.pt\nseeds: 1\n", {"digits.yaml:1:1: sampler.solver: missing; expected the name of a solver"}},
    {"model: m.pt\nseeds: 1\nsampler: {nfe: 4}\n", {"digits.yaml:3:1: sampler.solver: missing"}},
    {AFTER("evaluate: {features: f.pt}"), {"digits.yaml:4:1: evaluate.reference: missing", "statistics"}},
    {AFTER("evaluate: {reference: r.npz}"), {"digits.yaml:4:1: evaluate.features: missing", "or none"}},
    {"model: {}\nseeds: 1\nsampler: {solver: x}\n",
     {"digits.yaml:1:1: model: expected a path, or a map with path, card"}},
    {AFTER("sampler2:\n  guidance: 2"), {"digits.yaml:4:1: sampler2: unknown key; did you mean \"sampler\"?"}},
    /* unknown keys */
    {SAMPLER("oder: 2"), {"digits.yaml:5:3: sampler.oder: unknown key; did you mean \"order\"?"}},
    {AFTER("bacth: 3"), {"digits.yaml:4:1: bacth: unknown key; did you mean \"batch\"?"}},
    {AFTER("colour: blue"), {"digits.yaml:4:1: colour: unknown key; expected one of name, model, seeds,", "initial"}},
    {AFTER("output: {compression: 9}"), {"digits.yaml:4:10: output.compression: unknown key; expected one of dir,"}},
    {AFTER("Batch: 3"), {"digits.yaml:4:1: Batch: unknown key; did you mean \"batch\"?"}},
    /* the wrong type or an impossible value */
    {AFTER("batch: 0"), {"digits.yaml:4:8: batch: expected a whole number from 1 to 2147483647, or auto, found 0"}},
    {AFTER("batch: -4"), {"digits.yaml:4:8: batch: expected a whole number from 1 to 2147483647, or auto, found -4"}},
    {AFTER("batch: 64.0"),
     {"digits.yaml:4:8: batch: expected a whole number from 1 to 2147483647, or auto, found 64.0"}},
    {AFTER("batch: many"),
     {"digits.yaml:4:8: batch: expected a whole number from 1 to 2147483647, or auto, found \"many\""}},
    {AFTER("batch: \"64\""), {"digits.yaml:4:8: batch: expected a whole number", "found \"64\""}},
    {AFTER("batch:"), {"digits.yaml:4:1: batch: expected a whole number from 1 to 2147483647, or auto, found null"}},
    {AFTER("batch: [1]"), {"digits.yaml:4:1: batch: expected a whole number from 1 to 2147483647, or auto, found [1]"}},
    {AFTER("batch: 99999999999999999999"),
     {"digits.yaml:4:8: batch: expected a whole number", "\"99999999999999999999\""}},
    {AFTER("batch: 3000000000"), {"digits.yaml:4:8: batch: ", "from 1 to 2147483647, or auto, found 3000000000"}},
    {AFTER("output: {level: 23}"), {"digits.yaml:4:17: output.level: expected a zstd level from 1 to 22, found 23"}},
    {AFTER("output: {level: 0}"), {"output.level: expected a zstd level from 1 to 22, found 0"}},
    {AFTER("output:\n  samples_per_shard: -1"),
     {"digits.yaml:5:22: output.samples_per_shard: expected a whole number"}},
    {AFTER("output:\n  rounding: up"),
     {"digits.yaml:5:13: output.rounding: expected one of edm, adm, diffusers, found \"up\""}},
    {AFTER("output: {dtype: int8}"),
     {"output.dtype: expected one of uint8, float32, float16, found \"int8\"", "did you mean \"uint8\"?"}},
    {AFTER("evaluate: {features: none, reference: r, metrics: [fid, KIDD]}"),
     {"evaluate.metrics[1]: expected fid, sfid,", "found \"KIDD\"; did you mean \"kid\"?"}},
    {AFTER("evaluate: {features: none, reference: r, metrics: [fid50k_full]}"), {"did you mean \"fid\"?"}},
    {AFTER("output: {dir: ''}"), {"digits.yaml:4:15: output.dir: expected a folder, found \"\""}},
    {AFTER("output: runs/x"),
     {"digits.yaml:4:9: output: expected a map of dir, samples_per_shard", "found \"runs/x\""}},
    {AFTER("name: a/b"), {"digits.yaml:4:7: name: expected a name without /, found \"a/b\""}},
    {AFTER("name: ..\n"), {"name: expected a name without /, found \"..\""}},
    {AFTER("output: {dir: \"a\\tb\"}"),
     {"digits.yaml:4:15: output.dir: expected a folder's name without control characters, found \"a\tb\""}},
    {AFTER("name: \"a\\e[31m\""), {"digits.yaml:1:1: output.dir: expected a folder's name without control characters"}},
    {AFTER("output: {dir: $UNSET_VARIABLE/a}"),
     {"digits.yaml:4:15: output.dir: expected $UNSET_VARIABLE to be set in the environment, found nothing"}},
    {AFTER("initial: ~ada/x.npy"), {"digits.yaml:4:10: initial: expected a path or ~/..., found ~ada/x.npy"}},
    {AFTER("evaluate: {features: f.pt, reference: \"a$/r.npz\"}"),
     {"evaluate.reference: expected $NAME, ${NAME} or $$"}},
    {AFTER("labels: ${UNSET_VARIABLE}"), {"digits.yaml:4:9: labels: expected $UNSET_VARIABLE to be set"}},
    {AFTER("name: 5"), {"name: expected a name without /, found 5"}},
    {AFTER("device: gpu"), {"digits.yaml:4:9: device: expected one of auto, cpu, cuda, found \"gpu\""}},
    {AFTER("share_device: yes"), {"digits.yaml:4:15: share_device: expected true or false, found \"yes\""}},
    {AFTER("workers: 0"), {"workers: expected a whole number from 1 to 4096, or auto, found 0"}},
    {AFTER("precision: bf16"), {"precision: expected one of fp32, tf32, found \"bf16\""}},
    {AFTER("noise: mt19937"), {"noise: expected one of philox, torch-cpu, torch-cuda, found \"mt19937\""}},
    {AFTER("labels: -1"),
     {"digits.yaml:4:9: labels: expected none, balanced, random, edm, a label from 0 to 9e15, or a path"}},
    {AFTER("labels: 1.5"), {"labels: expected none, balanced", "found 1.5"}},
    {AFTER("labels: edm"), {"digits.yaml:4:9: labels: expected noise: torch-cpu or torch-cuda beside edm labels"}},
    {"model: m.pt\nseeds: 0-9,4294967300\nnoise: torch-cpu\nsampler: {solver: x}\n",
     {"digits.yaml:2:8: seeds: expected seeds that differ modulo 2^32", "found 4 and 4294967300"}},
    {"model: m.pt\nseeds: 0-9,5\nsampler: {solver: x}\n",
     {"digits.yaml:2:8: seeds: expected each seed once, found 5 twice"}},
    {"model: m.pt\nseeds: nine\nsampler: {solver: x}\n",
     {"digits.yaml:2:8: seeds: expected seeds such as", "\"nine\""}},
    {"model: m.pt\nseeds: []\nsampler: {solver: x}\n", {"digits.yaml:2:1: seeds: expected seeds such as", "found []"}},
    {"model: m.pt\nseeds: ''\nsampler: {solver: x}\n", {"digits.yaml:2:8: seeds: expected seeds such as"}},
    {"model: m.pt\nseeds: -5\nsampler: {solver: x}\n", {"digits.yaml:2:8: seeds: expected seeds such as", "\"-5\""}},
    {"model: m.pt\nseeds: [1, 2.5]\nsampler: {solver: x}\n", {"digits.yaml:2:1: seeds: expected seeds such as", "2.5"}},
    {"model: 5\nseeds: 1\nsampler: {solver: x}\n", {"digits.yaml:1:8: model: expected a path, or a map", "found 5"}},
    /* the sampler */
    {SAMPLER("order: two"),
     {"digits.yaml:5:10: sampler.order: expected", "number of 1 or more, 1.5 or .inf, found \"two\""}},
    {SAMPLER("order: 0"), {"digits.yaml:5:10: sampler.order: expected", "found 0"}},
    {SAMPLER("order: 2.5"), {"sampler.order: expected", "found 2.5"}},
    {SAMPLER("order: .nan"), {"sampler.order: expected", "found \".nan\""}},
    {SAMPLER("order: -.inf"), {"sampler.order: expected", "found \"-.inf\""}},
    {SAMPLER("nfe: .inf"), {"sampler.nfe: expected a whole number from 1 to 1000000, found \".inf\""}},
    {SAMPLER("guidance: .inf"),
     {"sampler.guidance: expected a number, or {scale, rescale, interval, channels, model, form, ...}, found "
      "\".inf\""}},
    {SAMPLER("grid: Karas"), {"found \"Karas\"; did you mean \"karras\"?"}},
    {SAMPLER("clock: s"), {"digits.yaml:5:10: sampler.clock: expected one of t, logsnr, found \"s\""}},
    {SAMPLER("grid: cubic"),
     {"digits.yaml:5:9: sampler.grid: expected one of uniform, quadratic", "{karras: RHO}, found \"cubic\""}},
    {SAMPLER("grid: times"), {"sampler.grid: expected one of uniform", "found \"times\""}},
    {SAMPLER("grid: {time: [1]}"), {"digits.yaml:5:10: sampler.grid.time: unknown key; did you mean \"times\"?"}},
    {SAMPLER("grid: {times: [1, 2]}"),
     {"digits.yaml:5:21: sampler.grid.times[1]: expected a list of times that go down", "found 2"}},
    {SAMPLER("grid: {times: []}"), {"sampler.grid.times: expected a list of times that go down", "found []"}},
    {SAMPLER("grid: {times: [1, x]}"),
     {"digits.yaml:5:21: sampler.grid.times[1]: expected a list of times that go down", "found \"x\""}},
    {SAMPLER("t_start: 0"), {"digits.yaml:5:12: sampler.t_start: expected a number above 0, found 0"}},
    {SAMPLER("t_end: -1"), {"sampler.t_end: expected a number of 0 or more, found -1"}},
    {SAMPLER("t_start: 0.1\n  t_end: 0.5"),
     {"digits.yaml:6:10: sampler.t_end: expected a time below t_start, 0.1, found 0.5"}},
    {SAMPLER("nfe: 4\n  steps: 4"), {"digits.yaml:6:10: sampler.steps: expected either nfe or steps, found both"}},
    {SAMPLER("final: last"),
     {"sampler.final: expected one of none, zero, denoise, acp0, mean, tweedie, found \"last\""}},
    {SAMPLER("clip: 1"),
     {"digits.yaml:5:9: sampler.clip: expected true, false or {range, epsilon, threshold, threshold_max}, found 1"}},
    {SAMPLER("state: float16"), {"sampler.state: expected one of float64, float32, found \"float16\""}},
    {"model: m.pt\nseeds: 1\nsampler: taylor\n",
     {"digits.yaml:3:10: sampler: expected a map of solver, order", "\"taylor\""}},
    {"model: m.pt\nseeds: 1\nsampler: {solver: 3}\n",
     {"digits.yaml:3:19: sampler.solver: expected the name of a solver", "found 3"}},
    /* known, but not there yet */
    {AFTER("sweep: 5"), {"digits.yaml:4:8: sweep: expected a map of key: [values], or a list of such maps, found 5"}},
    {AFTER("decode: [{path: a.pt}, {path: b.pt, name: " SIXTEEN SIXTEEN SIXTEEN SIXTEEN "b}]"),
     {"decode[1]: name: expected at most 64 characters, for a folder; found 65: \"abcdefghijklmnop"}},
    {AFTER("decode: [{path: a.pt}, {path: " SIXTEEN SIXTEEN SIXTEEN SIXTEEN "b.pt}]"),
     {"decode[1]: name: expected at most 64 characters", "give it a shorter one (name: ...)"}},
    {AFTER("decode: vae.pt"), {"digits.yaml:4:9: decode: expected a map of path"}},
    {SAMPLER("churn: {s_churn: -1}"), {"sampler.churn.s_churn: expected a number of 0 or more, found -1"}},
    {SAMPLER("variance: mid"),
     {"digits.yaml:5:13: sampler.variance: expected one of small, large, learned, found \"mid\""}},
    {SAMPLER("guidance: {scale: 2, channels: 0}"),
     {"sampler.guidance.channels: expected a number of channels from 1 to 2147483647, found 0"}},
    {SAMPLER("guidance: {scale: 2, model: 3}"),
     {"sampler.guidance.model: expected the path of the model that guides, found 3"}},
    {SAMPLER("guidance: {scale: 2, rescale: 1.7}"),
     {"sampler.guidance.rescale: expected a number from 0 to 1, found 1.7"}},
    {SAMPLER("guidance: {scale: 2, interval: [1, 0]}"),
     {"sampler.guidance.interval: expected [low, high] of sigma/alpha, or {t: [low, high]}, found"}},
    {SAMPLER("guidance: {scal: 2}"), {"digits.yaml:5:14: sampler.guidance.scal: unknown key; did you mean \"scale\"?"}},
    {AFTER("evaluate: {features: f, reference: r, metrics: [fid, mmd]}"),
     {"digits.yaml:4:54: evaluate.metrics[1]: expected fid, sfid, fid_infinity, kid, is, prdc, cmmd, mind, vendi, fld, "
      "fdr or "
      "clip-score, found \"mmd\""}},
    {AFTER("evaluate: {features: f, reference: r, metrics: fid}"),
     {"evaluate.metrics: expected a list such as [fid, kid], found \"fid\""}},
    /* the job's own card */
    {WITH_CARD("prediction: epsilon"),
     {"digits.yaml:4:3: model.card.shape: missing; expected [channels, height, width]"}},
    {WITH_CARD("shape: [1, 8]"),
     {"digits.yaml:5:5: model.card.shape: expected [channels, height, width]", "found [1, 8]"}},
    {WITH_CARD("schedule: {kind: liner}"),
     {"digits.yaml:5:22: model.card.schedule.kind: expected one of linear, cosine"}},
    {"model: {card: " CARD ", crad: 1}\nseeds: 1\n", {"model.crad: unknown key; did you mean \"card\"?"}},
};

/* Prints what is wrong with a refusal; true when it is as expected. */
static bool refused_well(const char *text, int rc, const struct error *err, enum code code,
                         const char *const expected[3]) {
    bool good = rc == -1 && err->code == code;
    if (rc != -1) print_error("not refused: %s\n", text);
    else if (!good) print_error("%s\n  code %d: %s\n", text, err->code, err->message);
    for (int i = 0; rc == -1 && i < 3 && expected[i]; i++) {
        if (strstr(err->message, expected[i])) continue;
        print_error("%s\n  said: %s\n  not:  %s\n", text, err->message, expected[i]);
        good = false;
    }
    return good;
}

static void mistakes_are_named(void **state) {
    (void)state;
    int bad = 0;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct job job;
        struct error err;
        int rc = job_parse(&job, mistakes[i].text, "jobs/digits.yaml", "jobs", NULL, 0, &err);
        bad += !refused_well(mistakes[i].text, rc, &err, CODE_DATA, mistakes[i].expected);
        job_release(&job);
    }
    assert_int_equal(bad, 0);
}

static void overrides_with_mistakes_are_named(void **state) {
    (void)state;
    int bad = 0;
    static const struct {
        const char *override;
        enum code code;
        const char *expected[3];
    } cases[] = {
        {"sampler.oder=2", CODE_DATA, {"--set sampler.oder=2: sampler.oder: unknown key; did you mean \"order\"?"}},
        {"batch=0",
         CODE_DATA,
         {"--set batch=0: batch: expected a whole number from 1 to 2147483647, or auto, found 0"}},
        {"sampler={solver: x, nfe: ten}", CODE_DATA, {"--set sampler={solver: x, nfe: ten}: sampler.nfe: expected"}},
        {"output.level=high", CODE_DATA, {"--set output.level=high: output.level: expected a zstd level"}},
        {"model.pth=x.pt", CODE_DATA, {"--set model.pth=x.pt: model.pth: unknown key; did you mean \"path\"?"}},
        {"model.card.shpe=3", CODE_DATA, {"--set model.card.shpe=3: model.card.shpe: unknown key"}},
        {"seeds.x=1", CODE_DATA, {"--set seeds.x=1: expected seeds to be a map in the job file"}},
        {"sampler.solver.x=1", CODE_DATA, {"--set sampler.solver.x=1: expected sampler.solver to be a map"}},
        {"model=null", CODE_DATA, {"jobs/digits.yaml:1:1: model: missing"}},
        {"sampler.steps=3",
         CODE_DATA,
         {"--set sampler.steps=3: sampler.steps: expected either nfe or steps, found both"}},
        {"batch", CODE_USAGE, {"--set batch: expected key.path=value"}},
        {"=3", CODE_USAGE, {"--set =3: expected key.path=value"}},
        {"sampler.=3", CODE_USAGE, {"--set sampler.=3: expected key.path=value"}},
        {".batch=3", CODE_USAGE, {"expected key.path=value"}},
        {"a..b=3", CODE_USAGE, {"expected key.path=value"}},
        {"batch=[1", CODE_USAGE, {"--set batch=[1: expected YAML, found flow sequence"}},
        {"batch=", CODE_USAGE, {"--set batch=: expected YAML, found nothing"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job job;
        struct error err;
        int rc = job_parse(&job, MINIMAL, "jobs/digits.yaml", "jobs", &cases[i].override, 1, &err);
        bad += !refused_well(cases[i].override, rc, &err, cases[i].code, cases[i].expected);
        job_release(&job);
    }
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(overrides_with_mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
