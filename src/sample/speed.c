/* How fast a network is: model calls through the shim and nothing else. */
#include "sample/speed.h"

#include "base/clock.h"
#include "base/log.h"
#include "sample/conditions.h"
#include "sample/noise.h"
#include "solver/schedule.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { ROUNDS = 2 };               /* of which the faster counts: other work may be in the way */
static const double SECONDS = 0.3; /* a speed is measured for, at least, each round */
static const double LEVEL = 0.97;  /* of the best speed is as good */

struct buffers { /* of one worker */
    float *x, *out;
    int64_t *labels;
    struct condition_values values;
};

static int buffers_new(struct buffers *buffers, const struct card *card, size_t batch, struct error *err) {
    size_t elements = card_elements(card);
    double *normals = malloc(elements * sizeof *normals);
    *buffers = (struct buffers){.x = malloc(batch * elements * sizeof(float)),
                                .out = malloc(batch * elements * sizeof(float)),
                                .labels = calloc(batch, sizeof(int64_t))};
    bool whole = normals && buffers->x && buffers->out && buffers->labels;
    for (size_t row = 0; whole && row < batch; row++) {
        noise_normals(row, NOISE_STREAM_INITIAL, elements, normals);
        for (size_t i = 0; i < elements; i++) buffers->x[row * elements + i] = (float)normals[i];
        if (card->classes > 0) buffers->labels[row] = (int64_t)row % card->classes;
    }
    free(normals);
    return whole ? condition_values_new(&buffers->values, card, batch, err) : error_memory(err);
}

static void buffers_free(struct buffers *buffers) {
    free(buffers->x);
    free(buffers->out);
    free(buffers->labels);
    condition_values_release(&buffers->values);
}

static int call_network(const struct speed_trial *trial, size_t batch, struct buffers *buffers, struct error *err) {
    const struct card *card = trial->card;
    char message[SHIM_ERROR];
    struct shim_shape shape = {(int)batch, card->channels, card->height, card->width};
    struct shim_input inputs[INPUTS_MOST];
    struct shim_condition condition = condition_at(card, trial->time);
    if (card->classes > 0) condition.labels = buffers->labels;
    condition.inputs = inputs;
    condition.inputs_count = condition_inputs(card, &buffers->values, inputs);
    if (shim_model_run(trial->model, buffers->x, shape, &condition, buffers->out, NULL, message) == 0) return 0;
    return error_set(err, CODE_DATA, "a batch of %zu failed: model: %s", batch, message);
}

/* One worker's rows/s: a first call for nothing, then all workers begin together. */
static int worker_rate(const struct speed_trial *trial, size_t batch, double *rate, struct error *err) {
    struct buffers buffers;
    char message[SHIM_ERROR];
    size_t calls = 0;
    int rc = buffers_new(&buffers, trial->card, batch, err);
    if (rc == 0 && shim_thread_start(trial->device, message) != 0) rc = error_set(err, CODE_INTERNAL, "%s", message);
    if (rc == 0) rc = call_network(trial, batch, &buffers, err);
#pragma omp barrier
    double start = clock_seconds(), took = 0;
    while (rc == 0 && took < SECONDS) {
        rc = call_network(trial, batch, &buffers, err);
        took = clock_seconds() - start;
        calls++;
    }
    *rate = rc == 0 ? (double)(batch * calls) / took : 0;
    buffers_free(&buffers);
    return rc;
}

/* Rows/s of all workers together. */
static double rate_together(const struct speed_trial *trial, size_t batch, int workers, struct error *failure) {
    double sum = 0;
#pragma omp parallel num_threads(workers) reduction(+ : sum)
    {
        struct error one = {.code = CODE_OK};
        double rate;
        if (worker_rate(trial, batch, &rate, &one) == 0) sum += rate;
#pragma omp critical(speed_failure)
        if (one.code != CODE_OK) *failure = one;
    }
    return sum;
}

static int measure_one(json_t *speeds, const struct speed_trial *trial, size_t batch, int workers, struct error *err) {
    struct error failure = {.code = CODE_OK};
    struct rusage usage;
    double best = 0;
    for (int round = 0; round < ROUNDS && failure.code == CODE_OK; round++)
        best = fmax(best, rate_together(trial, batch, workers, &failure));
    if (failure.code != CODE_OK) {
        *err = failure;
        return -1;
    }
    getrusage(RUSAGE_SELF, &usage);
    json_t *speed = json_pack("{s:I, s:i, s:f, s:I}", "batch", (json_int_t)batch, "workers", workers, "rows_per_second",
                              best, "peak_bytes", (json_int_t)usage.ru_maxrss * 1024);
    return speed && json_array_append_new(speeds, speed) == 0 ? 0 : error_memory(err);
}

double speed_rate(const json_t *speed) {
    return json_number_value(json_object_get(speed, "rows_per_second"));
}

bool speed_beats(double rate, double other) {
    return rate * LEVEL > other;
}

static double best_of(const json_t *speeds) {
    double best = 0;
    size_t i;
    json_t *speed;
    json_array_foreach(speeds, i, speed) best = fmax(best, speed_rate(speed));
    return best;
}

int speed_measure(json_t *speeds, const struct speed_trial *trial, struct speed_range range, struct error *err) {
    int step = range.most > range.fewest ? range.most - range.fewest : 1, idle = 0;
    for (size_t batch = range.first; batch <= range.last && idle < 2; batch *= 2) {
        double before = best_of(speeds);
        for (int workers = range.fewest; workers <= range.most; workers += step) {
            if (measure_one(speeds, trial, batch, workers, err) == 0) continue;
            if (batch == range.first || err->code != CODE_DATA) return -1;
            log_warn("%s: larger batches are not tried", err->message);
            return 0;
        }
        idle = speed_beats(best_of(speeds), before) ? 0 : idle + 1;
    }
    return 0;
}

const json_t *speed_recommended(const json_t *speeds) {
    double enough = LEVEL * best_of(speeds);
    size_t i = 0;
    while (i + 1 < json_array_size(speeds) && speed_rate(json_array_get(speeds, i)) < enough) i++;
    return json_array_get(speeds, i);
}

int speed_middle(struct speed_trial *trial, struct error *err) {
    struct schedule *schedule;
    if (schedule_new(&schedule, trial->card, err) != 0) return -1;
    double t = (schedule_default_t_start(schedule) + schedule_default_t_end(schedule)) / 2;
    int trained = schedule_has_integer_times(schedule) ? schedule_steps(schedule) : 0;
    trial->time = schedule_model_time(schedule, trained ? ceil(t * trained) / trained : t);
    schedule_free(schedule);
    return 0;
}
