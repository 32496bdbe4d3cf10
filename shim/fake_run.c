/* What a fake network answers, and how it misbehaves where its file asks for that (fake_inside.h). */
#include "fake_inside.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static atomic_long calls; /* of diffusion models, in this process */

/* The schedule's time where the noise level sigma/alpha is s. */
static double time_of_noise(const struct shim_model *model, double s) {
    return schedule_time(model->schedule, -log(s));
}

/* The schedule's time of the number the model is given: the inverse of schedule_model_time. */
static double schedule_time_of(const struct shim_model *model, double time) {
    const struct card *card = &model->card;
    switch (card->time.kind) {
        case TIME_CONTINUOUS: return card->time.reversed ? 1 - time / card->time.scale : time / card->time.scale;
        case TIME_DISCRETE: return (time + 1) / card->time.steps;
        case TIME_SIGMA: return time_of_noise(model, time);
        case TIME_LOG_SIGMA: return time_of_noise(model, exp(time));
        case TIME_C_NOISE: break;
    }
    double u = time / 999; /* Karras et al. 2022, table 1: for VP the time in its linear schedule, s^2 = e^B - 1 */
    switch (card->prediction) {
        case PREDICTION_EDM_VP: return time_of_noise(model, sqrt(expm1(u * (0.1 + 19.9 * u / 2))));
        case PREDICTION_EDM_VE: return time_of_noise(model, 2 * exp(time));
        case PREDICTION_EDM_IDDPM: return (time + 1) / schedule_steps(model->schedule);
        default: return time_of_noise(model, exp(4 * time));
    }
}

/* What the network is given is scale * x, where x = alpha x0 + sigma epsilon: EDM's c_in, of x/alpha. */
static double input_scale(const struct card *card, double alpha, double sigma) {
    double s = sigma / alpha;
    switch (card->prediction) {
        case PREDICTION_EDM: return 1 / (alpha * hypot(s, card->sigma_data));
        case PREDICTION_EDM_VP:
        case PREDICTION_EDM_IDDPM: return 1 / (alpha * hypot(s, 1));
        case PREDICTION_EDM_VE: return 1 / alpha;
        default: return 1;
    }
}

/* The network's output for one element. EDM's F, from x0 = c_skip x/alpha + c_out F and x0 = x/alpha - s epsilon,
 * is written so that nothing cancels at small s. */
static double predict(const struct shim_model *model, double t, double x, double x0, double epsilon) {
    const struct card *card = &model->card;
    double alpha = schedule_alpha(model->schedule, t), sigma = schedule_sigma(model->schedule, t), d_alpha, d_sigma;
    double s = sigma / alpha, data = card->sigma_data, total = hypot(s, data);
    switch (card->prediction) {
        case PREDICTION_EPSILON:
        case PREDICTION_EDM_VP:
        case PREDICTION_EDM_IDDPM: return epsilon;
        case PREDICTION_X0: return x0;
        case PREDICTION_V: return (alpha * epsilon - sigma * x0) / hypot(alpha, sigma);
        case PREDICTION_SCORE: return -epsilon / sigma;
        case PREDICTION_VELOCITY: {
            struct error ignored;
            if (schedule_slope(model->schedule, t, &d_alpha, &d_sigma, &ignored) != 0) return NAN;
            return (card->time.reversed ? -1 : 1) * (d_alpha * x0 + d_sigma * epsilon);
        }
        case PREDICTION_EDM: return (s / total * (x / alpha) - total * epsilon) / data;
        case PREDICTION_EDM_VE: return -epsilon;
    }
    return NAN;
}

static double distance2(const double *x, double alpha, const double *mean, size_t elements) {
    double sum = 0;
    for (size_t i = 0; i < elements; i++) sum += (x[i] - alpha * mean[i]) * (x[i] - alpha * mean[i]);
    return sum;
}

/* x0 = E[x0 | x] and epsilon = E[epsilon | x] under components first to last. Under one component x has mean alpha mu
 * and variance v = alpha^2 std^2 + sigma^2, so that they are mu + alpha std^2/v (x - alpha mu) and
 * sigma/v (x - alpha mu); components are weighted by their posterior probability. */
