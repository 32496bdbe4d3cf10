/* A diagnosis: the study from its start to its JSON. Numbers that are infinite or were not measured are null. What
 * memory was too short for is NULL up to the whole (json_list_add). */
#include "diagnose/contest.h"
#include "diagnose/ratio.h"
#include "format/json_file.h"
#include "solver/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *ratio_json(struct ratio found) {
    return json_pack("{s:o, s:o}", "value", json_finite(found.value), "error", json_finite(found.error));
}

static json_t *order_json(double order) {
    return order == INFINITY ? json_string(".inf") : json_integer((json_int_t)order);
}

static double rms(const struct study *study, const double *squares) {
    return root_ratio(squares, NULL, study->asked->paths).value;
}

/* ---- how constant epsilon is ---- */

static const struct probe *probe_at(const struct study *study, double t) {
    for (size_t i = 0; i < study->probes_count; i++)
        if (study->probes[i].t == t) return &study->probes[i];
    return NULL;
}

static json_t *constancy(const struct study *study, const struct track *track) {
    json_t *steps = json_array();
    size_t paths = study->asked->paths;
    for (size_t i = 0; i < track->steps; i++) {
        const double *level = track->level + i * paths, *change = track->change + i * paths;
        const struct probe *probe = probe_at(study, track->times[i]);
        double t = track->times[i];
        struct ratio rate = {NAN, NAN};
        if (probe) rate = root_ratio(probe->epsilon[1], probe->epsilon[0], paths);
        json_list_add(&steps, json_pack("{s:f, s:f, s:o, s:o, s:o, s:o}", "t", t, "s", track->times[i + 1], "logsnr",
                                        json_finite(schedule_logsnr(study->schedule, t)), "epsilon",
                                        json_finite(rms(study, level)), "rate", ratio_json(rate), "change",
                                        ratio_json(root_ratio(change, level, paths))));
    }
    return steps;
}

/* ---- derivatives ---- */

static json_t *derivative(const struct study *study, double *const values[QUANTITIES], int order) {
    size_t paths = study->asked->paths;
    double product = 0, truncation = rms(study, values[TRUNCATION2]), noise = rms(study, values[NOISE2]);
    for (size_t i = 0; i < paths; i++) product += values[PRODUCT][i] / (double)paths;
    double size = rms(study, values[TRUE2]), ideal = rms(study, values[IDEAL2]);
    struct ratio miss = root_ratio(values[MISS2], values[TRUE2], paths);
    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "order", order, "true", json_finite(size), "ratio",
                     json_finite(ideal / size), "cosine", json_finite(product / (size * ideal)), "miss",
                     ratio_json(miss), "uncertainty", json_finite(hypot(truncation, noise) / size), "noise",
                     json_finite(noise / size), "limit", noise > truncation ? "noise" : "step");
}

static json_t *derivatives(const struct study *study) {
    json_t *all = json_array();
    for (size_t i = 0; i < study->probes_count; i++) {
        const struct probe *probe = &study->probes[i];
        json_t *one = json_pack("{s:f, s:o, s:o}", "t", probe->t, "logsnr",
                                json_finite(schedule_logsnr(study->schedule, probe->t)), "noise",
                                ratio_json(root_ratio(probe->noise, NULL, study->asked->paths)));
        json_t *epsilon = json_array();
        for (int k = 0; k <= EPSILON_ORDERS; k++)
            json_list_add(&epsilon, json_pack("{s:o, s:o}", "value", json_finite(rms(study, probe->epsilon[k])),
                                              "uncertainty", json_finite(rms(study, probe->doubt[k]))));
        json_t *both = json_object();
        json_map_add(&one, "epsilon", epsilon);
        for (int c = 0; c < CLOCKS; c++) {
            json_t *path = json_array(), *score = json_array();
            for (int k = 1; k <= PATH_ORDERS && probe->has[c]; k++)
                json_list_add(&path, derivative(study, probe->values[c][k - 1], k));
            for (int k = 1; k <= EPSILON_ORDERS && probe->has[c]; k++)
                json_list_add(&score, derivative(study, probe->values[c][SCORE_FIRST + k - 1], k));
            json_map_add(&both, clock_names[clocks[c]], json_pack("{s:o, s:o}", "path", path, "score", score));
        }
        json_map_add(&one, "clocks", both);
        json_list_add(&all, one);
    }
    return all;
}

/* ---- errors of one step ---- */

static json_t *local_errors(const struct study *study) {
    json_t *all = json_array();
    size_t paths = study->asked->paths;
    for (size_t i = 0; i < study->tracks_count; i++) {
        const struct track *track = &study->tracks[i];
        for (size_t m = 0; m < METHODS; m++) {
            if (isnan(track->rho_mu[m * 2]) || (track->grid == GRID_UNIFORM && methods[m].clock == CLOCK_LOGSNR))
                continue;
            json_t *errors = json_array();
            double sum = 0;
            for (size_t step = 0; step < track->steps; step++) {
                struct ratio error = root_ratio(track->errors + (m * track->steps + step) * paths, NULL, paths);
                sum += error.value;
                json_list_add(&errors,
                              json_pack("{s:f, s:f, s:o, s:o}", "t", track->times[step], "s", track->times[step + 1],
                                        "value", json_finite(error.value), "error", json_finite(error.error)));
            }
            struct ratio last = root_ratio(track->last, NULL, paths);
            json_list_add(&all, json_pack("{s:s, s:i, s:b, s:o, s:o, s:o, s:o, s:o}", "grid", grid_names[track->grid],
                                          "nfe", track->nfe, "own", track->own, "clock",
                                          methods[m].clock ? json_string(clock_names[methods[m].clock]) : json_null(),
                                          "order", order_json(methods[m].order), "sum", json_finite(sum + last.value),
                                          "steps", errors, "to_zero", track->to_zero ? ratio_json(last) : json_null()));
        }
    }
    return all;
}

