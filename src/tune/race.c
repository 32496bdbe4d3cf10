/* Which sampler has the lowest FID. */
#include "tune/race.h"

#include <math.h>

/* Who goes into a round, of each kind, and on which part of the samples. All are judged on the same seeds, so that
 * differences are surer than the FIDs themselves. */
static const struct round {
    size_t part, tables, rivals;
} rounds[] = {{4, SIZE_MAX, SIZE_MAX}, {1, 2, 4}};
enum { ROUNDS = sizeof rounds / sizeof *rounds, LEAST = 200 };
static const double DOUBT = 3; /* standard errors */

double race_fid(const struct contestant *contestant) {
    const json_t *fid = json_object_get(contestant->judged.values, "fid_corrected");
    return json_is_number(fid) ? json_number_value(fid) : INFINITY;
}

/* The best one of a kind that is in; count: of the list. count: there is none. */
static size_t best(const struct race *race, bool table) {
    size_t found = race->count;
    for (size_t i = 0; i < race->count; i++) {
        const struct contestant *one = &race->list[i];
        if (one->out || one->table != table) continue;
        if (found == race->count || race_fid(one) < race_fid(&race->list[found])) found = i;
    }
    return found;
}

/* All of a kind but the best `count` leave. */
static void thin_out(struct race *race, bool table, size_t count) {
    for (size_t in = 0;; in++) {
        size_t worst = race->count, left = 0;
        for (size_t i = 0; i < race->count; i++) {
            if (race->list[i].out || race->list[i].table != table) continue;
            left++;
            if (worst == race->count || race_fid(&race->list[i]) >= race_fid(&race->list[worst])) worst = i;
        }
        if (left <= count || in > race->count) return;
        race->list[worst].out = true;
    }
}

static int compare(struct race *race, const struct engine *engine, struct error *err) {
    const struct judged *table = &race->list[race->table].judged, *rival = &race->list[race->rival].judged;
    json_decref(race->delta);
    race->delta = NULL;
    return table->values && rival->values ? judge_compare(&race->delta, engine, table, rival, err) : 0;
}

/* By more than so many standard errors. */
static bool table_leads(const struct race *race, double errors) {
    const json_t *delta = json_object_get(race->delta, "fid_delta"),
                 *error = json_object_get(race->delta, "fid_delta_error");
    if (!race->delta) return race_fid(&race->list[race->table]) < race_fid(&race->list[race->rival]);
    return json_is_number(delta) && json_is_number(error) &&
           json_number_value(delta) < -errors * json_number_value(error);
}

double race_margin(const struct race *race) {
    double low = 1, high = 10, chance = erfc(M_SQRT1_2) / (double)race->tables;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (erfc(M_SQRT1_2 * middle) > chance) low = middle;
        else high = middle;
    }
    return low;
}

bool race_won(const struct race *race) {
    return table_leads(race, race_margin(race));
}

int race_run(struct race *race, struct engine *engine, struct error *err) {
    size_t all = engine->asked->samples, block = engine->block;
    for (size_t i = 0; i < race->count; i++) race->tables += race->list[i].table;
    for (int r = 0; r < ROUNDS; r++) {
        size_t part = all / rounds[r].part, samples = ((part > LEAST ? part : LEAST) + block - 1) / block * block;
        if (samples > all || rounds[r].part == 1) samples = all;
        thin_out(race, true, rounds[r].tables);
        thin_out(race, false, rounds[r].rivals);
        for (size_t i = 0; i < race->count; i++) {
            struct contestant *one = &race->list[i];
            if (!one->out && judge_plan(&one->judged, engine, one->plan, samples, err) != 0) return -1;
        }
        race->samples = samples;
        race->table = best(race, true);
        race->rival = best(race, false);
        if (r + 1 < ROUNDS && samples == all) continue;
        if (compare(race, engine, err) != 0) return -1;
        if (table_leads(race, DOUBT)) break;
    }
    return 0;
}

void race_release(struct race *race) {
    for (size_t i = 0; i < race->count; i++) judge_release(&race->list[i].judged);
    json_decref(race->delta);
    race->delta = NULL;
}