static void posterior(const struct shim_model *model, const double *x, double alpha, double sigma, size_t first,
                      size_t last, double *x0, double *epsilon) {
    size_t elements = model->elements;
    double v = alpha * alpha * model->std * model->std + sigma * sigma, largest = -INFINITY, total = 0;
    double log_weight[model->components];
    for (size_t k = first; k <= last; k++) {
        double prior = first == last ? 1 : model->weights[k];
        log_weight[k] = log(prior) - distance2(x, alpha, model->means + k * elements, elements) / (2 * v);
        largest = fmax(largest, log_weight[k]);
    }
    memset(x0, 0, elements * sizeof *x0);
    memset(epsilon, 0, elements * sizeof *epsilon);
    for (size_t k = first; k <= last; k++) total += exp(log_weight[k] - largest);
    for (size_t k = first; k <= last; k++) {
        const double *mean = model->means + k * elements;
        double weight = exp(log_weight[k] - largest) / total;
        for (size_t i = 0; i < elements; i++) {
            double offset = (x[i] - alpha * mean[i]) / v;
            x0[i] += weight * (mean[i] + alpha * model->std * model->std * offset);
            epsilon[i] += weight * sigma * offset;
        }
    }
}

static bool hits(long wanted, long call) {
    return wanted == -1 || wanted == call;
}

void fake_delay(const struct shim_model *model) {
    struct timespec wait = {model->delay_ms / 1000, model->delay_ms % 1000 * 1000000};
    if (model->delay_ms > 0) nanosleep(&wait, NULL);
}

/* The delay and the misbehaviour asked for. *nan: this call returns NaN. */
static int misbehave(const struct shim_model *model, bool *nan, char *error) {
    long call = atomic_fetch_add(&calls, 1) + 1;
    fake_delay(model);
    if (hits(model->crash_call, call)) raise(SIGKILL);
    *nan = hits(model->nan_call, call);
    return hits(model->fail_call, call) ? fake_fail(error, "the model fails in call %ld, as its file asks", call) : 0;
}

/* What is asked for the sample in this row: "nan", ...; NULL: nothing. */
static const char *poison(const struct shim_condition *condition, size_t row) {
    const char *asked = getenv("QTAYLOR_FAKE_POISON"), *does = asked ? strchr(asked, ':') : NULL;
    return does && condition->labels && condition->labels[row] == strtol(asked, NULL, 10) ? does + 1 : NULL;
}

static int act_on_poison(const char *does, char *error) {
    static volatile int *nowhere;
    if (strcmp(does, "segv") == 0) *nowhere = 1;
    if (strcmp(does, "abort") == 0) abort();
    if (strcmp(does, "kill") == 0) raise(SIGKILL);
    return strcmp(does, "fail") == 0 ? fake_fail(error, "the model does not like a sample, as it was asked") : 0;
}

