/* What the best fits of each order reach at one NFE. */
#include "cluster/agree.h"
#include "format/json_file.h"
#include "tune/fit.h"
#include "tune/grids.h"
#include "tune/rivals.h"

#include <math.h>
#include <stdlib.h>

enum { ORDERS = 3 };

/* An rms and its standard error by a jackknife over the judging paths: {"error", "uncertainty"}; new. */
static json_t *error_of(const struct tuning *asked, const double *errors) {
    size_t first = asked->fit + asked->select, count = asked->judge;
    double all = fit_rms(errors, first, count), squares = 0;
    for (size_t i = first; i < first + count; i++)
        squares += pow(sqrt(fmax(all * all * (double)count - errors[i], 0) / (double)(count - 1)) - all, 2);
    double uncertainty = sqrt(squares * (double)(count - 1) / (double)count);
    return json_pack("{so so}", "error", json_finite(all), "uncertainty", json_finite(uncertainty));
}

/* The fit of this order whose grid the choosing paths say is the best. */
static int best_of(json_t *list, struct engine *engine, const struct teacher *teacher, size_t steps, int order,
                   struct error *err) {
    const struct tuning *asked = engine->asked;
    struct grid_of *grids, chosen = {0};
    struct fit best = {0};
    double times[FIT_STEPS + 1], least = INFINITY;
    size_t count;
    int rc = ranks_agree(asked->comm, grids_list(&grids, &count, engine, err), err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct fit fit;
        if (!grids_make(engine, &grids[i], steps, NULL, times)) continue;
        if ((rc = fit_run(&fit, engine, teacher, times, steps, order, err)) != 0) break;
        double error = fit_rms(fit.errors, asked->fit, asked->select);
        bool better = error < least;
        if (better) least = error, chosen = grids[i];
        fit_release(better ? &best : &fit);
        if (better) best = fit;
    }
    if (rc == 0 && best.errors) {
        char name[GRID_TEXT];
        json_t *one = error_of(asked, best.errors);
        grids_name(&chosen, name);
        bool whole = one && json_object_set_new(one, "order", json_integer(order)) == 0 &&
                     json_object_set_new(one, "grid", json_string(name)) == 0;
        if (!whole) json_decref(one);
        rc = ranks_agree(asked->comm, whole ? json_array_append_new(list, one) : error_memory(err), err);
    }
    fit_release(&best);
    free(grids);
    return rc;
}

static int all_orders(json_t *found, struct engine *engine, const struct teacher *teacher, int nfe, struct error *err) {
    json_t *list = json_object_get(found, "orders");
    struct rivals rivals;
    int rc = rivals_best(&rivals, engine, teacher, nfe, err);
    if (rc != 0) return rc;
    json_t *rival = error_of(engine->asked, rivals.list[0].errors);
    json_map_add(&rival, "sampler", json_incref(rivals.list[0].sampler));
    int kept = json_object_set_new(found, "registry", rival);
    rivals_release(&rivals);
    rc = ranks_agree(engine->asked->comm, kept == 0 ? 0 : error_memory(err), err);
    for (int order = 1; order <= ORDERS && order <= nfe && rc == 0; order++)
        rc = best_of(list, engine, teacher, (size_t)nfe, order, err);
    return rc;
}

int tune_gains(json_t **found, const struct tuning *tuning, struct error *err) {
    struct teacher teacher = {0};
    struct engine engine = {.asked = tuning};
    int nfe = tuning->nfes[0];
    *found = json_pack("{si s{sI sI sI} s[]}", "nfe", nfe, "paths", "fit", (json_int_t)tuning->fit, "select",
                       (json_int_t)tuning->select, "judge", (json_int_t)tuning->judge, "orders");
    int rc = *found ? teacher_plan(&teacher, tuning, err) : error_memory(err);
    if (rc == 0) rc = engine_new(&engine, tuning, &teacher.plan, err);
    rc = ranks_agree(tuning->comm, rc, err);
    if (rc == 0) rc = teacher_run(&teacher, &engine, err);
    if (rc == 0) rc = all_orders(*found, &engine, &teacher, nfe, err);
    if (rc != 0) {
        json_decref(*found);
        *found = NULL;
    }
    engine_release(&engine);
    teacher_release(&teacher);
    return rc;
}
