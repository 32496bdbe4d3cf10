/* A job file, as far as it goes without other files: keys, sweep, and with a card in it the plan. */
#include "fuzz.h"

#include "base/text.h"
#include "job/job.h"
#include "job/sweep.h"
#include "shard/layout.h"
#include "solver/plan.h"

#include <stdlib.h>

static void compile(const struct job *job) {
    struct card card;
    struct sampler sampler;
    struct plan plan;
    struct layout layout;
    struct error err;
    struct text warnings = {0};
    if (card_parse(&card, job->model.card, "card", &err) != 0) return;
    if (layout_init(&layout, job->seeds.count, (uint64_t)job->batch, job->output.samples_per_shard,
                    card_elements(&card), &err) == 0 &&
        layout_rows(&layout, (shard_id){layout_shards(&layout) - 1}) == 0)
        abort();
    if (plan_resolve(&sampler, &job->sampler, &card, &err) == 0) {
        if (plan_compile(&plan, &sampler, &card, &warnings, &err) == 0) plan_release(&plan);
        sampler_release(&sampler);
    }
    text_release(&warnings);
    card_release(&card);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct job job, again;
    struct sweep sweep;
    struct error err;
    const char *const overrides[] = {"batch=4", "sampler.nfe=3"};
    const char *path = fuzz_file(data, size);
    struct job_file file;
    if (job_file_read(&file, path, &err) != 0) return 0;
    if (sweep_read(&sweep, &file, overrides, 1, &err) == 0) sweep_release(&sweep);
    job_file_release(&file);
    if (job_read(&job, path, overrides, size % 3, &err) != 0) return 0;
    if (job.model.card) compile(&job);
    char *text = json_dumps(job.resolved, JSON_REAL_PRECISION(17)); /* what run.json holds must be readable again */
    if (!text || job_parse(&again, text, "run.json", NULL, NULL, 0, &err) != 0) abort();
    job_release(&again);
    free(text);
    job_release(&job);
    return 0;
}
