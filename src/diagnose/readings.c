/* What a network's output is, tried on images: epsilon, x0, v, velocity. */
#include "diagnose/readings.h"

#include "format/json_file.h"
#include "sample/conditions.h"
#include "sample/noise.h"
#include "solver/builder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TIMES = 10, BATCH = 32, READINGS_MOST = 18 };
static const double LOGSNR_MOST = 3; /* beyond, x0 is next to known, or next to nothing is known of it */

struct reading {
    struct card card; /* the network's, but for prediction and direction; borrows from it */
    struct schedule *schedule;
    bool own;                   /* what the card says */
    double errors[TIMES], mean; /* of x0: sums of squares at first, then root mean squares */
};

struct call { /* of the network: readings that ask it the same share the answer */
    double time, input;
    float *out;
};

struct trial {
    const struct readings_asked *asked;
    size_t elements, batch;
    double times[TIMES];
    int times_count;
    struct reading readings[READINGS_MOST];
    int count;
    struct call calls[READINGS_MOST];
    int calls_count; /* at this time and batch */
    double *x;       /* [batch][elements] */
    float *input, *variance;
    int64_t *labels;             /* [batch], or NULL: the model takes none */
    double pixelwise[TIMES + 1]; /* and their mean */
};

/* ---- the readings ---- */

static int add_reading(struct trial *trial, enum prediction prediction, bool reversed, struct error *err) {
    const struct card *card = trial->asked->card;
    struct reading *reading = &trial->readings[trial->count++];
    reading->card = *card;
    reading->card.prediction = prediction;
    reading->card.time.reversed = reversed;
    reading->own = prediction == card->prediction && reversed == card->time.reversed;
    return schedule_new(&reading->schedule, &reading->card, err);
}

/* Those of plain networks, in both directions where there is a time to turn; of EDM's preconditionings where the card
 * says one. */
static int make_readings(struct trial *trial, struct error *err) {
    const struct card *card = trial->asked->card;
    bool edm = card->prediction >= PREDICTION_EDM, turns = card->time.kind == TIME_CONTINUOUS;
    for (int prediction = PREDICTION_EPSILON; prediction <= PREDICTION_EDM_IDDPM; prediction++) {
        if (prediction >= PREDICTION_EDM && !edm) continue;
        if (prediction == PREDICTION_EDM_IDDPM && card->prediction != PREDICTION_EDM_IDDPM) continue;
        for (int reversed = 0; reversed <= turns; reversed++)
            if (add_reading(trial, (enum prediction)prediction, reversed, err) != 0) return -1;
    }
    return 0;
}

static void make_times(struct trial *trial) {
    const struct schedule *schedule = trial->readings[0].schedule;
    int trained = schedule_has_integer_times(schedule) ? schedule_steps(schedule) : 0;
    double low = fmax(schedule_logsnr(schedule, schedule_default_t_start(schedule)), -LOGSNR_MOST);
    double high = fmin(schedule_logsnr(schedule, schedule_default_t_end(schedule)), LOGSNR_MOST);
    for (int i = 0; i < TIMES; i++) {
        double t = schedule_time(schedule, low + (high - low) * i / (TIMES - 1));
        if (trained) t = fmax(round(t * trained), 1) / trained;
        if (trial->times_count == 0 || t < trial->times[trial->times_count - 1]) trial->times[trial->times_count++] = t;
    }
}

/* ---- one batch at one time ---- */

static int ask(struct trial *trial, double time, double input, const float **out, struct error *err) {
    const struct card *card = trial->asked->card;
    char message[SHIM_ERROR];
    for (int i = 0; i < trial->calls_count; i++) {
        *out = trial->calls[i].out;
        if (trial->calls[i].time == time && trial->calls[i].input == input) return 0;
    }
    struct call *call = &trial->calls[trial->calls_count++];
    call->time = time;
    call->input = input;
    for (size_t i = 0; i < trial->batch * trial->elements; i++) trial->input[i] = (float)(input * trial->x[i]);
    struct shim_shape shape = {(int)trial->batch, card->channels, card->height, card->width};
    struct shim_condition condition = condition_at(card, time);
    condition.labels = trial->labels;
    *out = call->out;
    if (shim_model_run(trial->asked->model, trial->input, shape, &condition, call->out, trial->variance, message) == 0)
        return 0;
    return error_set(err, CODE_DATA, "the network failed (does its card describe it?): %s", message);
}

