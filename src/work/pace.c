/* Rounds of samples, and between them the decision who gets more. */
#include "work/pace.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/agree.h"
#include "format/json_file.h"
#include "run/claim.h"
#include "run/machines.h"
#include "metric/sweep_race.h"
#include "work/evaluation.h"
#include "work/result.h"
#include "run/scan.h"
#include "work/assets.h"
#include "work/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char RACE[] = "sweep.race";

enum phase { GOES_ON, SETTLED, FAILED };

struct standing {     /* of a cell, the same on every rank */
    uint64_t samples; /* of its next round; SETTLED: in the end */
    uint64_t made;    /* by this job so far */
    int phase;
    bool whole; /* it left the race, and all its samples are there: they count */
};

struct rounds {
    const struct crew *crew;
    struct cells *cells;
    struct standing *standings; /* [cells] */
    json_t *race;               /* rank 0: race.json in the making; NULL: there is none */
};

static uint64_t all_of(const struct cell *cell) {
    return cell->run.job.seeds.count;
}

static uint64_t next_of(const struct cells *cells, const struct cell *cell, uint64_t samples) {
    return rounds_next(samples, cells_race(cells) != NULL, cell->run.layout.shard_rows, all_of(cell));
}

static bool any_round(const struct cells *cells) {
    bool any = false;
    for (size_t i = 0; i < cells->count; i++) any |= cells->cells[i].rounds;
    return any;
}

/* Other jobs see in each run.json which race it is in: "mark" is of the cells' names, in any order. */
static int mark_race(const struct cells *cells, struct error *err) {
    const json_t *race = cells_race(cells);
    uint64_t sum = 0;
    for (size_t i = 0; i < cells->count; i++) sum += sha256_mark(cells->cells[i].name, strlen(cells->cells[i].name));
    char mark[20];
    snprintf(mark, sizeof mark, "%016" PRIx64, sum);
    json_t *member = json_pack("{s:O, s:O, s:I, s:s}", "metric", json_object_get(race, "metric"), "confidence",
                               json_object_get(race, "confidence"), "cells", (json_int_t)cells->count, "mark", mark);
    bool whole = member;
    for (size_t i = 0; i < cells->count; i++)
        whole = whole && json_object_set(cells->cells[i].run.document, "race", member) == 0;
    json_decref(member);
    return whole ? 0 : error_memory(err);
}

int pace_plan(struct cells *cells, bool makes, struct error *err) {
    for (size_t i = 0; makes && i < cells->count; i++) {
        struct cell *cell = &cells->cells[i];
        const json_t *evaluate = json_object_get(json_object_get(cell->run.document, "job"), "evaluate");
        bool until = json_object_get(evaluate, "until") != NULL;
        cell->rounds = cell->round = until || cells_race(cells);
        if (cell->rounds && !cell->run.job.evaluate.enabled)
            return error_set(err, CODE_USAGE,
                             "%s: how many samples are made is decided by their evaluation (%s): say run, not generate",
                             cell->run.dir, until ? "evaluate.until" : RACE);
    }
    return makes && cells_race(cells) ? mark_race(cells, err) : 0;
}

/* What is not good is looked at again, for it may have been made. */
static int scan(const struct crew *crew, struct cells *cells, struct error *err) {
    for (size_t i = 0; i < cells->count; i++)
        for (uint64_t k = 0; k < layout_shards(&cells->cells[i].run.layout); k++) {
            struct shard_status *status = &cells->cells[i].status[k];
            if (!scan_good(&cells->cells[i].run, status)) *status = (struct shard_status){0};
        }
    if (scan_cells(crew->comm, cells, crew->place->workers, err) != 0) return -1;
    int rc = comm_rank(crew->comm) == 0 ? machines_note(cells, crew->hosts, err) : 0;
    return ranks_agree(crew->comm, rc, err);
}

