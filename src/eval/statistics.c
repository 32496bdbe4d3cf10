/* Means and covariances of features as .npz files. */
#include "eval/statistics.h"

#include "base/text.h"
#include "format/npz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How far a covariance may be from symmetric and from non-negative variances, relative to its largest variance: room
 * for one computed in float32. */
static const double slack = 1e-6;

static double *widen(const float *values, size_t count) {
    double *wide = malloc(count * sizeof *wide);
    for (size_t i = 0; wide && i < count; i++) wide[i] = values[i];
    return wide;
}

/* An array of doubles of the given rank, every axis `*dim` long (*dim 0: any length, put there); *values new. */
static int read_doubles(struct npz *npz, const char *path, const char *name, int rank, size_t *dim, double **values,
                        struct error *err) {
    struct npy npy;
    void *data;
    if (npz_read(npz, name, &npy, &data, err) != 0) return -1;
    int rc = -1;
    char found[NPY_TEXT];
    npy_text(&npy, found);
    if (npy.type != NPY_FLOAT64 && npy.type != NPY_FLOAT32) {
        error_set(err, CODE_DATA, "%s: %s: expected float64 or float32 numbers, found %s", path, name, found);
        goto out;
    }
    if (*dim == 0 && npy.rank == rank) *dim = npy.shape[0];
    bool fits = npy.rank == rank && *dim > 0;
    for (int axis = 0; fits && axis < rank; axis++) fits = npy.shape[axis] == *dim;
    if (!fits) {
        error_set(err, CODE_DATA, "%s: %s: expected a shape %s, found %s (mu's D is %zu)", path, name,
                  rank == 1 ? "[D], D > 0" : "[D, D] with mu's D", found, *dim);
        goto out;
    }
    size_t count = npy_bytes(&npy) / npy.item;
    *values = npy.type == NPY_FLOAT32 ? widen(data, count) : data;
    if (*values == data) data = NULL;
    if (!*values) {
        error_memory(err);
        goto out;
    }
    rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!isfinite((*values)[i]))
            rc = error_set(err, CODE_DATA, "%s: %s: element %zu: expected a finite number, found %g", path, name, i,
                           (*values)[i]);
out:
    free(data);
    return rc;
}

/* The members only our files have. */
static int read_origin(struct statistics *statistics, struct npz *npz, const char *path, struct error *err) {
    struct npy npy;
    void *data = NULL;
    if (npz_has(npz, "count")) {
        int64_t count = -1;
        if (npz_read(npz, "count", &npy, &data, err) != 0) return -1;
        if (npy.type == NPY_INT64 && npy_bytes(&npy) == sizeof count) memcpy(&count, data, sizeof count);
        free(data);
        if (count < 2) return error_set(err, CODE_DATA, "%s: count: expected one int64, at least 2", path);
        statistics->count = (uint64_t)count;
    }
    if (features_network(npz, statistics->network, path, err) != 0) return -1;
    if (npz_has(npz, "shape")) {
        if (npz_read(npz, "shape", &npy, &data, err) != 0) return -1;
        bool fits = npy.type == NPY_INT64 && npy_bytes(&npy) == sizeof statistics->shape;
        if (fits) memcpy(statistics->shape, data, sizeof statistics->shape);
        free(data);
        if (!fits) return error_set(err, CODE_DATA, "%s: shape: expected three int64, [C, H, W]", path);
    }
    if (npz_has(npz, "recipe")) {
        if (npz_read(npz, "recipe", &npy, &data, err) != 0) return -1;
        size_t size = npy.type == NPY_BYTES && npy_bytes(&npy) < RECIPE_SIZE ? npy_bytes(&npy) : 0;
        memcpy(statistics->recipe, data, size);
        free(data);
        if (!text_is_name(statistics->recipe))
            return error_set(err, CODE_DATA, "%s: recipe: expected one word of at most %d bytes (|S)", path,
                             RECIPE_SIZE - 1);
    }
    return 0;
}

