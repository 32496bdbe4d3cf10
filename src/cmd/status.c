/* status: how far a run or a sweep is, without MPI and without touching it. */
#include "run/status.h"

#include "base/print.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/members.h"
#include "report/progress.h"

#include <stdio.h>
#include <string.h>

static const char *stopped_by(const json_t *run) {
    const json_t *stopped = json_object_get(run, "stopped");
    const char *by = json_string_value(json_object_get(stopped, "by"));
    if (json_object_get(stopped, "latents")) return ", as the run of its latents was";
    return !by ? "" : strcmp(by, "race") == 0 ? ", left the race" : ", its FID is exact enough";
}

static bool goes_on(const json_t *race) {
    return json_object_get(race, "next");
}

/* Of a race that goes on: has the cell not left it? Of any: has a round of it failed, and is the rest not made? */
static const char *in_race(const json_t *race, const json_t *cell) {
    const json_t *name;
    size_t i;
    json_array_foreach(json_object_get(race, "in"), i, name) {
        if (goes_on(race) && json_equal(name, json_object_get(cell, "cell"))) return ", in the race";
    }
    json_array_foreach(json_object_get(race, "dropped"), i, name) {
        if (json_equal(json_object_get(name, "cell"), json_object_get(cell, "cell")) &&
            whole_at(cell, "done") < whole_at(cell, "samples"))
            return ", dropped out of the race, whose outcome is not of it";
    }
    return "";
}

static void print_cells(const json_t *cells, const json_t *race) {
    size_t i;
    json_t *cell;
    int width = 0;
    json_array_foreach(cells, i, cell) if ((int)strlen(text_at(cell, "cell")) > width)
        width = (int)strlen(text_at(cell, "cell"));
    json_array_foreach(cells, i, cell) {
        size_t k;
        json_t *other;
        print_line(stdout, "  %-*s  %10lld of %-10lld %s%s%s", width, text_at(cell, "cell"), whole_at(cell, "done"),
                   whole_at(cell, "samples"), text_at(cell, "state"), stopped_by(cell), in_race(race, cell));
        json_array_foreach(json_object_get(cell, "decoders"), k, other)
            print_line(stdout, "    decoder %s: %lld of %lld, %s%s", text_at(other, "cell"), whole_at(other, "done"),
                       whole_at(other, "samples"), text_at(other, "state"), stopped_by(other));
    }
}

enum { RATE = 40 };

/* A job says its rate every few seconds; before that it is not known, and not nothing. */
static const char *rate_text(char text[RATE], const json_t *of) {
    double rate = number_at(of, "rate");
    if (rate > 0) snprintf(text, RATE, "%.1f samples/s", rate);
    else snprintf(text, RATE, "not known yet");
    return text;
}

static void print_attempt(const json_t *attempt) {
    const char *slurm = json_string_value(json_object_get(attempt, "slurm"));
    struct text seen = {0};
    progress_duration(&seen, number_at(attempt, "silent"));
    char rate[RATE];
    print_line(stdout, "  attempt %lld: %s, process %lld%s%s, %lld rank%s, %s, seen %s ago",
               whole_at(attempt, "attempt"), text_at(attempt, "host"), whole_at(attempt, "pid"),
               slurm ? ", SLURM job " : "", slurm ? slurm : "", whole_at(attempt, "ranks"),
               whole_at(attempt, "ranks") == 1 ? "" : "s", rate_text(rate, attempt), seen.data ? seen.data : "?");
    text_release(&seen);
}

static void print_duration(const char *before, double seconds, const char *after) {
    struct text text = {0};
    progress_duration(&text, seconds);
    printf("%s%s%s", before, text.data ? text.data : "?", after);
    text_release(&text);
}

static void print_life(const json_t *status) {
    size_t i, attempts = json_array_size(json_object_get(status, "attempts"));
    json_t *attempt;
    bool left = whole_at(status, "done") < whole_at(status, "samples");
    if (attempts > 0) {
        printf("running     %lld rank%s in %zu job%s\n", whole_at(status, "ranks"),
               whole_at(status, "ranks") == 1 ? "" : "s", attempts, attempts == 1 ? "" : "s");
        json_array_foreach(json_object_get(status, "attempts"), i, attempt) print_attempt(attempt);
        char rate[RATE];
        printf("rate        %s", rate_text(rate, status));
        if (left && json_is_number(json_object_get(status, "eta_seconds")))
            print_duration(", ETA ", number_at(status, "eta_seconds"), "");
        printf("\n");
    } else if (left && json_is_number(json_object_get(status, "silent_seconds"))) {
        bool ended = json_is_true(json_object_get(status, "ended"));
        print_duration(ended ? "running     no; the last job ended " : "running     no sign of life for ",
                       number_at(status, "silent_seconds"), ended ? " ago\n" : "; probably not running\n");
    }
}

