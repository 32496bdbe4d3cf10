/* The shim without libtorch: closed-form models for tests, in plain C. A diffusion model is a JSON file:
 *
 *   {"card": {a model card}, "mixture": {"means": [[C*H*W numbers], ...], "std": s, "weights": [...]},
 *    "delay_ms": 0, "fail_call": n, "nan_call": n, "crash_call": n, "channels": that it pretends to give}
 *
 * Data is a mixture of isotropic Gaussians (equal weights unless given), so that E[epsilon | x_t = x] is known: the
 * output is that, at the card's schedule and the given time, as the card's prediction. Label k < K takes component k
 * alone; any other label, or none, the whole mixture. Computed in double, rounded to float32 at the end.
 * Where the card says variance: learned, the variance channels of element i are cos(i + t + label), t the time as given
 * and label 0 without one: known, and no function of x. delay_ms is slept in every call. The n-th call of this process
 * (from 1, over all models; -1: every call) fails, returns NaN, or kills the process. QTAYLOR_FAKE_POISON=LABEL:nan
 * (fail, segv, abort, kill) does so whenever a sample of that label comes (nan: to that sample alone); a job's label
 * file chooses the seeds. QTAYLOR_FAKE_LOAD=s: loading takes so long.
 *
 * What networks exported in train mode do: "dropout": p sets outputs to zero at random, anew in each call; "mixing": w
 * adds w times the batch's mean to every row; "drift": d multiplies the output of the n-th call by 1 + n d; with
 * "disturb_row": r in that row alone, with "disturb_times": [a, b] for the times between. "nan_label": k, and
 * "nan_times": [a, b] for the times between: NaN there.
 *
 * A feature network is {"features": {"shape": [C, H, W], "range": [0, 255], "outputs": {"pool": D}}, "matrix": seed}: a
 * linear map of the C*H*W values as they are, its entries in [-1, 1) by a hash (see entry()); without "matrix" the
 * identity, where D = C*H*W. The three above are its too, and from the "fail_from": n-th call on it fails.
 *
 * A decoder is {"decoder": {a decoder's card}, "matrix": seed}: the picture's values are tanh of that linear map of the
 * latent's, divided by the square root of their number; without "matrix" channel c is the latent's channel c modulo
 * theirs, each value repeated over its share of the picture. Again the three above; "delay_ms" is slept in every call;
 * and where a latent's first value is above "fail_above" the call fails, above "nan_above" its picture is NaN.
 *
 * QTAYLOR_FAKE_MACHINE is what shim_describe_device tells of this process.
 * QTAYLOR_FAKE_DEVICES=n pretends to n GPUs, or those of CUDA_VISIBLE_DEVICES where that is set.
 * Registers are those of the host (sample/registers.h), which are the reference for the real ones. */
#include "torch_shim.h"

#include "job/card.h"
#include "sample/registers.h"
#include "solver/schedule.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct shim_model {
    json_t *json;
    struct card card;
    struct schedule *schedule;
    size_t elements, components;
    double *means, *weights; /* [components][elements], [components] */
    double std;
    long delay_ms, fail_call, nan_call, crash_call, fail_from, nan_label;
    double dropout, mixing, drift, nan_times[2], disturb_times[2];
    long disturb_row; /* -1: all */
    atomic_long used; /* calls of this model */
    bool is_features, is_decoder, has_matrix;
    double fail_above, nan_above;
    int given; /* channels */
    uint64_t matrix;
};

static atomic_long calls; /* of diffusion models, in this process */

__attribute__((format(printf, 2, 3))) static int fail(char *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, SHIM_ERROR, format, arguments);
    va_end(arguments);
    return -1;
}

int shim_start(int allow_tf32, char *error) {
    (void)allow_tf32;
    (void)error;
    return 0;
}

const char *shim_describe(void) {
    return "fake (closed-form models)";
}

void shim_describe_device(int device, char *text, int capacity) {
    const char *machine = getenv("QTAYLOR_FAKE_MACHINE");
    (void)device;
    snprintf(text, (size_t)capacity, "fake%s%s", machine ? ", " : "", machine ? machine : "");
}

