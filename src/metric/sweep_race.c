/* Races: their keys, whether cells can be compared, and who is surely worse than the best. */
#include "metric/sweep_race.h"

#include "base/log.h"
#include "config/keys.h"
#include "job/seeds.h"
#include "metric/values.h"

#include <math.h>
#include <string.h>

/* ---- the keys ---- */

const char *const race_metrics[] = {"fid", "sfid", "cmmd", "mind", NULL};

static const double CONFIDENCE = 0.95;
static const uint64_t FIRST = 1000; /* samples of the first round */

static const struct key rows[] = {
    {"metric", &KEY_NAME, offsetof(struct race, metric), .names = race_metrics},
    {"confidence", &KEY_NUMBER, offsetof(struct race, confidence), .expected = "a number from 0.5 to 0.999999",
     KEY_RANGE(0.5, 0.999999)},
};
static const struct key_table table = KEY_TABLE(rows);

int race_read(struct race *race, const json_t *value, const char *file, struct error *err) {
    const struct key_reader reader = {.where = file, .err = err};
    *race = (struct race){.confidence = CONFIDENCE};
    if (!json_is_object(value)) return key_fail(&reader, "sweep.race", "a map with metric and confidence", value);
    return keys_read(&reader, &table, "sweep.race", value, race);
}

static const json_t *evaluation(const struct race_cell *cell, const char *key) {
    const json_t *evaluate = json_object_get(cell->job, "evaluate");
    return key ? json_object_get(evaluate, key) : evaluate;
}

static bool is_measured(const struct race_cell *cell, const char *metric) {
    const json_t *name;
    size_t i;
    json_array_foreach(evaluation(cell, "metrics"), i,
                       name) if (strcmp(json_string_value(name), metric) == 0) return true;
    return false;
}

static int check_seeds(const struct race_cell *cell, const char *file, struct error *err) {
    struct seeds seeds;
    const char *text = json_string_value(json_object_get(cell->job, "seeds"));
    if (seeds_parse(&seeds, text ? text : "", err) != 0) return -1;
    uint64_t all = seeds.count;
    seeds_release(&seeds);
    if (rounds_next(0, true, cell->shard_rows, all) < all) return 0;
    return error_set(err, CODE_DATA,
                     "%s: sweep.race: expected more seeds than the first round has, %llu in whole shards of %llu "
                     "(output.samples_per_shard), found %llu",
                     file, (unsigned long long)FIRST, (unsigned long long)cell->shard_rows, (unsigned long long)all);
}

int race_check(const struct race *race, const struct race_cell *cell, const struct race_cell *first, const char *file,
               struct error *err) {
    const char *metric = race_metrics[race->metric];
    if (!is_measured(cell, metric))
        return error_set(err, CODE_DATA,
                         "%s: sweep.race: expected %s among evaluate.metrics of every cell, for it decides; %s has not",
                         file, metric, cell->name);
    if (json_array_size(evaluation(cell, "features")) > 1)
        return error_set(err, CODE_DATA,
                         "%s: sweep.race: expected one feature network in evaluate.features, for one metric decides; "
                         "found %zu: evaluate the others with compare --features",
                         file, json_array_size(evaluation(cell, "features")));
    bool until = evaluation(cell, "until");
    if (until || json_integer_value(evaluation(cell, "count")) > 0)
        return error_set(err, CODE_DATA,
                         "%s: sweep.race: expected no evaluate.%s beside it: the race says how many samples there are",
                         file, until ? "until" : "count");
    bool seeds = json_equal(json_object_get(cell->job, "seeds"), json_object_get(first->job, "seeds"));
    bool same = json_equal(evaluation(cell, NULL), evaluation(first, NULL));
    if (!seeds || !same || cell->shard_rows != first->shard_rows)
        return error_set(err, CODE_DATA, "%s: sweep.race: expected the same %s in every cell, found another in %s",
                         file,
                         !seeds  ? "seeds"
                         : !same ? "evaluate"
                                 : "output.samples_per_shard",
                         cell->name);
    return check_seeds(cell, file, err);
}

void race_cost_add(struct race_costs *costs, const struct race_cell *cell) {
    static const double MUCH = 1.5; /* methods of several stages come as near to the NFE as they can */
    double nfe = json_number_value(json_object_get(json_object_get(cell->job, "sampler"), "nfe"));
    if (costs->cells++ == 0) costs->nfe = nfe;
    if (cell->model_calls > 0 && (costs->least == 0 || cell->model_calls < costs->least))
        costs->least = cell->model_calls;
    if (cell->model_calls > costs->most) costs->most = cell->model_calls;
    costs->unequal |= nfe != costs->nfe || costs->most > MUCH * costs->least;
}