/* Noise of image i at time number k: stream k of seed i. */
static void add_noise(struct trial *trial, size_t first, size_t rows, int k) {
    size_t size = trial->elements;
    const struct schedule *schedule = trial->readings[0].schedule;
    double alpha = schedule_alpha(schedule, trial->times[k]), sigma = schedule_sigma(schedule, trial->times[k]);
    for (size_t row = 0; row < trial->batch; row++) {
        size_t image = first + (row < rows ? row : rows - 1); /* a last batch is filled up with its last row */
        const float *x0 = trial->asked->images + image * size;
        double *x = trial->x + row * size;
        noise_normals(image, (uint32_t)k, size, x);
        for (size_t i = 0; i < size; i++) x[i] = alpha * (double)x0[i] + sigma * x[i];
        if (trial->labels && trial->asked->card->null_label < 0)
            trial->labels[row] = (int64_t)image % trial->asked->card->classes;
    }
}

static int try_batch(struct trial *trial, size_t first, size_t rows, int k, struct error *err) {
    const float *x0 = trial->asked->images + first * trial->elements, *out;
    add_noise(trial, first, rows, k);
    trial->calls_count = 0;
    for (int r = 0; r < trial->count; r++) {
        struct reading *reading = &trial->readings[r];
        struct meaning meaning = meaning_at(reading->schedule, &reading->card, trial->times[k]);
        double time = schedule_model_time(reading->schedule, trial->times[k]);
        if (ask(trial, time, meaning.input, &out, err) != 0) return -1;
        for (size_t i = 0; i < rows * trial->elements; i++) {
            double miss = meaning.x0_x * trial->x[i] + meaning.x0_out * (double)out[i] - (double)x0[i];
            reading->errors[k] += miss * miss;
        }
    }
    return 0;
}

/* ---- all of it ---- */

/* The geometric mean; infinite where one is not finite. */
static double mean_of(const double *values, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) {
        if (!isfinite(values[i])) return INFINITY;
        sum += log(fmax(values[i], 1e-12)) / count;
    }
    return exp(sum);
}

/* Least squares of every element from itself, given its mean and variance over the images. */
static void measure_pixelwise(struct trial *trial) {
    const struct readings_asked *asked = trial->asked;
    const struct schedule *schedule = trial->readings[0].schedule;
    size_t size = trial->elements;
    for (size_t i = 0; i < size; i++) {
        double sum = 0, squares = 0, n = (double)asked->count;
        for (size_t image = 0; image < asked->count; image++) sum += (double)asked->images[image * size + i] / n;
        for (size_t image = 0; image < asked->count; image++)
            squares += pow((double)asked->images[image * size + i] - sum, 2) / (n - 1);
        for (int k = 0; k < trial->times_count; k++) {
            double alpha = schedule_alpha(schedule, trial->times[k]), sigma = schedule_sigma(schedule, trial->times[k]);
            trial->pixelwise[k] += squares * sigma * sigma / (alpha * alpha * squares + sigma * sigma) / (double)size;
        }
    }
    for (int k = 0; k < trial->times_count; k++) trial->pixelwise[k] = sqrt(trial->pixelwise[k]);
    trial->pixelwise[TIMES] = mean_of(trial->pixelwise, trial->times_count);
}