double fake_entry(uint64_t seed, uint64_t row, uint64_t column) {
    uint64_t z = seed * 0x9E3779B97F4A7C15u + row * 0xBF58476D1CE4E5B9u + column * 0x94D049BB133111EBu;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

void fake_disturb(struct shim_model *model, double time, float *out, size_t rows, size_t size) {
    long call = atomic_fetch_add(&model->used, 1) + 1;
    if (time < model->disturb_times[0] || time > model->disturb_times[1]) return;
    for (size_t i = 0; i < size; i++) {
        double mean = 0;
        for (size_t row = 0; row < rows; row++) mean += out[row * size + i] / (double)rows;
        for (size_t row = 0; row < rows; row++) {
            float *value = &out[row * size + i];
            if (model->disturb_row >= 0 && (size_t)model->disturb_row != row) continue;
            if (model->mixing != 0) *value = (float)(*value + model->mixing * mean);
            if (model->drift != 0) *value = (float)(*value * (1 + (double)call * model->drift));
            if (fake_entry((uint64_t)call, row, i) < 2 * model->dropout - 1) *value = 0;
        }
    }
}

/* By how much a row's inputs move the whole mixture: the sum over inputs of the mean of its values, input k times k
 * + 1.
 */
static double moved(const struct shim_condition *condition, size_t row) {
    double sum = 0;
    for (int k = 0; k < condition->inputs_count; k++) {
        const struct shim_input *input = &condition->inputs[k];
        size_t count = 1;
        double mean = 0;
        for (int i = 0; i < input->rank; i++) count *= (size_t)input->shape[i];
        for (size_t i = row * count; i < (row + 1) * count; i++)
            mean += input->type == SHIM_FLOAT32 ? (double)((const float *)input->values)[i]
                    : input->type == SHIM_INT64 ? (double)((const int64_t *)input->values)[i]
                                                : (double)((const char *)input->values)[i];
        sum += (k + 1) * mean / (double)count;
    }
    return sum;
}

int shim_model_run(struct shim_model *model, const float *x, struct shim_shape shape,
                   const struct shim_condition *condition, float *out, float *variance, char *error) {
    size_t elements = (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width;
    bool nan;
    if (model->is_features || model->is_decoder) return fake_fail(error, "this is no diffusion model");
    if (elements != model->elements)
        return fake_fail(error, "the model takes %zu elements a sample, not %zu", model->elements, elements);
    int channels = shape.channels * (model->card.learned_variance ? 2 : 1);
    if (condition->channels > 0 && condition->channels != channels)
        return fake_fail(error, "the model's output has %d channels, expected %d, half of them variance", channels,
                         condition->channels);
    if (variance && !model->card.learned_variance) return fake_fail(error, "the model predicts no variance");
    if (misbehave(model, &nan, error) != 0) return -1;
    for (size_t row = 0; row < (size_t)shape.batch; row++)
        if (poison(condition, row) && act_on_poison(poison(condition, row), error) != 0) return -1;
    double t = schedule_time_of(model, condition->time), x_t[elements], x0[elements], epsilon[elements];
    double alpha = schedule_alpha(model->schedule, t), sigma = schedule_sigma(model->schedule, t);
    double scale = input_scale(&model->card, alpha, sigma);
    for (size_t row = 0; row < (size_t)shape.batch; row++) {
        int64_t label = condition->labels ? condition->labels[row] : -1;
        bool bad = nan || (poison(condition, row) && strcmp(poison(condition, row), "nan") == 0) ||
                   (label >= 0 && label == model->nan_label) ||
                   (condition->time >= model->nan_times[0] && condition->time <= model->nan_times[1]);
        bool one = label >= 0 && (size_t)label < model->components;
        size_t first = one ? (size_t)label : 0, last = one ? first : model->components - 1;
        double move = moved(condition, row);
        for (size_t i = 0; i < elements; i++) x_t[i] = x[row * elements + i] / scale - alpha * move;
        posterior(model, x_t, alpha, sigma, first, last, x0, epsilon);
        for (size_t i = 0; i < elements; i++) x_t[i] += alpha * move, x0[i] += move;
        for (size_t i = 0; i < elements; i++) {
            double output = predict(model, t, x_t[i], x0[i], epsilon[i]);
            out[row * elements + i] = bad ? NAN : (float)output;
            if (variance)
                variance[row * elements + i] = (float)cos((double)i + condition->time +
                                                          (double)(condition->labels ? label : 0));
        }
    }
    fake_disturb(model, condition->time, out, (size_t)shape.batch, elements);
    return 0;
}

static double feature(const struct shim_model *model, const void *images, int is_uint8, size_t elements, size_t row,
                      size_t d) {
    const uint8_t *bytes = images;
    const float *floats = images;
    double sum = 0;
    for (size_t i = 0; i < elements; i++) {
        size_t at = row * elements + i;
        double coefficient = model->has_matrix ? fake_entry(model->matrix, d, i) : (double)(i == d);
        sum += coefficient * (is_uint8 ? bytes[at] : floats[at]);
    }
    return sum;
}

int shim_features_run(struct shim_model *model, const void *images, int is_uint8, struct shim_shape shape,
                      const struct shim_output *outputs, int count, char *error) {
    size_t elements = (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width, before = 0;
    if (!model->is_features) return fake_fail(error, "a diffusion model is no feature network");
    if (model->fail_from > 0 && atomic_load(&model->used) + 1 >= model->fail_from)
        return fake_fail(error, "the feature network fails from call %ld on, as its file asks", model->fail_from);
    for (int k = 0; k < count; k++) {
        size_t dim = (size_t)outputs[k].dim;
        if (!model->has_matrix && dim != elements)
            return fake_fail(error, "the identity has %zu outputs, not %zu", elements, dim);
        for (size_t i = 0; outputs[k].values && i < (size_t)shape.batch * dim; i++)
            outputs[k].values[i] = (float)feature(model, images, is_uint8, elements, i / dim, before + i % dim);
        if (outputs[k].values) fake_disturb(model, 0, outputs[k].values, (size_t)shape.batch, dim);
        if (model->has_matrix) before += dim;
    }
    return 0;
}