/* ---- errors of samples ---- */

static json_t *describe(const struct candidate *candidate) {
    const struct sampler *sampler = &candidate->sampler;
    bool clocked = solver_find(sampler->solver)->options & SOLVER_CLOCK &&
                   (sampler->order != INFINITY || sampler->grid == GRID_UNIFORM);
    json_t *json = json_pack("{s:s, s:o, s:o, s:s, s:i}", "solver", sampler->solver, "order",
                             order_json(sampler->order), "clock",
                             clocked ? json_string(clock_names[sampler->clock]) : json_null(), "grid",
                             grid_names[sampler->grid], "nfe", candidate->plan.nfe);
    if (sampler->grid == GRID_KARRAS && !isnan(sampler->rho)) json_map_add(&json, "rho", json_real(sampler->rho));
    return json;
}

static json_t *sample_errors(const struct study *study) {
    json_t *all = json_array();
    for (size_t i = study->candidates_count; i-- > 1;) {
        const struct candidate *candidate = &study->candidates[i];
        struct ratio error = root_ratio(candidate->errors, NULL, study->asked->paths);
        json_t *one = describe(candidate);
        json_map_add(&one, "own", json_boolean(candidate->own));
        json_map_add(&one, "rmse", json_finite(error.value));
        json_map_add(&one, "error", json_finite(error.error));
        json_list_add(&all, one);
    }
    return all;
}

/* The candidate of the smallest error at the job's NFE; NULL: none. */
static const struct candidate *best(const struct study *study, const char *solver) {
    const struct candidate *found = NULL;
    double least = INFINITY;
    for (size_t i = 1; i < study->candidates_count; i++) {
        const struct candidate *candidate = &study->candidates[i];
        if (candidate->plan.nfe != study->asked->sampler->nfe || strcmp(candidate->sampler.solver, solver) != 0)
            continue;
        double value = rms(study, candidate->errors);
        if (value >= least) continue;
        found = candidate;
        least = value;
    }
    return found;
}

/* How many times the error of `other` that of `one` is, paired by path. */
static json_t *compared(const struct study *study, const struct candidate *other, const struct candidate *one) {
    json_t *json = describe(other);
    struct ratio error = root_ratio(other->errors, NULL, study->asked->paths);
    json_map_add(&json, "rmse", json_finite(error.value));
    json_map_add(&json, "error", json_finite(error.error));
    json_map_add(&json, "times", ratio_json(root_ratio(other->errors, one->errors, study->asked->paths)));
    return json;
}

/* Is an error no larger than another by more than twice the standard error of the logarithm of their quotient? */
static bool within_noise(const struct study *study, const struct candidate *other, const struct candidate *one) {
    struct ratio times = root_ratio(other->errors, one->errors, study->asked->paths);
    return times.value == 1 || log(times.value) <= 2 * times.error / times.value + 1e-6;
}

static json_t *recommendation(const struct study *study) {
    const struct candidate *taylor = best(study, "taylor"), *multistep = best(study, "taylor-2m"), *own = NULL;
    json_t *ties = json_array(), *json;
    if (!taylor) {
        json_decref(ties);
        return json_null();
    }
    for (size_t i = 1; i < study->candidates_count; i++) {
        const struct candidate *candidate = &study->candidates[i];
        if (candidate->own) own = candidate;
        if (candidate == taylor || candidate->plan.nfe != taylor->plan.nfe ||
            strcmp(candidate->sampler.solver, "taylor") != 0)
            continue;
        if (within_noise(study, candidate, taylor)) json_list_add(&ties, compared(study, candidate, taylor));
    }
    json = json_pack("{s:o, s:o}", "taylor", compared(study, taylor, taylor), "ties", ties);
    if (multistep) json_map_add(&json, "taylor-2m", compared(study, multistep, taylor));
    if (own) json_map_add(&json, "own", compared(study, own, taylor));
    return json;
}

/* ---- all of it ---- */

static json_t *reference(const struct study *study) {
    const struct plan *plan = &study->path.plan;
    return json_pack("{s:s, s:i, s:i, s:o}", "solver", plan->solver, "nfe", plan->nfe, "coarse_nfe",
                     study->candidates[0].plan.nfe, "difference",
                     ratio_json(root_ratio(study->candidates[0].errors, NULL, study->asked->paths)));
}

static json_t *findings(const struct study *study) {
    const struct sampler *sampler = study->asked->sampler;
    const struct track *track = study_main_track(study);
    enum clock_kind clock = sampler->clock == CLOCK_UNSET ? CLOCK_LOGSNR : sampler->clock;
    return json_pack("{s:I, s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:O}", "paths",
                     (json_int_t)study->asked->paths, "nfe", sampler->nfe, "clock", clock_names[clock], "grid",
                     grid_names[track->grid], "reference", reference(study), "constancy", constancy(study, track),
                     "derivatives", derivatives(study), "local", local_errors(study), "samples", sample_errors(study),
                     "recommendation", recommendation(study), "notes", study->notes);
}

int diagnose(json_t **found, const struct diagnosis *asked, struct error *err) {
    struct study study;
    int rc = study_begin(&study, asked, err);
    if (rc == 0) rc = contest_tracks(&study, err);
    if (rc == 0) rc = study_place(&study, err);
    if (rc == 0) rc = contest_candidates(&study, err);
    if (rc == 0) rc = study_measure(&study, err);
    if (rc == 0 && !(*found = findings(&study))) rc = error_memory(err);
    study_release(&study);
    return rc;
}