int pace_begin(const struct crew *crew, struct cells *cells, struct error *err) {
    for (size_t i = 0; i < cells->count; i++)
        if (cells->cells[i].rounds) cells->cells[i].run.layout.samples = next_of(cells, &cells->cells[i], 0);
    return scan(crew, cells, err);
}

/* *samples: of a cell that was stopped by what its job asks for now; else all. */
static int look_at(const struct cell *cell, bool raced, uint64_t *samples, struct error *err) {
    json_t *older = NULL;
    char *path = text_new("%s/run.json", cell->run.dir);
    int rc = path ? json_file_read_if_there(&older, path, err) : error_memory(err);
    const json_t *stopped = json_object_get(older, "stopped");
    const char *by = json_string_value(json_object_get(stopped, "by"));
    const json_t *before = json_object_get(json_object_get(older, "job"), "evaluate");
    const json_t *now = json_object_get(json_object_get(cell->run.document, "job"), "evaluate");
    bool same = by && strcmp(by, "race") == 0 ? raced : !raced && json_equal(before, now);
    *samples = all_of(cell);
    if (same && (uint64_t)json_integer_value(json_object_get(stopped, "of")) == all_of(cell))
        *samples = document_samples(older, all_of(cell));
    json_decref(older);
    free(path);
    return rc;
}

int pace_look(struct comm *comm, struct cells *cells, struct error *err) {
    bool raced = false;
    int rc = 0;
    json_t *sizes = comm_rank(comm) == 0 ? json_array() : NULL;
    if (comm_rank(comm) == 0)
        rc = !sizes ? error_memory(err) : cells_race(cells) ? cells_race_same(cells, &raced, err) : 0;
    for (size_t i = 0; sizes && rc == 0 && i < cells->count; i++) {
        uint64_t samples = cells->cells[i].run.layout.samples;
        if (cells->cells[i].rounds) rc = look_at(&cells->cells[i], raced, &samples, err);
        json_list_add(&sizes, json_integer((json_int_t)samples));
        if (!sizes) error_memory(err);
    }
    if (rc != 0) json_decref(sizes), sizes = NULL;
    if (document_share(comm, &sizes, err) != 0) return -1;
    for (size_t i = 0; i < cells->count; i++)
        cells->cells[i].run.layout.samples = (uint64_t)json_integer_value(json_array_get(sizes, i));
    json_decref(sizes);
    return 0;
}

/* ---- decisions, by rank 0 ---- */

/* Notes in run.json that this is all of the cell, unless it left a race and has all already. Takes `why` over. */
static int stop(const struct cell *cell, struct standing *standing, const char *key, json_t *why, struct error *err) {
    uint64_t more = 0;
    standing->phase = SETTLED;
    int rc = why && json_object_set_new(why, "samples", json_integer((json_int_t)standing->samples)) == 0 &&
                     json_object_set_new(why, "of", json_integer((json_int_t)all_of(cell))) == 0
                 ? rounds_surplus(&cell->run, standing->samples, &more, err)
                 : error_memory(err);
    standing->whole = strcmp(key, RACE) == 0 && standing->samples + more == all_of(cell);
    if (rc == 0 && !standing->whole) rc = claim_note(&cell->run, "stopped", why, err);
    if (rc == 0 && more > 0 && !standing->whole)
        log_info("%s: has %llu samples more, of another job, which count with --set %s=null alone", cell->run.dir,
                 (unsigned long long)more, key);
    json_decref(why);
    return rc;
}

/* Is the FID's error small enough? */
static int decide_until(const struct cell *cell, struct standing *standing, struct error *err) {
    json_t *result;
    double target = cell->run.job.evaluate.fid_error;
    if (rounds_read(&result, &cell->run, standing->samples, err) != 0) return -1;
    const json_t *found = json_object_get(json_object_get(result, "metrics"), "fid_error");
    double error = found ? json_number_value(found) : NAN; /* it has none: goes on */
    json_decref(result);
    log_info("%s: %llu samples, FID's standard error %.4g", cell->run.dir, (unsigned long long)standing->samples,
             error);
    if (!(error <= target)) return 0;
    return stop(cell, standing, "evaluate.until",
                json_pack("{s:s, s:f, s:f}", "by", "until", "fid_error", error, "target", target), err);
}

