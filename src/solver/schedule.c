/* Noise schedules: alpha, sigma and logsnr at any time, and back. */
#include "solver/schedules.h"

#include <math.h>
#include <stdlib.h>

int schedule_new(struct schedule **schedule, const struct card *card, struct error *err) {
    *schedule = NULL;
    if (card->schedule.kind == SCHEDULE_EDM && card->time.kind == TIME_DISCRETE)
        return error_set(err, CODE_DATA,
                         "time.kind: discrete, but an edm schedule has no trained steps: give the schedule the model "
                         "was trained with (for iDDPM, discrete-cosine)");
    struct schedule *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err);
    made->card = card;
    made->kind = schedule_functions_of(card);
    if ((schedule_is_discrete(made) && table_init(&made->table, card, err) != 0) ||
        (card->guide && schedule_new(&made->guide, card->guide, err) != 0)) {
        schedule_free(made);
        return -1;
    }
    *schedule = made;
    return 0;
}

void schedule_free(struct schedule *schedule) {
    if (!schedule) return;
    schedule_free(schedule->guide);
    table_release(&schedule->table);
    free(schedule);
}

const struct schedule *schedule_guide(const struct schedule *schedule) {
    return schedule->guide;
}

double schedule_alpha(const struct schedule *schedule, double t) {
    return schedule->kind->alpha(schedule, t);
}

double schedule_sigma(const struct schedule *schedule, double t) {
    return schedule->kind->sigma(schedule, t);
}

double schedule_logsnr(const struct schedule *schedule, double t) {
    return schedule->kind->logsnr(schedule, t);
}

double schedule_time(const struct schedule *schedule, double logsnr) {
    return schedule->kind->time(schedule, logsnr);
}

bool schedule_is_discrete(const struct schedule *schedule) {
    return schedule_kind_has_table(schedule->kind);
}

bool schedule_has_integer_times(const struct schedule *schedule) {
    const struct card *card = schedule->card;
    return card_takes_steps(card) || (card->time.kind == TIME_C_NOISE && card->prediction == PREDICTION_EDM_IDDPM);
}

int schedule_steps(const struct schedule *schedule) {
    if (schedule_is_discrete(schedule)) return schedule->table.steps;
    return schedule->card->time.kind == TIME_DISCRETE ? schedule->card->time.steps : 0;
}

void schedule_range(const struct schedule *schedule, double *least, double *most) {
    const struct card *card = schedule->card;
    bool edm = schedule_time_is_sigma(schedule);
    *most = edm ? card->schedule.sigma_max : 1;
    *least = edm ? card->schedule.sigma_min : schedule_is_discrete(schedule) ? 1.0 / schedule->table.steps : 0;
}

bool schedule_time_is_sigma(const struct schedule *schedule) {
    return schedule->card->schedule.kind == SCHEDULE_EDM;
}

bool schedule_is_flow(const struct schedule *schedule) {
    enum schedule_kind kind = schedule->card->schedule.kind;
    return kind == SCHEDULE_FLOW || kind == SCHEDULE_GVP;
}

int schedule_slope(const struct schedule *schedule, double t, double *alpha, double *sigma, struct error *err) {
    double a[2], s[2];
    if (schedule->kind->series(schedule, t, 1, a, s, err) != 0) return -1;
    *alpha = -a[1];
    *sigma = -s[1];
    return 0;
}

double schedule_initial_scale(const struct schedule *schedule, double t) {
    double alpha = schedule_alpha(schedule, t), sigma = schedule_sigma(schedule, t);
    switch (schedule->kind->scale) {
        case SCALE_SIGMA: return schedule_is_flow(schedule) ? schedule->card->schedule.noise_scale : sigma;
        case SCALE_NORM: return hypot(alpha, sigma);
        case SCALE_UNIT: break;
    }
    return 1;
}

double schedule_default_t_start(const struct schedule *schedule) {
    double least, most;
    schedule_range(schedule, &least, &most);
    return schedule->kind->t_start > 0 ? schedule->kind->t_start : most;
}

double schedule_default_t_end(const struct schedule *schedule) {
    double least, most;
    schedule_range(schedule, &least, &most);
    return least > 0 ? least : 1e-3;
}

double schedule_step(const struct schedule *schedule, enum clock_kind clock, double t, double s) {
    return clock == CLOCK_T ? t - s : schedule_logsnr(schedule, s) - schedule_logsnr(schedule, t);
}

static double c_noise(const struct schedule *schedule, double t) {
    double logsnr = schedule_logsnr(schedule, t);
    switch (schedule->card->prediction) {
        case PREDICTION_EDM_VP: return 999 * linear_inverse(0.1, 20, logsnr); /* EDM's beta_min, and beta_d = 19.9 */
        case PREDICTION_EDM_VE: return -logsnr - log(2);
        case PREDICTION_EDM_IDDPM: return round(t * schedule_steps(schedule) - 1);
        default: return -logsnr / 4;
    }
}

double schedule_model_time(const struct schedule *schedule, double t) {
    const struct card *card = schedule->card;
    switch (card->time.kind) {
        case TIME_CONTINUOUS: return (card->time.reversed ? 1 - t : t) * card->time.scale;
        case TIME_DISCRETE: {
            double index = t * card->time.steps - 1;
            return card->time.integer || fabs(index - round(index)) < 1e-9 ? round(index) : index;
        }
        case TIME_SIGMA: return schedule_sigma(schedule, t) / schedule_alpha(schedule, t);
        case TIME_LOG_SIGMA: return -schedule_logsnr(schedule, t);
        case TIME_C_NOISE: return c_noise(schedule, t);
    }
    return t;
}

int schedule_series(const struct schedule *schedule, enum clock_kind clock, double t, int order, double *alpha,
                    double *sigma, struct error *err) {
    if (clock == CLOCK_T) return schedule->kind->series(schedule, t, order, alpha, sigma, err);
    return schedule->kind->logsnr_series(schedule, t, order, alpha, sigma, err);
}

double schedule_radius(const struct schedule *schedule, enum clock_kind clock, double t) {
    if (clock == CLOCK_T) return schedule->kind->radius(schedule, t);
    return schedule->kind->logsnr_radius(schedule, t);
}
