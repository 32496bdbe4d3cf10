/* Standard errors of FIDs by the jackknife, and the FID of endless samples. */
#include "eval/precision.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double T19 = 2.0930240544082634; /* Student's t, 19 degrees of freedom, 97.5 % */

static const double ROUNDING = 1e-14; /* of a number that was added up of many in doubles */

/* size: of the numbers that it was computed from, which may be far larger than they differ. */
static void estimate_of(double value, const double *without, double size, struct estimate *estimate) {
    const double k = JACKKNIFE_BLOCKS;
    double mean = 0, squares = 0;
    for (int i = 0; i < JACKKNIFE_BLOCKS; i++) mean += without[i] / k;
    for (int i = 0; i < JACKKNIFE_BLOCKS; i++) squares += (without[i] - mean) * (without[i] - mean);
    double corrected = k * value - (k - 1) * mean, error = sqrt((k - 1) / k * squares);
    bool rounded = error <= ROUNDING * size;
    if (rounded) error = ROUNDING * size;
    *estimate = (struct estimate){value, corrected, error, corrected - T19 * error, corrected + T19 * error, rounded};
}

void jackknife(double value, const double without[JACKKNIFE_BLOCKS], struct estimate *estimate) {
    double size = fabs(value);
    for (int i = 0; i < JACKKNIFE_BLOCKS; i++) size = fmax(size, fabs(without[i]));
    estimate_of(value, without, size, estimate);
}

void jackknife_difference(const double one[1 + JACKKNIFE_BLOCKS], const double other[1 + JACKKNIFE_BLOCKS],
                          struct estimate *estimate) {
    double difference[1 + JACKKNIFE_BLOCKS], size = 0;
    bool same = true;
    for (int i = 0; i <= JACKKNIFE_BLOCKS; i++) {
        difference[i] = one[i] - other[i];
        same &= one[i] == other[i];
        size = fmax(size, fmax(fabs(one[i]), fabs(other[i])));
    }
    estimate_of(difference[0], difference + 1, same ? 0 : size, estimate);
}

/* 1 - (the rest) is rounding where the tail is small: there it is summed itself, an incomplete beta function. */
double jackknife_p(const struct estimate *estimate) {
    const double pi = 3.14159265358979323846;
    double cosine = 1 / sqrt(1 + estimate->corrected * estimate->corrected / (19 * estimate->error * estimate->error)),
           square = cosine * cosine, sine = sqrt(1 - square), term = cosine, sum = cosine;
    if (!(estimate->error > 0)) return estimate->corrected == 0;
    if (square > 0.5) {
        for (int k = 3; k <= 17; k += 2) sum += term *= square * (k - 1) / k; /* Abramowitz & Stegun 26.7.3 */
        return fmax(0, 1 - 2 / pi * (acos(cosine) + sine * sum));
    }
    term = 2 / pi * sine * pow(cosine, 19); /* 26.5.4 */
    for (int k = 2; k <= 18; k += 2) term *= k / (k + 1.0);
    sum = 0;
    for (int n = 0; n < 64; n++, term *= square * (9 + n) / (9.5 + n)) sum += term;
    return fmax(sum, DBL_MIN);
}

void p_text(char text[P_TEXT], double p) {
    snprintf(text, P_TEXT, p < 1e-15 ? "p < 1e-15" : "p = %.2g", p);
}

int holm(double *p, size_t count, struct error *err) {
    size_t *order = malloc((count + 1) * sizeof *order);
    double least = 0;
    if (!order) return error_memory(err);
    for (size_t i = 0; i < count; i++) { /* sorted by insertion: there are not many */
        size_t k = i;
        for (; k > 0 && p[order[k - 1]] > p[i]; k--) order[k] = order[k - 1];
        order[k] = i;
    }
    for (size_t i = 0; i < count; i++) {
        least = fmax(least, fmin(1, (double)(count - i) * p[order[i]]));
        p[order[i]] = least;
    }
    free(order);
    return 0;
}

static int fid_of(const struct moments *moments, const struct frechet *reference, double *fid, struct error *err) {
    struct statistics statistics;
    if (statistics_from_moments(&statistics, moments, err) != 0) return -1;
    int rc = frechet_distance_to(reference, &statistics, fid, err);
    statistics_release(&statistics);
    return rc;
}

static int copy_moments(struct moments *copy, const struct moments *from, struct error *err) {
    if (moments_init(copy, from->dim, err) != 0) return -1;
    copy->count = from->count;
    memcpy(copy->mean, from->mean, from->dim * sizeof *copy->mean);
    memcpy(copy->scatter, from->scatter, from->dim * from->dim * sizeof *copy->scatter);
    return 0;
}

static int fid_without(const struct features *features, const struct moments *whole, size_t first, size_t count,
                       const struct frechet *reference, double *fid, struct error *err) {
    struct moments block = {0}, rest = {0};
    int rc = features_moments(features, first, count, &block, err);
    if (rc == 0 && (rc = copy_moments(&rest, whole, err)) == 0) {
        moments_remove(&rest, &block);
        rc = fid_of(&rest, reference, fid, err);
    }
    moments_release(&block);
    moments_release(&rest);
    return rc;
}

int fid_without_blocks(const struct features *features, const struct frechet *reference,
                       double fids[1 + JACKKNIFE_BLOCKS], struct error *err) {
    struct moments whole;
    size_t count = features->count;
    if (count < JACKKNIFE_LEAST)
        return error_set(err, CODE_DATA, "a standard error needs at least %d samples, found %zu", JACKKNIFE_LEAST,
                         count);
    if (features_moments(features, 0, count, &whole, err) != 0) return -1;
    int rc = fid_of(&whole, reference, &fids[0], err);
    bool failed = rc != 0;
#pragma omp parallel for schedule(dynamic)
    for (size_t k = 0; k < JACKKNIFE_BLOCKS; k++) {
        size_t first = count * k / JACKKNIFE_BLOCKS, end = count * (k + 1) / JACKKNIFE_BLOCKS;
        struct error failure;
        if (failed || fid_without(features, &whole, first, end - first, reference, &fids[1 + k], &failure) == 0)
            continue;
#pragma omp critical(jackknife)
        {
            failed = true;
            *err = failure;
        }
    }
    moments_release(&whole);
    return failed ? -1 : 0;
}

int fid_infinity(const struct features *features, const struct frechet *reference, double *value, struct error *err) {
    size_t most = features->count, least = most < 50000 ? most / 10 : 5000, done = 0;
    double n = INFINITY_POINTS, x[INFINITY_POINTS], y[INFINITY_POINTS], mean_x = 0, mean_y = 0, xx = 0, xy = 0;
    struct moments prefix;
    if (most < JACKKNIFE_LEAST)
        return error_set(err, CODE_DATA, "fid_infinity needs at least %d samples, found %zu", JACKKNIFE_LEAST, most);
    if (moments_init(&prefix, features->dim, err) != 0) return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < INFINITY_POINTS; i++) {
        size_t upto = least + (most - least) * i / (INFINITY_POINTS - 1);
        rc = moments_add(&prefix, features->rows + done * features->dim, upto - done, err);
        if (rc == 0) rc = fid_of(&prefix, reference, &y[i], err);
        x[i] = 1 / (double)(done = upto);
        mean_x += x[i] / n;
        mean_y += rc == 0 ? y[i] / n : 0;
    }
    for (size_t i = 0; rc == 0 && i < INFINITY_POINTS; i++) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    if (rc == 0) *value = mean_y - xy / xx * mean_x;
    moments_release(&prefix);
    return rc;
}