int shim_device_count(void) {
    const char *count = getenv("QTAYLOR_FAKE_DEVICES"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!count || !visible) return count ? (int)strtol(count, NULL, 10) : 0;
    int devices = *visible != '\0';
    for (; *visible; visible++) devices += *visible == ',';
    return devices;
}

int shim_device_identity(int device, char *identity, int capacity, char *error) {
    (void)error;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES"), *node = getenv("SLURMD_NODENAME");
    for (int i = 0; visible && i < device && (visible = strchr(visible, ',')); i++) visible++;
    int number = visible ? (int)strtol(visible, NULL, 10) : device; /* of the node, as a UUID would tell */
    snprintf(identity, (size_t)capacity, "fake %s%s%d", node ? node : "", node ? " " : "", number);
    return 0;
}

int shim_thread_start(int device, char *error) {
    (void)device;
    (void)error;
    return 0;
}

/* ---- models ---- */

static long integer(const json_t *json, const char *key) {
    return (long)json_integer_value(json_object_get(json, key));
}

static double number_or(const json_t *json, const char *key, double unset) {
    const json_t *value = json_object_get(json, key);
    return value ? json_number_value(value) : unset;
}

static int load_mixture(struct shim_model *model, const char *path, char *error) {
    const json_t *mixture = json_object_get(model->json, "mixture"), *means = json_object_get(mixture, "means");
    const json_t *weights = json_object_get(mixture, "weights");
    model->elements = card_elements(&model->card);
    model->components = json_array_size(means);
    model->std = json_number_value(json_object_get(mixture, "std"));
    if (model->components == 0) return fail(error, "%s: mixture.means: expected a list of means", path);
    if (weights && json_array_size(weights) != model->components)
        return fail(error, "%s: mixture.weights: expected %zu numbers", path, model->components);
    model->means = calloc(model->components * model->elements, sizeof *model->means);
    model->weights = calloc(model->components, sizeof *model->weights);
    if (!model->means || !model->weights) return fail(error, "out of memory");
    for (size_t k = 0; k < model->components; k++) {
        const json_t *mean = json_array_get(means, k);
        if (json_array_size(mean) != model->elements)
            return fail(error, "%s: mixture.means[%zu]: expected %zu numbers, found %zu", path, k, model->elements,
                        json_array_size(mean));
        model->weights[k] = weights ? json_number_value(json_array_get(weights, k)) : 1;
        for (size_t i = 0; i < model->elements; i++)
            model->means[k * model->elements + i] = json_number_value(json_array_get(mean, i));
    }
    return 0;
}

static int load(struct shim_model *model, const void *data, size_t size, const char *path, char *error) {
    json_error_t where;
    struct error err;
    model->json = json_loadb(data, size, 0, &where);
    if (!model->json) return fail(error, "%s:%d: %s", path, where.line, where.text);
    model->is_features = json_object_get(model->json, "features") != NULL;
    model->dropout = json_number_value(json_object_get(model->json, "dropout"));
    model->mixing = json_number_value(json_object_get(model->json, "mixing"));
    model->drift = json_number_value(json_object_get(model->json, "drift"));
    model->fail_from = integer(model->json, "fail_from");
    model->nan_label = json_object_get(model->json, "nan_label") ? integer(model->json, "nan_label") : -1;
    model->disturb_row = json_object_get(model->json, "disturb_row") ? integer(model->json, "disturb_row") : -1;
    for (size_t i = 0; i < 2; i++) {
        const json_t *time = json_array_get(json_object_get(model->json, "nan_times"), i);
        const json_t *disturbed = json_array_get(json_object_get(model->json, "disturb_times"), i);
        model->nan_times[i] = time ? json_number_value(time) : INFINITY;
        model->disturb_times[i] = disturbed ? json_number_value(disturbed) : i == 0 ? -INFINITY : INFINITY;
    }
    model->is_decoder = json_object_get(model->json, "decoder") != NULL;
    model->delay_ms = integer(model->json, "delay_ms");
    model->fail_above = number_or(model->json, "fail_above", INFINITY);
    model->nan_above = number_or(model->json, "nan_above", INFINITY);
    if (model->is_features || model->is_decoder) {
        model->has_matrix = json_object_get(model->json, "matrix") != NULL;
        model->matrix = (uint64_t)integer(model->json, "matrix");
        return 0;
    }
    const char *seconds = getenv("QTAYLOR_FAKE_LOAD");
    for (struct timespec left = {.tv_sec = seconds ? strtol(seconds, NULL, 10) : 0}; left.tv_sec > 0;)
        if (nanosleep(&left, &left) == 0) break;
    model->fail_call = integer(model->json, "fail_call");
    model->nan_call = integer(model->json, "nan_call");
    model->crash_call = integer(model->json, "crash_call");
    const json_t *card = json_object_get(model->json, "card");
    if (!card) return fail(error, "%s: expected \"card\", \"decoder\" or \"features\"", path);
    if (card_parse(&model->card, card, path, &err) != 0 || schedule_new(&model->schedule, &model->card, &err) != 0)
        return fail(error, "%s", err.message);
    model->given = json_object_get(model->json, "channels")
                       ? (int)integer(model->json, "channels")
                       : model->card.channels * (model->card.learned_variance ? 2 : 1);
    return load_mixture(model, path, error);
}

