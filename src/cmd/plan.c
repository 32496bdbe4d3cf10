#include "base/text.h"
#include "cmd/command.h"
#include "run/document.h"
#include "solver/plan.h"

#include <stdio.h>

/* How evenly the job's batches spread over ranks of one worker each. */
static void print_idle(const struct job *job, const struct card *card) {
    struct layout layout;
    struct error ignored;
    if (layout_init(&layout, job->seeds.count, (uint64_t)job->batch, job->output.samples_per_shard, card_elements(card),
                    &ignored) != 0)
        return;
    printf("\n%llu samples in %llu shards of %llu, batches of %d\nworkers      idle share\n",
           (unsigned long long)layout.samples, (unsigned long long)layout_shards(&layout),
           (unsigned long long)layout.shard_rows, job->batch);
    for (uint64_t workers = 1; workers <= 256; workers *= 4)
        printf("%7llu      %.1f %%\n", (unsigned long long)workers, 100 * layout_idle(&layout, workers));
}

static int plan(int argc, char **argv, struct error *err) {
    struct options options;
    bool done;
    int rc = options_parse(&options, argc, argv, &command_plan, "sjl", &done, err);
    if (rc == 0 && !done && options.list) {
        plan_list(stdout);
    } else if (rc == 0 && !done) {
        struct job job;
        struct card card;
        struct sampler sampler;
        struct plan compiled;
        rc = document_plan(&job, &card, &sampler, &compiled, options.operand, options.overrides, options.overrides_count,
                           err);
        if (rc == 0) {
            if (options.json) {
                json_t *json = plan_to_json(&compiled);
                rc = json ? print_json(json, err) : error_memory(err);
                json_decref(json);
            } else {
                plan_print(&compiled, stdout);
                print_idle(&job, &card);
            }
            plan_free(&compiled);
            sampler_release(&sampler);
            card_free(&card);
            job_free(&job);
        }
    }
    options_free(&options);
    return rc;
}

const struct command command_plan = {
    "plan", "JOB [--set KEY=VALUE]... [--json] | --list",
    "Print the program that a job's solver compiles to (--list: the table of solvers)", NULL, plan};
