/* Reads a fake network's file (fake_inside.h). */
#include "fake_inside.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

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
    if (model->components == 0) return fake_fail(error, "%s: mixture.means: expected a list of means", path);
    if (weights && json_array_size(weights) != model->components)
        return fake_fail(error, "%s: mixture.weights: expected %zu numbers", path, model->components);
    model->means = calloc(model->components * model->elements, sizeof *model->means);
    model->weights = calloc(model->components, sizeof *model->weights);
    if (!model->means || !model->weights) return fake_fail(error, "out of memory");
    for (size_t k = 0; k < model->components; k++) {
        const json_t *mean = json_array_get(means, k);
        if (json_array_size(mean) != model->elements)
            return fake_fail(error, "%s: mixture.means[%zu]: expected %zu numbers, found %zu", path, k, model->elements,
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
    if (!model->json) return fake_fail(error, "%s:%d: %s", path, where.line, where.text);
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
    if (!card) return fake_fail(error, "%s: expected \"card\", \"decoder\" or \"features\"", path);
    if (card_parse(&model->card, card, path, &err) != 0 || schedule_new(&model->schedule, &model->card, &err) != 0)
        return fake_fail(error, "%s", err.message);
    model->given = json_object_get(model->json, "channels")
                       ? (int)integer(model->json, "channels")
                       : model->card.channels * (model->card.learned_variance ? 2 : 1);
    return load_mixture(model, path, error);
}

int shim_model_load(struct shim_model **model, const struct shim_file *file, int device, char *error) {
    (void)device;
    *model = NULL;
    struct shim_model *made = calloc(1, sizeof *made);
    if (!made) {
        file->release(file->owner);
        return fake_fail(error, "out of memory");
    }
    made->file = *file;
    if (load(made, file->data, file->size, file->name, error) != 0) {
        shim_model_free(made);
        return -1;
    }
    *model = made;
    return 0;
}

int shim_model_record(struct shim_model **model, char *error) {
    (void)model;
    (void)error;
    return 0;
}

void shim_model_free(struct shim_model *model) {
    if (!model) return;
    schedule_free(model->schedule);
    card_release(&model->card);
    free(model->means);
    free(model->weights);
    json_decref(model->json);
    model->file.release(model->file.owner);
    free(model);
}

int shim_model_channels(const struct shim_model *model) {
    return model->given;
}
