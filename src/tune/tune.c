/* Fits a few-step sampler to a model, from the teacher to the file. */
#include "tune/tune.h"

#include "base/files.h"
#include "cluster/agree.h"
#include "format/json_file.h"
#include "tune/fit.h"
#include "tune/grids.h"
#include "tune/race.h"
#include "tune/rivals.h"

#include <inttypes.h>
#include <math.h>
#include <nlopt.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER_ENTRIES = 2, ENTRIES = 2 * ORDER_ENTRIES, POLISH_EVALUATIONS = 30, POLISH_DIMENSIONS = 24 };

struct entry { /* a fitted table */
    struct fit fit;
    struct grid_of grid;
    bool polished;
    double chosen; /* its error on the paths that choose */
};

struct search { /* one NFE */
    struct engine *engine;
    const struct teacher *teacher;
    size_t steps, count;
    struct entry entries[ENTRIES + 1]; /* the best of the grids first, and then the polished one */
    /* while polishing */
    struct entry polished;
    int order, rc;
    struct error *err;
};

static struct entry entry_of(const struct search *search, const struct fit *fit, const struct grid_of *grid) {
    const struct tuning *asked = search->engine->asked;
    /* A few paths that nothing was fitted to tell less than all: what is compared has as many coefficients. */
    size_t first = asked->thorough ? asked->fit : 0;
    double chosen = fit_rms(fit->errors, first, asked->fit + asked->select - first);
    return (struct entry){.fit = *fit, .grid = *grid, .chosen = chosen};
}

/* Takes over the fit. The best few of each order stay, as the smallest error is not always the best FID; later ones
 * must be better, not the same. */
static void enter(struct search *search, struct fit *fit, const struct grid_of *grid) {
    struct entry entry = entry_of(search, fit, grid);
    size_t at = search->count, alike = 0, last = 0;
    for (size_t i = 0; i < search->count; i++) {
        if (search->entries[i].fit.order != fit->order) continue;
        alike++;
        last = i;
    }
    if (alike == ORDER_ENTRIES && !(entry.chosen < search->entries[last].chosen)) {
        fit_release(fit);
        return;
    }
    if (alike == ORDER_ENTRIES) {
        fit_release(&search->entries[last].fit);
        memmove(&search->entries[last], &search->entries[last + 1], (--search->count - last) * sizeof entry);
        at--;
    }
    while (at > 0 && entry.chosen < search->entries[at - 1].chosen) at--;
    memmove(&search->entries[at + 1], &search->entries[at], (search->count++ - at) * sizeof entry);
    search->entries[at] = entry;
}

static int fit_grids(struct search *search, struct error *err) {
    struct engine *engine = search->engine;
    struct grid_of *grids;
    double times[FIT_STEPS + 1];
    size_t count;
    int last = engine->asked->order ? engine->asked->order : 3, first = engine->asked->thorough ? 2 : 3;
    if (engine->asked->order) first = last;
    int rc = ranks_agree(engine->asked->comm, grids_list(&grids, &count, engine, err), err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!grids_make(engine, &grids[i], search->steps, NULL, times)) continue;
        for (int order = first; order <= last && rc == 0; order++) {
            struct fit fit;
            if (order > first && (size_t)order > search->steps) break; /* the same again */
            rc = fit_run(&fit, engine, search->teacher, times, search->steps, order, err);
            if (rc == 0) enter(search, &fit, &grids[i]);
        }
    }
    free(grids);
    if (rc == 0 && search->count == 0)
        rc = error_set(err, CODE_DATA, "there is no grid of %zu steps between t_start and t_end", search->steps);
    return rc;
}

/* The end's error over fitting and choosing paths of the fit on stretched gaps. */
static double polish_error(unsigned count, const double *stretch, double *gradient, void *context) {
    struct search *search = context;
    const struct tuning *asked = search->engine->asked;
    const struct grid_of *grid = &search->entries[0].grid;
    double times[FIT_STEPS + 1];
    struct fit fit;
    (void)count, (void)gradient;
    if (search->rc != 0 || !grids_make(search->engine, grid, search->steps, stretch, times)) return HUGE_VAL;
    search->rc = fit_run(&fit, search->engine, search->teacher, times, search->steps, search->order, search->err);
    if (search->rc != 0) return HUGE_VAL;
    double error = fit_rms(fit.errors, 0, asked->fit + asked->select);
    struct entry entry = entry_of(search, &fit, grid);
    if (search->polished.fit.errors && !(entry.chosen < search->polished.chosen)) {
        fit_release(&fit);
    } else {
        fit_release(&search->polished.fit);
        search->polished = entry;
        search->polished.polished = true;
    }
    return isfinite(error) ? error : HUGE_VAL;
}