void race_warn(const struct race_costs *costs, const char *file) {
    if (costs->cells == 1)
        log_warn("%s: sweep.race: there is one cell and nothing to decide: it gets all its samples", file);
    if (costs->unequal)
        log_warn(
            "%s: sweep.race: its cells take from %d to %d model calls a sample and all compete, so those that take "
            "few will lose: fix sampler.nfe, and make a race of each",
            file, costs->least, costs->most);
}

uint64_t rounds_next(uint64_t samples, bool race, uint64_t shard_rows, uint64_t all) {
    static const uint64_t factors[] = {1, 2, 5};
    uint64_t next = FIRST, power = FIRST;
    if (race)
        for (size_t i = 0; next <= samples; i++) {
            power *= i > 0 && i % 3 == 0 ? 10 : 1;
            next = factors[i % 3] * power;
        }
    else if (samples >= FIRST) next = samples + samples / 4;
    if (next >= all) return all;
    next = (next + shard_rows - 1) / shard_rows * shard_rows;
    return next < all ? next : all;
}

/* ---- the decision ---- */

int racer_read(struct racer *racer, const json_t *result, const char *metric, const char *cell, struct error *err) {
    const json_t *metrics = json_object_get(result, "metrics");
    *racer = (struct racer){.out = false};
    if (json_is_number(json_object_get(metrics, metric)) && value_get_jackknifed(metrics, metric, racer->numbers))
        return 0;
    return error_set(err, CODE_DATA, "%s: its round has no %s with the values without each block of samples", cell,
                     metric);
}

/* P(|t| > x), 19 degrees of freedom, in closed form (Abramowitz & Stegun 26.7.3). */
static double beyond(double x) {
    const int degrees = JACKKNIFE_BLOCKS - 1;
    double angle = atan2(x, sqrt(degrees)), c = cos(angle), term = c, sum = c;
    for (int k = 2; k < degrees - 1; k += 2) {
        term *= c * c * k / (k + 1);
        sum += term;
    }
    return 1 - 2 / M_PI * (angle + sin(angle) * sum);
}

double student_t19(double probability) {
    double low = 0, high = 1e6;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (beyond(middle) > probability) low = middle;
        else high = middle;
    }
    return (low + high) / 2;
}

size_t race_decide(struct racer *racers, size_t count, double confidence) {
    size_t leader = 0;
    for (size_t i = 1; i < count; i++)
        if (racers[i].numbers[0] < racers[leader].numbers[0]) leader = i;
    double limit = count > 1 ? student_t19((1 - confidence) / (double)(count - 1)) : 0;
    for (size_t i = 0; i < count; i++) {
        struct estimate estimate;
        jackknife_difference(racers[i].numbers, racers[leader].numbers, &estimate);
        racers[i].delta = estimate.corrected;
        racers[i].error = estimate.error;
        racers[i].limit = limit;
        racers[i].out = i != leader && estimate.corrected > limit * estimate.error;
    }
    return leader;
}

/* ---- the record ---- */

/* Has the object members of these names, all strings or all numbers? names: NULL at the end. */
static bool has(const json_t *object, const char *const *names, bool strings) {
    for (; *names; names++) {
        const json_t *member = json_object_get(object, *names);
        if (!(strings ? json_is_string(member) : json_is_number(member))) return false;
    }
    return true;
}

static bool is_round(const json_t *round) {
    static const char *const numbers[] = {"samples", "cells", NULL}, *const leader[] = {"leader", NULL};
    static const char *const by[] = {"delta", "error", NULL}, *const cell[] = {"cell", NULL};
    const json_t *left = json_object_get(round, "left"), *one;
    size_t i;
    bool good = has(round, numbers, false) && has(round, leader, true) && json_is_array(left);
    json_array_foreach(left, i, one) good = good && has(one, by, false) && has(one, cell, true);
    return good;
}

bool race_is_record(const json_t *race) {
    static const char *const numbers[] = {"confidence", "seeds", "cells", "samples", "of", NULL};
    static const char *const metric[] = {"metric", NULL};
    const json_t *rounds = json_object_get(race, "rounds"), *in = json_object_get(race, "in"),
                 *next = json_object_get(race, "next"), *one;
    size_t i;
    bool good = has(race, numbers, false) && has(race, metric, true) && json_is_array(rounds) && json_is_array(in) &&
                (!next || json_is_integer(next));
    json_array_foreach(rounds, i, one) good = good && is_round(one);
    json_array_foreach(in, i, one) good = good && json_is_string(one);
    return good;
}
