#include "tune/tune.h"

#include "base/log.h"
#include "cluster/agree.h"
#include "tune/fit.h"
#include "tune/grids.h"
#include "tune/rivals.h"

#include <math.h>
#include <nlopt.h>
#include <stdlib.h>
#include <string.h>

enum { POLISHED = 1, POLISH_EVALUATIONS = 30, POLISH_DIMENSIONS = 24 };

struct search { /* one NFE */
    struct engine *engine;
    const struct teacher *teacher;
    size_t steps;
    struct fit best;
    struct grid_of grid; /* the best one's */
    bool polished;
    double chosen; /* the best one's error on the paths that choose */
    /* while polishing */
    int order, rc;
    struct error *err;
};

/* Takes over fit. Later ones must be better, not the same. */
static void consider(struct search *search, struct fit *fit, const struct grid_of *grid, bool polished) {
    const struct tuning *asked = search->engine->asked;
    double error = fit_rms(fit->errors, asked->fit, asked->select);
    if (search->best.errors && !(error < search->chosen)) {
        fit_release(fit);
        return;
    }
    fit_release(&search->best);
    search->best = *fit;
    search->grid = *grid;
    search->polished = polished;
    search->chosen = error;
}

static int fit_grids(struct search *search, struct error *err) {
    struct engine *engine = search->engine;
    struct grid_of *grids;
    double times[FIT_STEPS + 1];
    size_t count;
    int first = engine->asked->order ? engine->asked->order : 2, last = engine->asked->order ? engine->asked->order : 3;
    int rc = ranks_agree(engine->asked->comm, grids_list(&grids, &count, engine, err), err);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (!grids_make(engine, &grids[i], search->steps, NULL, times)) continue;
        for (int order = first; order <= last && rc == 0; order++) {
            struct fit fit;
            if (order > first && (size_t)order > search->steps) break; /* the same again */
            rc = fit_run(&fit, engine, search->teacher, times, search->steps, order, err);
            if (rc == 0) consider(search, &fit, &grids[i], false);
        }
    }
    free(grids);
    if (rc == 0 && !search->best.errors)
        rc = error_set(err, CODE_DATA, "there is no grid of %zu steps between t_start and t_end", search->steps);
    return rc;
}

/* The end's error over fitting and choosing paths of the fit on stretched gaps. */
static double polish_error(unsigned count, const double *stretch, double *gradient, void *context) {
    struct search *search = context;
    const struct tuning *asked = search->engine->asked;
    double times[FIT_STEPS + 1];
    struct fit fit;
    (void)count, (void)gradient;
    if (search->rc != 0 || !grids_make(search->engine, &search->grid, search->steps, stretch, times)) return HUGE_VAL;
    search->rc = fit_run(&fit, search->engine, search->teacher, times, search->steps, search->order, search->err);
    if (search->rc != 0) return HUGE_VAL;
    double error = fit_rms(fit.errors, 0, asked->fit + asked->select);
    struct grid_of grid = search->grid;
    consider(search, &fit, &grid, true);
    return isfinite(error) ? error : HUGE_VAL;
}

/* NLopt's BOBYQA (Powell 2009) over the times, from the best grid's; every rank walks the same way. */
static int polish(struct search *search, struct error *err) {
    size_t gaps = grids_gaps(search->engine, search->steps);
    double stretch[POLISH_DIMENSIONS] = {0}, found;
    if (gaps < 2 || gaps - 1 > POLISH_DIMENSIONS) return 0;
    unsigned count = (unsigned)gaps - 1;
    nlopt_opt optimiser = nlopt_create(count > 1 ? NLOPT_LN_BOBYQA : NLOPT_LN_SBPLX, count);
    search->order = search->best.order;
    search->err = err;
    bool set = optimiser && nlopt_set_min_objective(optimiser, polish_error, search) >= 0 &&
               nlopt_set_lower_bounds1(optimiser, -1.5) >= 0 && nlopt_set_upper_bounds1(optimiser, 1.5) >= 0 &&
               nlopt_set_initial_step1(optimiser, 0.2) >= 0 && nlopt_set_xtol_abs1(optimiser, 0.01) >= 0 &&
               nlopt_set_maxeval(optimiser, POLISH_EVALUATIONS) >= 0;
    search->rc = ranks_agree(search->engine->asked->comm, set ? 0 : error_memory(err), err);
    if (search->rc == 0) nlopt_optimize(optimiser, stretch, &found); /* its verdict does not matter: see consider */
    nlopt_destroy(optimiser);
    return search->rc;
}

/* ---- the judgement ---- */

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

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *describe(const struct search *search, const struct rival *rival, int nfe) {
    const struct tuning *asked = search->engine->asked;
    const struct fit *fit = &search->best;
    size_t judge = asked->fit + asked->select;
    double ratio, ratio_error;
    char grid[GRID_TEXT];
    grids_name(&search->grid, grid);
    compare(asked, fit->errors, rival->errors, &ratio, &ratio_error);
    return json_pack("{si so ss si sb so s{sO so sI} so so sb}", "nfe", nfe, "error",
                     number(fit_rms(fit->errors, judge, asked->judge)), "grid", grid, "order", fit->order, "polished",
                     search->polished, "table", fit_table(fit), "rival", "sampler", rival->sampler, "error",
                     number(fit_rms(rival->errors, judge, asked->judge)), "tried", (json_int_t)rival->tried, "ratio",
                     number(ratio), "ratio_error", number(ratio_error), "wins", ratio < 1);
}

static int tune_nfe(json_t *list, struct engine *engine, const struct teacher *teacher, int nfe, struct error *err) {
    struct search search = {.engine = engine, .teacher = teacher, .steps = (size_t)nfe};
    struct rival rival;
    if (rivals_best(&rival, engine, teacher, nfe, err) != 0) return -1;
    int rc = fit_grids(&search, err);
    if (rc == 0) rc = polish(&search, err);
    json_t *found = rc == 0 ? describe(&search, &rival, nfe) : NULL;
    if (rc == 0 && json_array_append_new(list, found) != 0) rc = error_memory(err);
    fit_release(&search.best);
    rival_release(&rival);
    return rc;
}

int tune(json_t **found, const struct tuning *tuning, struct error *err) {
    struct teacher teacher = {0};
    struct engine engine = {.asked = tuning};
    json_t *list = json_array();
    int rc = list ? teacher_plan(&teacher, tuning, err) : error_memory(err);
    if (rc == 0) rc = engine_new(&engine, tuning, &teacher.plan, err);
    rc = ranks_agree(tuning->comm, rc, err);
    if (rc == 0) rc = teacher_run(&teacher, &engine, err);
    for (size_t i = 0; i < tuning->nfes_count && rc == 0; i++) {
        rc = tune_nfe(list, &engine, &teacher, tuning->nfes[i], err);
        if (rc != 0 && err->code == CODE_DATA && err->message[0]) error_prefix(err, "NFE %d", tuning->nfes[i]);
    }
    *found = NULL;
    if (rc == 0) {
        *found = json_pack("{s{ss si sf sf} s{sI sI sI} sO sI}", "teacher", "solver", teacher.plan.solver, "nfe",
                           teacher.plan.nfe, "error", teacher.error, "spread", teacher.spread, "paths", "fit",
                           (json_int_t)tuning->fit, "select", (json_int_t)tuning->select, "judge",
                           (json_int_t)tuning->judge, "tuned", list, "model_rows", (json_int_t)engine.rows);
        rc = ranks_agree(tuning->comm, *found ? 0 : error_memory(err), err);
    }
    json_decref(list);
    engine_release(&engine);
    teacher_release(&teacher);
    return rc;
}
