/* What rounds of samples came to, and what follows of it. */
#include "work/rounds.h"

#include "base/text.h"
#include "format/json_file.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ---- */

char *rounds_path(const struct run *run, uint64_t samples) {
    return text_new("%s/" ROUNDS_FOLDER "/%llu.json", run->dir, (unsigned long long)samples);
}

int rounds_read(json_t **result, const struct run *run, uint64_t samples, struct error *err) {
    char *path = rounds_path(run, samples);
    int rc = path ? json_file_read(result, path, err) : error_memory(err);
    free(path);
    return rc;
}

/* Adds what took time; what does not change from round to round is the last one's. */
static void add_generation(json_t *sum, const json_t *part) {
    static const char *const added[] = {"seconds", "model_seconds", "decoder_seconds"};
    if (!json_is_object(part)) return;
    double before = json_number_value(json_object_get(sum, "samples"));
    double more = json_number_value(json_object_get(part, "samples"));
    double nfe = json_number_value(json_object_get(sum, "nfe")) * before +
                 json_number_value(json_object_get(part, "nfe")) * more;
    double values[sizeof added / sizeof *added];
    for (size_t i = 0; i < sizeof added / sizeof *added; i++)
        values[i] = json_number_value(json_object_get(sum, added[i])) +
                    json_number_value(json_object_get(part, added[i]));
    json_object_update(sum, (json_t *)part);
    json_object_set_new(sum, "samples", json_integer((json_int_t)(before + more)));
    json_object_set_new(sum, "nfe", json_real(before + more > 0 ? nfe / (before + more) : 0));
    for (size_t i = 0; i < sizeof added / sizeof *added; i++)
        if (json_object_get(sum, added[i])) json_object_set_new(sum, added[i], json_real(values[i]));
    json_object_set_new(sum, "samples_per_second", json_real(values[0] > 0 ? (before + more) / values[0] : 0));
}

json_t *rounds_generation(const struct run *run, json_t *own) {
    char *folder = text_new("%s/" ROUNDS_FOLDER, run->dir);
    struct dirent **entries = NULL;
    int count = folder ? scandir(folder, &entries, NULL, versionsort) : 0;
    for (int i = 0; i < count; i++) {
        unsigned long long samples;
        json_t *result = NULL;
        struct error ignored; /* times are no results */
        if (sscanf(entries[i]->d_name, "%llu.json", &samples) == 1 && samples <= run->layout.samples &&
            rounds_read(&result, run, samples, &ignored) == 0)
            add_generation(own, json_object_get(result, "generation"));
        json_decref(result);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    free(folder);
    if (json_object_size(own) > 0) return own;
    json_decref(own);
    return json_null();
}

/* ---- the race ---- */

int racer_read(struct racer *racer, const json_t *result, const char *metric, const char *cell, struct error *err) {
    const json_t *metrics = json_object_get(result, "metrics"), *value = json_object_get(metrics, metric);
    char name[40];
    snprintf(name, sizeof name, "%s_without", metric);
    const json_t *without = json_object_get(metrics, name);
    *racer = (struct racer){.value = json_number_value(value)};
    if (!json_is_number(value) || json_array_size(without) != JACKKNIFE_BLOCKS)
        return error_set(err, CODE_DATA, "%s: its round has no %s with the values without each block of samples", cell,
                         metric);
    for (size_t i = 0; i < JACKKNIFE_BLOCKS; i++) racer->without[i] = json_number_value(json_array_get(without, i));
    return 0;
}

/* P(|t| > x), 19 degrees of freedom, in closed form (Abramowitz & Stegun 26.7.3). */
static double beyond(double x) {
    const int degrees = JACKKNIFE_BLOCKS - 1;
    double angle = atan2(x, sqrt(degrees)), c = cos(angle), term = c, sum = c;
    for (int k = 2; k < degrees - 1; k += 2) {
        term *= c * c * k / (k + 1);
        sum += term;
    }
    return 1 - 2 / M_PI * (angle + sin(angle) * sum);
}

double student_t19(double probability) {
    double low = 0, high = 1e6;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (beyond(middle) > probability) low = middle;
        else high = middle;
    }
    return (low + high) / 2;
}

size_t race_decide(struct racer *racers, size_t count, double confidence) {
    size_t leader = 0;
    for (size_t i = 1; i < count; i++)
        if (racers[i].value < racers[leader].value) leader = i;
    double limit = count > 1 ? student_t19((1 - confidence) / (double)(count - 1)) : 0;
    for (size_t i = 0; i < count; i++) {
        double without[JACKKNIFE_BLOCKS];
        struct estimate estimate;
        for (int k = 0; k < JACKKNIFE_BLOCKS; k++) without[k] = racers[i].without[k] - racers[leader].without[k];
        jackknife(racers[i].value - racers[leader].value, without, &estimate);
        racers[i].delta = estimate.corrected;
        racers[i].error = estimate.error;
        racers[i].limit = limit;
        racers[i].out = i != leader && estimate.corrected > limit * estimate.error;
    }
    return leader;
}