static void print_quarantine(const json_t *status) {
    size_t i;
    json_t *shard;
    json_array_foreach(json_object_get(status, "quarantine"), i, shard)
        print_line(stdout, "quarantined shard %lld (seeds %s), %lld tries: %s", whole_at(shard, "shard"),
                   text_at(shard, "seeds"), whole_at(shard, "tries"), text_at(shard, "reason"));
}

/* Where a race is, and how it goes on where nobody is at work. */
static void print_race(const json_t *status) {
    const json_t *race = json_object_get(status, "race"), *rounds = json_object_get(race, "rounds"), *set;
    const json_t *job = json_object_get(race, "job"), *last = json_array_get(rounds, json_array_size(rounds) - 1);
    size_t i;
    if (!race) return;
    if (goes_on(race))
        print_line(stdout, "race        by %s: in round %zu, of %lld samples a cell, are %zu of %lld cells",
                   text_at(race, "metric"), json_array_size(rounds) + 1, whole_at(race, "next"),
                   json_array_size(json_object_get(race, "in")), whole_at(race, "cells"));
    else
        print_line(stdout, "race        by %s: decided in %zu rounds", text_at(race, "metric"),
                   json_array_size(rounds));
    if (last)
        print_line(stdout, "            after %lld samples a cell %s leads", whole_at(last, "samples"),
                   text_at(last, "leader"));
    if (strcmp(text_at(status, "state"), "stopped") != 0) return;
    struct text command = {0};
    text_add(&command, "qtaylor run");
    text_add_word(&command, text_at(job, "path"));
    json_array_foreach(json_object_get(job, "overrides"), i, set) {
        text_add_word(&command, "--set");
        text_add_word(&command, json_string_value(set) ? json_string_value(set) : "?");
    }
    print_line(stdout, "            to go on, in %s: %s", text_at(job, "directory"), command.data ? command.data : "?");
    text_release(&command);
}

static void print_status(const json_t *status) {
    long long done = whole_at(status, "done"), samples = whole_at(status, "samples");
    print_line(stdout, "%s: %s%s", text_at(status, "run"), text_at(status, "state"),
               goes_on(json_object_get(status, "race")) ? ", a race that has not ended" : "");
    print_cells(json_object_get(status, "cells"), json_object_get(status, "race"));
    const json_t *stopped = json_object_get(status, "stopped");
    if (stopped)
        printf("stopped     after %lld of %lld seeds%s\n", whole_at(stopped, "samples"), whole_at(stopped, "of"),
               stopped_by(status));
    printf("samples     %lld of %lld (%.1f%%), %lld of %lld shards\n", done, samples,
           samples > 0 ? 100.0 * (double)done / (double)samples : 100, whole_at(status, "shards_done"),
           whole_at(status, "shards"));
    if (json_object_get(status, "latents")) printf("latents     %lld of %lld\n", whole_at(status, "latents"), samples);
    if (json_object_get(status, "decoders")) printf("decoders\n");
    print_cells(json_object_get(status, "decoders"), NULL);
    print_race(status);
    print_life(status);
    print_quarantine(status);
}

struct status_options {
    const char *run;
    bool json;
};

static int status_command(const struct call *call, struct error *err) {
    const struct status_options *options = call->options;
    json_t *status;
    if (status_read(&status, options->run, err) != 0) return -1;
    int rc = 0;
    if (options->json) rc = print_json(status, err);
    else print_status(status);
    const char *state = text_at(status, "state");
    if (rc == 0 && strcmp(state, "complete") != 0) { /* printed already: the code alone */
        *err = (struct error){.code = strcmp(state, "quarantined") == 0 ? CODE_QUARANTINE : CODE_AGAIN};
        rc = -1;
    }
    json_decref(status);
    return rc;
}

static const struct option_row rows[] = {ROW_RUN(status_options), ROW_JSON(status_options)};

const struct command command_status = {
    "status", "Say how far a run or a sweep is: done, rate, who is at work, what is quarantined",
    "Reads names and small files only, from any machine that sees the folder, while jobs are at work or not; verify "
    "reads\n"
    "the samples themselves. Exit status: 0 all samples are there; 75 not yet; 76 all but quarantined ones.\n",
    OPTION_TABLE(rows, status_options), status_command};