int shim_model_load(struct shim_model **model, const void *data, size_t size, const char *name, int device,
                    char *error) {
    (void)device;
    *model = NULL;
    struct shim_model *made = calloc(1, sizeof *made);
    if (!made) return fail(error, "out of memory");
    if (load(made, data, size, name, error) != 0) {
        shim_model_free(made);
        return -1;
    }
    *model = made;
    return 0;
}

void shim_model_free(struct shim_model *model) {
    if (!model) return;
    schedule_free(model->schedule);
    card_release(&model->card);
    free(model->means);
    free(model->weights);
    json_decref(model->json);
    free(model);
}

int shim_model_channels(const struct shim_model *model) {
    return model->given;
}

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

static void wait_a_while(const struct shim_model *model) {
    struct timespec wait = {model->delay_ms / 1000, model->delay_ms % 1000 * 1000000};
    if (model->delay_ms > 0) nanosleep(&wait, NULL);
}

/* The delay and the misbehaviour asked for. *nan: this call returns NaN. */
static int misbehave(const struct shim_model *model, bool *nan, char *error) {
    long call = atomic_fetch_add(&calls, 1) + 1;
    wait_a_while(model);
    if (hits(model->crash_call, call)) raise(SIGKILL);
    *nan = hits(model->nan_call, call);
    return hits(model->fail_call, call) ? fail(error, "the model fails in call %ld, as its file asks", call) : 0;
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
    return strcmp(does, "fail") == 0 ? fail(error, "the model does not like a sample, as it was asked") : 0;
}

/* Entry (row, column) of the linear map, row of D and column of C*H*W: splitmix64's finaliser over
 * seed * 0x9E3779B97F4A7C15 + row * 0xBF58476D1CE4E5B9 + column * 0x94D049BB133111EB (modulo 2^64), whose upper 53 bits
 * are then scaled to [-1, 1). */
static double entry(uint64_t seed, uint64_t row, uint64_t column) {
    uint64_t z = seed * 0x9E3779B97F4A7C15u + row * 0xBF58476D1CE4E5B9u + column * 0x94D049BB133111EBu;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

/* As a network in train mode: see the top. */
static void disturb(struct shim_model *model, double time, float *out, size_t rows, size_t size) {
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
            if (entry((uint64_t)call, row, i) < 2 * model->dropout - 1) *value = 0;
        }
    }
}