static int prepare(struct trial *trial, struct error *err) {
    const struct card *card = trial->asked->card;
    trial->elements = card_elements(card);
    trial->batch = card->batch > 0 ? (size_t)card->batch : trial->asked->count < BATCH ? trial->asked->count : BATCH;
    size_t numbers = trial->batch * trial->elements;
    if (make_readings(trial, err) != 0) return -1;
    make_times(trial);
    bool there = (trial->x = malloc(numbers * sizeof *trial->x)) && (trial->input = malloc(numbers * sizeof(float)));
    for (int i = 0; there && i < trial->count; i++)
        there = (trial->calls[i].out = malloc(numbers * sizeof(float))) != NULL;
    if (there && card->learned_variance) there = (trial->variance = malloc(numbers * sizeof(float))) != NULL;
    if (there && card->classes > 0) there = (trial->labels = malloc(trial->batch * sizeof *trial->labels)) != NULL;
    if (!there) return error_memory(err);
    for (size_t i = 0; trial->labels && i < trial->batch; i++) trial->labels[i] = card->null_label;
    return 0;
}

static int by_mean(const void *a, const void *b) {
    double x = (*(const struct reading *const *)a)->mean, y = (*(const struct reading *const *)b)->mean;
    return (x > y) - (x < y);
}

static int describe(json_t **found, struct trial *trial, struct error *err) {
    const struct schedule *schedule = trial->readings[0].schedule;
    json_t *times = json_array(), *readings = json_array(); /* json_pack below is NULL where one of them is */
    const struct reading *sorted[READINGS_MOST];
    bool turns = trial->asked->card->time.kind == TIME_CONTINUOUS;
    for (int r = 0; r < trial->count; r++) sorted[r] = &trial->readings[r];
    qsort(sorted, (size_t)trial->count, sizeof *sorted, by_mean);
    for (int k = 0; k < trial->times_count; k++)
        json_list_add(&times, json_pack("{s:f, s:f, s:f}", "t", trial->times[k], "logsnr",
                                        schedule_logsnr(schedule, trial->times[k]), "pixelwise", trial->pixelwise[k]));
    for (int r = 0; r < trial->count; r++) {
        const struct reading *reading = sorted[r];
        json_t *errors = json_array();
        for (int k = 0; k < trial->times_count; k++) json_list_add(&errors, json_finite(reading->errors[k]));
        json_list_add(&readings,
                      json_pack("{s:s, s:o, s:b, s:o, s:o}", "prediction", prediction_names[reading->card.prediction],
                                "noise_at", turns ? json_integer(!reading->card.time.reversed) : json_null(), "card",
                                reading->own, "rmse", errors, "mean", json_finite(reading->mean)));
    }
    *found = json_pack("{s:I, s:o, s:o, s:f}", "images", (json_int_t)trial->asked->count, "times", times, "readings",
                       readings, "pixelwise", trial->pixelwise[TIMES]);
    return *found ? 0 : error_memory(err);
}

static int measure(struct trial *trial, struct error *err) {
    size_t count = trial->asked->count;
    for (int k = 0; k < trial->times_count; k++)
        for (size_t first = 0; first < count; first += trial->batch) {
            size_t left = count - first;
            if (try_batch(trial, first, left < trial->batch ? left : trial->batch, k, err) != 0) return -1;
        }
    for (int r = 0; r < trial->count; r++) {
        struct reading *reading = &trial->readings[r];
        for (int k = 0; k < trial->times_count; k++)
            reading->errors[k] = sqrt(reading->errors[k] / (double)(count * trial->elements));
        reading->mean = mean_of(reading->errors, trial->times_count);
    }
    measure_pixelwise(trial);
    return 0;
}

int readings_measure(json_t **found, const struct readings_asked *asked, struct error *err) {
    struct trial *trial = calloc(1, sizeof *trial);
    *found = NULL;
    if (!trial) return error_memory(err);
    trial->asked = asked;
    int rc = prepare(trial, err);
    if (rc == 0) rc = measure(trial, err);
    if (rc == 0) rc = describe(found, trial, err);
    for (int r = 0; r < trial->count; r++) schedule_free(trial->readings[r].schedule);
    for (int i = 0; i < READINGS_MOST; i++) free(trial->calls[i].out);
    free(trial->x);
    free(trial->input);
    free(trial->variance);
    free(trial->labels);
    free(trial);
    return rc;
}