/* NLopt's BOBYQA (Powell 2009) over the times, from the best grid's; every rank walks the same way. */
static int polish(struct search *search, struct error *err) {
    size_t gaps = grids_gaps(search->engine, search->steps);
    double stretch[POLISH_DIMENSIONS] = {0}, found;
    if (gaps < 2 || gaps - 1 > POLISH_DIMENSIONS) return 0;
    unsigned count = (unsigned)gaps - 1;
    nlopt_opt optimiser = nlopt_create(count > 1 ? NLOPT_LN_BOBYQA : NLOPT_LN_SBPLX, count);
    search->order = search->entries[0].fit.order;
    search->err = err;
    bool set = optimiser && nlopt_set_min_objective(optimiser, polish_error, search) >= 0 &&
               nlopt_set_lower_bounds1(optimiser, -1.5) >= 0 && nlopt_set_upper_bounds1(optimiser, 1.5) >= 0 &&
               nlopt_set_initial_step1(optimiser, 0.2) >= 0 && nlopt_set_xtol_abs1(optimiser, 0.01) >= 0 &&
               nlopt_set_maxeval(optimiser, POLISH_EVALUATIONS) >= 0;
    search->rc = ranks_agree(search->engine->asked->comm, set ? 0 : error_memory(err), err);
    if (search->rc == 0) nlopt_optimize(optimiser, stretch, &found); /* its verdict does not matter: the best is kept */
    nlopt_destroy(optimiser);
    if (search->rc == 0 && search->polished.fit.errors && search->polished.chosen < search->entries[0].chosen) {
        search->entries[search->count++] = search->polished;
        search->polished.fit.errors = NULL;
    }
    fit_release(&search->polished.fit);
    return search->rc;
}

/* ---- the judgement ---- */

struct verdict {
    size_t entry, rival; /* the best of each */
    struct plan plans[ENTRIES + 1];
    struct contestant list[ENTRIES + 1 + RIVALS]; /* where there are FIDs: the entries, and then the rivals */
    struct race race;
    bool wins;
};

static int table_plan(struct plan *plan, const struct engine *engine, const struct fit *fit, struct error *err) {
    struct sampler wanted = tune_sampler(engine->asked, "table"), resolved;
    json_t *table = fit_table(fit);
    int rc = table ? multistep_read(&wanted.table, table, err) : error_memory(err);
    if (rc == 0 && (rc = tune_compile(&resolved, plan, &wanted, engine->asked->card, err)) == 0)
        sampler_release(&resolved);
    json_decref(wanted.table);
    json_decref(table);
    return rc;
}

/* By FID. */
static int judge_all(struct verdict *verdict, struct search *search, const struct rivals *rivals, struct error *err) {
    struct engine *engine = search->engine;
    struct race *race = &verdict->race;
    size_t only = verdict->entry; /* and the nearest rival, where not all are asked for */
    bool thorough = engine->asked->thorough;
    int rc = 0;
    for (size_t i = 0; i < search->count && rc == 0; i++)
        rc = table_plan(&verdict->plans[i], engine, &search->entries[i].fit, err);
    rc = ranks_agree(engine->asked->comm, rc, err);
    if (rc != 0) return rc;
    race->list = verdict->list;
    for (size_t i = thorough ? 0 : only; i < (thorough ? search->count : only + 1); i++)
        race->list[race->count++] = (struct contestant){.plan = &verdict->plans[i], .table = true};
    size_t tables = race->count;
    for (size_t i = 0; i < rivals->count; i++)
        race->list[race->count++] = (struct contestant){.plan = &rivals->list[i].plan};
    if ((rc = race_run(race, engine, err)) != 0) return rc;
    verdict->entry = thorough ? race->table : only;
    verdict->rival = race->rival - tables;
    verdict->wins = race_won(race);
    return 0;
}

static void release_verdict(struct verdict *verdict) {
    race_release(&verdict->race);
    for (size_t i = 0; i <= ENTRIES; i++) plan_release(&verdict->plans[i]);
}

/* Mean of the ratio of two rms errors over judging paths, and its standard error by a jackknife over paths. */
static void compare(const struct tuning *asked, const double *ours, const double *theirs, double *ratio,
                    double *error) {
    size_t first = asked->fit + asked->select, count = asked->judge;
    double a = 0, b = 0, sum = 0, squares = 0;
    for (size_t i = first; i < first + count; i++) {
        a += ours[i];
        b += theirs[i];
    }
    *ratio = sqrt(a / b);
    for (size_t i = first; i < first + count; i++) {
        double left = sqrt((a - ours[i]) / (b - theirs[i]));
        sum += left;
        squares += left * left;
    }
    double mean = sum / (double)count;
    *error = sqrt(fmax(squares / (double)count - mean * mean, 0) * (double)(count - 1));
}

/* What decided between table and rival: FIDs of so many samples, or (0) the distance alone. New. */
static json_t *chosen_by(const struct tuning *asked, size_t samples) {
    if (samples == 0) return json_pack("{ss}", "metric", "distance");
    return json_pack("{ss sI ss}", "metric", "fid", "samples", (json_int_t)samples, "reference_sha256",
                     asked->reference->sha256);
}