/* Checks that sigma looks like a covariance and makes it exactly symmetric. */
static int check_sigma(double *sigma, size_t dim, const char *path, struct error *err) {
    double largest = 0;
    for (size_t i = 0; i < dim; i++) largest = fmax(largest, sigma[i * dim + i]);
    for (size_t i = 0; i < dim; i++) {
        if (sigma[i * dim + i] < -slack * largest)
            return error_set(err, CODE_DATA, "%s: sigma[%zu, %zu]: expected a variance, found %g", path, i, i,
                             sigma[i * dim + i]);
        for (size_t k = 0; k < i; k++) {
            double lower = sigma[i * dim + k], upper = sigma[k * dim + i];
            if (fabs(lower - upper) > slack * largest)
                return error_set(err, CODE_DATA, "%s: sigma is not symmetric: [%zu, %zu] is %g, [%zu, %zu] is %g", path,
                                 i, k, lower, k, i, upper);
            sigma[i * dim + k] = sigma[k * dim + i] = 0.5 * lower + 0.5 * upper;
        }
    }
    return 0;
}

int statistics_read(struct statistics *statistics, const char *path, const char *suffix, struct error *err) {
    char mu[16], sigma[16];
    struct npz *npz;
    *statistics = (struct statistics){0};
    snprintf(mu, sizeof mu, "mu%s", suffix);
    snprintf(sigma, sizeof sigma, "sigma%s", suffix);
    if (npz_open(&npz, path, err) != 0) return -1;
    int rc = read_doubles(npz, path, mu, 1, &statistics->dim, &statistics->mu, err);
    if (rc == 0) rc = read_doubles(npz, path, sigma, 2, &statistics->dim, &statistics->sigma, err);
    if (rc == 0) rc = check_sigma(statistics->sigma, statistics->dim, path, err);
    if (rc == 0) rc = read_origin(statistics, npz, path, err);
    npz_close(npz);
    if (rc != 0) statistics_release(statistics);
    return rc;
}

int statistics_write(const struct statistics *statistics, const struct statistics *spatial,
                     const struct features *features, const char *path, struct error *err) {
    size_t dim = statistics->dim;
    int64_t samples = (int64_t)statistics->count;
    struct npz_array arrays[9];
    size_t count = 0;
    arrays[count++] = (struct npz_array){"mu", {NPY_FLOAT64, sizeof(double), 1, {dim}}, statistics->mu};
    arrays[count++] = (struct npz_array){"sigma", {NPY_FLOAT64, sizeof(double), 2, {dim, dim}}, statistics->sigma};
    if (spatial) {
        struct npy vector = {NPY_FLOAT64, sizeof(double), 1, {spatial->dim}};
        struct npy matrix = {NPY_FLOAT64, sizeof(double), 2, {spatial->dim, spatial->dim}};
        arrays[count++] = (struct npz_array){"mu_s", vector, spatial->mu};
        arrays[count++] = (struct npz_array){"sigma_s", matrix, spatial->sigma};
    }
    if (samples > 0) arrays[count++] = (struct npz_array){"count", {NPY_INT64, sizeof samples, 0, {0}}, &samples};
    if (statistics->network[0])
        arrays[count++] = (struct npz_array){"network", {NPY_BYTES, SHA256_HEX - 1, 0, {0}}, statistics->network};
    if (statistics->shape[0])
        arrays[count++] = (struct npz_array){"shape", {NPY_INT64, sizeof(int64_t), 1, {3}}, statistics->shape};
    if (statistics->recipe[0])
        arrays[count++] = (struct npz_array){
            "recipe", {NPY_BYTES, strlen(statistics->recipe), 0, {0}}, statistics->recipe};
    if (features)
        arrays[count++] = (struct npz_array){
            "features", {NPY_FLOAT32, sizeof(float), 2, {features->count, features->dim}}, features->rows};
    return npz_write(path, arrays, count, err);
}

int statistics_from_moments(struct statistics *statistics, const struct moments *moments, struct error *err) {
    size_t dim = moments->dim;
    *statistics = (struct statistics){.dim = dim, .count = moments->count};
    if (moments->count < 2)
        return error_set(err, CODE_DATA, "a covariance needs at least 2 samples, found %llu",
                         (unsigned long long)moments->count);
    statistics->mu = malloc(dim * sizeof *statistics->mu);
    statistics->sigma = malloc(dim * dim * sizeof *statistics->sigma);
    if (!statistics->mu || !statistics->sigma) {
        statistics_release(statistics);
        return error_memory(err);
    }
    memcpy(statistics->mu, moments->mean, dim * sizeof *statistics->mu);
    double freedom = (double)(moments->count - 1);
    for (size_t i = 0; i < dim * dim; i++) statistics->sigma[i] = moments->scatter[i] / freedom;
    return 0;
}

void statistics_release(struct statistics *statistics) {
    free(statistics->mu);
    free(statistics->sigma);
    *statistics = (struct statistics){0};
}