int shim_model_run(struct shim_model *model, const float *x, struct shim_shape shape,
                   const struct shim_condition *condition, float *out, float *variance, char *error) {
    size_t elements = (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width;
    bool nan;
    if (model->is_features || model->is_decoder) return fail(error, "this is no diffusion model");
    if (elements != model->elements)
        return fail(error, "the model takes %zu elements a sample, not %zu", model->elements, elements);
    int channels = shape.channels * (model->card.learned_variance ? 2 : 1);
    if (condition->channels > 0 && condition->channels != channels)
        return fail(error, "the model's output has %d channels, expected %d, half of them variance", channels,
                    condition->channels);
    if (variance && !model->card.learned_variance) return fail(error, "the model predicts no variance");
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
        for (size_t i = 0; i < elements; i++) x_t[i] = x[row * elements + i] / scale;
        posterior(model, x_t, alpha, sigma, first, last, x0, epsilon);
        for (size_t i = 0; i < elements; i++) {
            double output = predict(model, t, x_t[i], x0[i], epsilon[i]);
            out[row * elements + i] = bad ? NAN : (float)output;
            if (variance)
                variance[row * elements + i] = (float)cos((double)i + condition->time +
                                                          (double)(condition->labels ? label : 0));
        }
    }
    disturb(model, condition->time, out, (size_t)shape.batch, elements);
    return 0;
}

static double feature(const struct shim_model *model, const void *images, int is_uint8, size_t elements, size_t row,
                      size_t d) {
    const uint8_t *bytes = images;
    const float *floats = images;
    double sum = 0;
    for (size_t i = 0; i < elements; i++) {
        size_t at = row * elements + i;
        double coefficient = model->has_matrix ? entry(model->matrix, d, i) : (double)(i == d);
        sum += coefficient * (is_uint8 ? bytes[at] : floats[at]);
    }
    return sum;
}