/* Writes race.json: the rounds so far, who goes on, and what they cost. */
static int write_race(const struct rounds *rounds, struct error *err) {
    uint64_t samples = 0, of = 0, next = 0;
    json_t *race = rounds->race, *in = json_array(), *dropped = json_array();
    for (size_t i = 0; i < rounds->cells->count; i++) {
        const struct standing *standing = &rounds->standings[i];
        const struct cell *cell = &rounds->cells->cells[i];
        bool left = standing->phase == SETTLED && standing->samples < all_of(cell);
        samples += standing->phase == FAILED ? 0 : standing->samples;
        of += all_of(cell);
        if (standing->phase == GOES_ON) next = standing->samples;
        if (standing->phase == FAILED)
            json_list_add(&dropped,
                          json_pack("{s:s, s:I}", "cell", cell->name, "samples", (json_int_t)standing->samples));
        else if (!left) json_list_add(&in, json_string(cell->name));
    }
    json_object_del(race, "next");
    json_t *now = json_pack("{s:I, s:I, s:o, s:o, s:o*}", "samples", (json_int_t)samples, "of", (json_int_t)of, "in",
                            in, "dropped", dropped, "next", next ? json_integer((json_int_t)next) : NULL);
    if (json_object_update_new(race, now) != 0) return error_memory(err);
    return cells_race_write(rounds->cells, race, err);
}

/* Leaves behind whom the round leaves behind; numbers, racers: [count], of the cells in it. */
static int leave_behind(const struct rounds *rounds, const size_t *numbers, const struct racer *racers, size_t count,
                        size_t leader, struct error *err) {
    const struct cell *cells = rounds->cells->cells;
    const char *first = cells[numbers[leader]].name;
    json_t *left = json_array();
    uint64_t samples = rounds->standings[numbers[leader]].samples;
    int rc = left ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct racer *racer = &racers[i];
        struct standing *standing = &rounds->standings[numbers[i]];
        if (!racer->out) continue;
        json_list_add(&left, json_pack("{s:s, s:f, s:f, s:f}", "cell", cells[numbers[i]].name, "delta", racer->delta,
                                       "error", racer->error, "limit", racer->limit));
        json_t *why = json_pack("{s:s, s:s, s:f, s:f}", "by", "race", "leader", first, "delta", racer->delta, "error",
                                racer->error);
        rc = stop(&cells[numbers[i]], standing, RACE, why, err);
    }
    log_info("%s: %llu samples a cell: %s leads, left behind: %zu of %zu cells", cells_dir(rounds->cells),
             (unsigned long long)samples, first, json_array_size(left), count);
    json_t *round = json_pack("{s:I, s:I, s:s, s:o}", "samples", (json_int_t)samples, "cells", (json_int_t)count,
                              "leader", first, "left", left);
    bool kept = json_array_append_new(json_object_get(rounds->race, "rounds"), round) == 0;
    return rc == 0 && !kept ? error_memory(err) : rc;
}

static int decide_race(struct rounds *rounds, struct error *err) {
    const json_t *rules = cells_race(rounds->cells);
    const char *metric = json_string_value(json_object_get(rules, "metric"));
    size_t count = 0, *numbers = malloc(rounds->cells->count * sizeof *numbers);
    struct racer *racers = malloc(rounds->cells->count * sizeof *racers);
    int rc = numbers && racers ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < rounds->cells->count; i++) {
        const struct cell *cell = &rounds->cells->cells[i];
        json_t *result = NULL;
        if (rounds->standings[i].phase != GOES_ON) continue;
        rc = rounds_read(&result, &cell->run, rounds->standings[i].samples, err);
        if (rc == 0) rc = racer_read(&racers[count], result, metric, cell->name, err);
        json_decref(result);
        numbers[count++] = i;
    }
    if (rc == 0 && count > 0) {
        size_t leader = race_decide(racers, count, json_number_value(json_object_get(rules, "confidence")));
        rc = leave_behind(rounds, numbers, racers, count, leader, err);
    }
    free(racers);
    free(numbers);
    return rc;
}