static json_t *describe(const struct search *search, const struct rivals *rivals, struct verdict *verdict) {
    const struct tuning *asked = search->engine->asked;
    const struct entry *entry = &search->entries[verdict->entry];
    const struct rival *rival = &rivals->list[verdict->rival];
    double ratio, ratio_error;
    char grid[GRID_TEXT];
    grids_name(&entry->grid, grid);
    compare(asked, entry->fit.errors, rival->errors, &ratio, &ratio_error);
    const struct race *race = &verdict->race;
    bool fids = asked->samples > 0;
    if (!fids) verdict->wins = ratio < 1 - ratio_error;
    /* Those that fitted, chose and judged, in the order of struct tuning. */
    uint64_t first_seed = asked->seeds[0],
             last_seed = asked->seeds[asked->fit + asked->select + asked->judge + race->samples - 1];
    const json_t *ours = race->list ? race->list[race->table].judged.values : NULL,
                 *theirs = race->list ? race->list[race->rival].judged.values : NULL;
    return json_pack("{si so ss si sb so sI so so sO* s{sO so sI sO*} so so sO* so sb}", "nfe", (int)search->steps,
                     "error", json_finite(fit_rms(entry->fit.errors, asked->fit + asked->select, asked->judge)), "grid",
                     grid, "order", entry->fit.order, "polished", entry->polished, "table", fit_table(&entry->fit),
                     "samples", (json_int_t)race->samples, "seeds",
                     json_sprintf("%" PRIu64 "-%" PRIu64, first_seed, last_seed), "chosen_by",
                     chosen_by(asked, race->samples), "fid", ours, "rival", "sampler", rival->sampler, "error",
                     json_finite(rival->error), "tried", (json_int_t)rivals->tried, "fid", theirs, "ratio",
                     json_finite(ratio), "ratio_error", json_finite(ratio_error), "delta", race->delta, "margin",
                     json_real(fids ? race_margin(race) : 1), "wins", verdict->wins);
}

static int tune_nfe(json_t *list, struct engine *engine, const struct teacher *teacher, int nfe, struct error *err) {
    struct search search = {.engine = engine, .teacher = teacher, .steps = (size_t)nfe};
    struct verdict verdict = {0};
    struct rivals rivals;
    if (rivals_best(&rivals, engine, teacher, nfe, err) != 0) return -1;
    int rc = fit_grids(&search, err);
    if (rc == 0 && engine->asked->thorough) rc = polish(&search, err);
    for (size_t i = 1; i < search.count; i++)
        if (search.entries[i].chosen < search.entries[verdict.entry].chosen) verdict.entry = i;
    if (rc == 0 && engine->asked->samples > 0) rc = judge_all(&verdict, &search, &rivals, err);
    if (rc == 0) {
        int kept = json_array_append_new(list, describe(&search, &rivals, &verdict));
        rc = ranks_agree(engine->asked->comm, kept == 0 ? 0 : error_memory(err), err);
    }
    for (size_t i = 0; i < search.count; i++) fit_release(&search.entries[i].fit);
    release_verdict(&verdict);
    rivals_release(&rivals);
    return rc;
}

int tune_possible(const struct sampler *sampler, struct error *err) {
    const struct guidance *guidance = &sampler->guidance;
    if (!isnan(guidance->momentum) && guidance->momentum != 0)
        return error_set(err, CODE_DATA,
                         "sampler.guidance.momentum: it depends on the steps taken, so that no finer solution is a "
                         "teacher: tune without it");
    if (sampler->final == FINAL_MEAN || sampler->final == FINAL_TWEEDIE || sampler->final == FINAL_ACP0)
        return error_set(err, CODE_DATA, "sampler.final: tune ends with none, zero or denoise: say one of them");
    return 0;
}

int tune(json_t **found, const struct tuning *tuning, struct error *err) {
    struct teacher teacher = {0};
    struct engine engine = {.asked = tuning};
    json_t *list = json_array();
    int rc = list ? teacher_plan(&teacher, tuning, err) : error_memory(err);
    if (rc == 0) rc = engine_new(&engine, tuning, &teacher.plan, err);
    if (rc == 0 && tuning->folder && comm_rank(tuning->comm) == 0) rc = folder_make(tuning->folder, err);
    rc = ranks_agree(tuning->comm, rc, err);
    if (rc == 0) rc = teacher_run(&teacher, &engine, err);
    for (size_t i = 0; i < tuning->nfes_count && rc == 0; i++) {
        rc = tune_nfe(list, &engine, &teacher, tuning->nfes[i], err);
        if (rc != 0 && err->code == CODE_DATA && err->message[0]) error_prefix(err, "NFE %d", tuning->nfes[i]);
    }
    *found = NULL;
    if (rc == 0) {
        *found = json_pack("{s{ss si sf sf} s{sI sI sI} sI sO sI si}", "teacher", "solver", teacher.plan.solver, "nfe",
                           teacher.plan.nfe, "error", teacher.error, "spread", teacher.spread, "paths", "fit",
                           (json_int_t)tuning->fit, "select", (json_int_t)tuning->select, "judge",
                           (json_int_t)tuning->judge, "samples", (json_int_t)tuning->samples, "tuned", list,
                           "model_rows", (json_int_t)engine.rows, "calls", teacher.plan.model_calls / teacher.plan.nfe);
        rc = ranks_agree(tuning->comm, *found ? 0 : error_memory(err), err);
    }
    json_decref(list);
    engine_release(&engine);
    teacher_release(&teacher);
    return rc;
}