int shim_features_run(struct shim_model *model, const void *images, int is_uint8, struct shim_shape shape,
                      const struct shim_output *outputs, int count, char *error) {
    size_t elements = (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width, before = 0;
    if (!model->is_features) return fail(error, "a diffusion model is no feature network");
    if (model->fail_from > 0 && atomic_load(&model->used) + 1 >= model->fail_from)
        return fail(error, "the feature network fails from call %ld on, as its file asks", model->fail_from);
    for (int k = 0; k < count; k++) {
        size_t dim = (size_t)outputs[k].dim;
        if (!model->has_matrix && dim != elements)
            return fail(error, "the identity has %zu outputs, not %zu", elements, dim);
        for (size_t i = 0; outputs[k].values && i < (size_t)shape.batch * dim; i++)
            outputs[k].values[i] = (float)feature(model, images, is_uint8, elements, i / dim, before + i % dim);
        if (outputs[k].values) disturb(model, 0, outputs[k].values, (size_t)shape.batch, dim);
        if (model->has_matrix) before += dim;
    }
    return 0;
}

/* Element i of a picture. */
static float pixel(const struct shim_model *model, const float *z, struct shim_shape from, struct shim_shape to,
                   size_t i) {
    size_t elements = (size_t)from.channels * (size_t)from.height * (size_t)from.width;
    size_t x = i % (size_t)to.width, y = i / (size_t)to.width % (size_t)to.height,
           c = i / (size_t)to.width / (size_t)to.height % (size_t)from.channels;
    double sum = 0;
    if (!model->has_matrix)
        return z[(c * (size_t)from.height + y * (size_t)from.height / (size_t)to.height) * (size_t)from.width +
                 x * (size_t)from.width / (size_t)to.width];
    for (size_t k = 0; k < elements; k++) sum += entry(model->matrix, i, k) * z[k];
    return (float)tanh(sum / sqrt((double)elements));
}

int shim_decoder_run(struct shim_model *model, const float *latents, struct shim_shape latent, struct shim_shape image,
                     float *images, char *error) {
    size_t from = (size_t)latent.channels * (size_t)latent.height * (size_t)latent.width;
    size_t to = (size_t)image.channels * (size_t)image.height * (size_t)image.width;
    if (!model->is_decoder) return fail(error, "this is no decoder");
    wait_a_while(model);
    for (size_t row = 0; row < (size_t)image.batch; row++) {
        const float *z = latents + row * from;
        if (z[0] > model->fail_above) return fail(error, "the decoder does not like a latent, as its file asks");
        for (size_t i = 0; i < to; i++)
            images[row * to + i] = z[0] > model->nan_above ? NAN : pixel(model, z, latent, image, i);
    }
    disturb(model, 0, images, (size_t)image.batch, to);
    return 0;
}

/* ---- registers: those of the host, which are the reference for the real ones ---- */

struct shim_registers {
    struct registers *host;
};

static int answer(int rc, const struct error *err, char *error) {
    return rc == 0 ? 0 : fail(error, "%s", err->message);
}

int shim_registers_new(struct shim_registers **registers, int device, int count, struct shim_shape shape,
                       int is_float64, char *error) {
    struct error err;
    (void)device;
    *registers = calloc(1, sizeof **registers);
    if (!*registers) return fail(error, "out of memory");
    if (registers_host_new(&(*registers)->host, count, shape, is_float64 ? STATE_FLOAT64 : STATE_FLOAT32, &err) == 0)
        return 0;
    free(*registers);
    *registers = NULL;
    return fail(error, "%s", err.message);
}

void shim_registers_free(struct shim_registers *registers) {
    if (registers) registers_free(registers->host);
    free(registers);
}

int shim_registers_set(struct shim_registers *registers, int dst, const double *host, char *error) {
    struct error err;
    return answer(registers_set(registers->host, dst, host, &err), &err, error);
}

int shim_registers_get(struct shim_registers *registers, int src, double *host, char *error) {
    struct error err;
    return answer(registers_get(registers->host, src, host, &err), &err, error);
}

int shim_registers_lincomb(struct shim_registers *registers, int dst, int count, const double *coefficients,
                           const int *sources, int first, int beyond, char *error) {
    struct term terms[count + 1]; /* count may be 0 */
    struct error err;
    for (int i = 0; i < count; i++) terms[i] = (struct term){.coefficient = coefficients[i], .source = sources[i]};
    return answer(registers_lincomb(registers->host, dst, terms, (size_t)count, (int[]){first, beyond}, &err), &err,
                  error);
}

int shim_registers_clamp(struct shim_registers *registers, int dst, double low, double high, char *error) {
    struct error err;
    return answer(registers_clamp(registers->host, dst, low, high, &err), &err, error);
}

int shim_registers_rescale(struct shim_registers *registers, int dst, int src, int like, double phi, char *error) {
    struct error err;
    return answer(registers_rescale(registers->host, dst, src, like, phi, &err), &err, error);
}

int shim_registers_mulexp(struct shim_registers *registers, int dst, int src, double a, double b, char *error) {
    struct error err;
    return answer(registers_mulexp(registers->host, dst, src, a, b, &err), &err, error);
}

int shim_registers_threshold(struct shim_registers *registers, int dst, double quantile, double low, double high,
                             char *error) {
    struct error err;
    return answer(registers_threshold(registers->host, dst, quantile, low, high, &err), &err, error);
}

int shim_registers_project(struct shim_registers *registers, int dst, int src, int onto, char *error) {
    struct error err;
    return answer(registers_project(registers->host, dst, src, onto, &err), &err, error);
}

int shim_registers_limit(struct shim_registers *registers, int dst, double norm, char *error) {
    struct error err;
    return answer(registers_limit(registers->host, dst, norm, &err), &err, error);
}

/* The host's say "model: " before the model's words, and so does who calls this. */
int shim_registers_eval(struct shim_registers *registers, struct shim_model *model, int dst, int dst2, int src,
                        const struct shim_condition *condition, char *error) {
    struct error err;
    int rc = registers_eval(registers->host, model, dst, dst2 < 0 ? 0 : dst2, src, condition, &err);
    return rc == 0 ? 0 : fail(error, "%s", strncmp(err.message, "model: ", 7) == 0 ? err.message + 7 : err.message);
}

int shim_torch_latent(int device, uint64_t seed, int count, float *out, int64_t classes, int64_t *label, char *error) {
    (void)device;
    (void)seed;
    (void)count;
    (void)out;
    (void)classes;
    (void)label;
    return fail(error, "torch's random numbers need libtorch; this is the fake shim");
}