/* After a round: who goes on, and how far. */
static int decide(struct rounds *rounds, struct error *err) {
    struct cells *cells = rounds->cells;
    size_t left = 0;
    int rc = 0;
    for (size_t i = 0; i < cells->count; i++) {
        struct standing *standing = &rounds->standings[i];
        const struct cell *cell = &cells->cells[i];
        standing->made += cell->made_now;
        if (standing->phase == GOES_ON && rc == 0) rc = claim_check(&cell->run, err);
        if (standing->phase == GOES_ON && (!cell->concluded || cell->code != CODE_OK)) standing->phase = FAILED;
        if (standing->phase == GOES_ON && !cells_race(cells) && rc == 0) rc = decide_until(cell, standing, err);
    }
    if (rc == 0 && rounds->race) rc = decide_race(rounds, err);
    for (size_t i = 0; i < cells->count; i++) left += rounds->standings[i].phase == GOES_ON;
    for (size_t i = 0; i < cells->count; i++) {
        struct standing *standing = &rounds->standings[i];
        const struct cell *cell = &cells->cells[i];
        if (standing->phase != GOES_ON) continue;
        standing->samples = rounds->race && left == 1 ? all_of(cell) : next_of(cells, cell, standing->samples);
        if (standing->samples == all_of(cell)) standing->phase = SETTLED; /* nothing is to be decided any more */
    }
    if (rc == 0 && rounds->race) rc = write_race(rounds, err);
    return rc;
}

/* ---- the rounds ---- */

/* On every rank alike: sets the cells as the standings say, at the end those that are settled. Is any at work? */
static bool set_cells(const struct rounds *rounds, bool last) {
    bool any = false;
    for (size_t i = 0; i < rounds->cells->count; i++) {
        struct cell *cell = &rounds->cells->cells[i];
        const struct standing *standing = &rounds->standings[i];
        cell->idle = standing->phase != (last ? SETTLED : GOES_ON);
        cell->round = !last;
        if (cell->idle) continue;
        any = true;
        cell->run.layout.samples = standing->whole ? all_of(cell) : standing->samples;
        cell->made = standing->made;
        cell->made_now = cell->lost = 0;
        cell->concluded = false;
    }
    return any;
}

static int work(const struct rounds *rounds, struct assets **assets, struct outcome *outcome, struct error *err) {
    const struct crew *crew = rounds->crew;
    free(outcome->quarantine);
    return units_run(crew->comm, rounds->cells, crew->references, crew->place, assets, crew->again, crew->lease,
                     crew->attempt, outcome, err);
}

/* Collective: rank 0's decision becomes everybody's. */
static int share(struct rounds *rounds, struct error *err) {
    struct comm *comm = rounds->crew->comm;
    size_t size = rounds->cells->count * sizeof *rounds->standings;
    if (ranks_agree(comm, comm_rank(comm) == 0 ? decide(rounds, err) : 0, err) != 0) return -1;
    return ranks_agree(comm, comm_broadcast(comm, rounds->standings, size, 0, err), err);
}

/* Was the last round the last thing that this job can do? */
static bool is_over(const struct crew *crew, const struct outcome *outcome, struct error *err, int *rc) {
    if (*rc != 0 || outcome->interrupted) return true;
    if (outcome->ranks_lost == 0) return false;
    *rc = -1;
    *err = (struct error){.code = CODE_AGAIN}; /* rank 0 has the word */
    if (comm_rank(crew->comm) == 0)
        error_set(err, CODE_AGAIN,
                  "a rank was lost in a round, and the next needs all: what is whole is on disk; run again to go on");
    return true;
}

/* Collective: what rank 0 noted of cells that were stopped, for who concludes them. */
static int share_stops(const struct rounds *rounds, struct error *err) {
    const char *const key = "stopped";
    struct comm *comm = rounds->crew->comm;
    json_t *stops = comm_rank(comm) == 0 ? json_array() : NULL;
    int rc = 0;
    for (size_t i = 0; stops && i < rounds->cells->count; i++) {
        json_t *stop = json_object_get(rounds->cells->cells[i].run.document, key);
        json_list_add(&stops, stop ? json_incref(stop) : json_null());
    }
    if (comm_rank(comm) == 0 && !stops) error_memory(err);
    if (document_share(comm, &stops, err) != 0) return -1;
    for (size_t i = 0; i < rounds->cells->count; i++)
        if (json_is_object(json_array_get(stops, i)) &&
            json_object_set(rounds->cells->cells[i].run.document, key, json_array_get(stops, i)) != 0)
            rc = error_memory(err);
    json_decref(stops);
    return ranks_agree(comm, rc, err);
}

static int run_rounds(struct rounds *rounds, struct assets **assets, struct outcome *outcome, struct error *err) {
    const struct crew *crew = rounds->crew;
    int rc = 0;
    for (bool first = true; set_cells(rounds, false); first = false) {
        if (!first && (rc = scan(crew, rounds->cells, err)) != 0) return -1;
        rc = work(rounds, assets, outcome, err);
        if (is_over(crew, outcome, err, &rc) || (rc = share(rounds, err)) != 0) return rc;
    }
    if (!set_cells(rounds, true)) return 0;
    rc = scan(crew, rounds->cells, err);
    if (rc == 0) rc = share_stops(rounds, err);
    return rc == 0 ? work(rounds, assets, outcome, err) : rc;
}

/* race.json in the making; what an earlier job wrote of the same race stays until this one decides. */
static int begin_race(struct rounds *rounds, struct error *err) {
    const struct cells *cells = rounds->cells;
    const json_t *rules = cells_race(cells);
    bool same;
    rounds->race = json_pack("{s:O, s:O, s:I, s:I, s:O*, s:[]}", "metric", json_object_get(rules, "metric"),
                             "confidence", json_object_get(rules, "confidence"), "seeds",
                             (json_int_t)all_of(&cells->cells[0]), "cells", (json_int_t)cells->count, "model_calls",
                             json_object_get(rules, "model_calls"), "rounds");
    if (!rounds->race) return error_memory(err);
    int rc = cells_race_same(cells, &same, err);
    return rc == 0 && !same ? write_race(rounds, err) : rc;
}

int pace_run(const struct crew *crew, struct cells *cells, struct outcome *outcome, struct error *err) {
    struct rounds rounds = {.crew = crew, .cells = cells, .standings = calloc(cells->count, sizeof *rounds.standings)};
    struct assets *assets = NULL;
    bool first = comm_rank(crew->comm) == 0;
    int rc = rounds.standings ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < cells->count; i++) {
        uint64_t samples = cells->cells[i].run.layout.samples; /* of all: nothing is to be decided */
        bool goes_on = cells->cells[i].rounds && samples < all_of(&cells->cells[i]);
        rounds.standings[i] = (struct standing){.samples = samples, .phase = goes_on ? GOES_ON : SETTLED};
    }
    if (rc == 0 && first && cells_race(cells) && any_round(cells)) rc = begin_race(&rounds, err);
    rc = ranks_agree(crew->comm, rc, err);
    if (rc == 0 && !any_round(cells)) {
        rc = work(&rounds, &assets, outcome, err);
    } else if (rc == 0) {
        rc = run_rounds(&rounds, &assets, outcome, err);
        for (size_t i = 0; rc == 0 && first && !outcome->interrupted && i < cells->count; i++)
            if (cells->cells[i].rounds && cells->cells[i].concluded) evaluation_unreached(&cells->cells[i].run);
    }
    assets_free(assets, cells);
    json_decref(rounds.race);
    free(rounds.standings);
    return rc;
}
