/* Precision, recall, density and coverage. */
#include "metric/neighbours.h"

#include "metric/gram.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

struct cloud { /* points, |x|^2, and the squares of their radii */
    const struct features *points;
    double *squares, *radii;
};

static int cloud_init(struct cloud *cloud, const struct features *points, struct error *err) {
    *cloud = (struct cloud){points, malloc(points->count * sizeof(double)), malloc(points->count * sizeof(double))};
    if (!cloud->squares || !cloud->radii) return error_memory(err);
    gram_squares(points, cloud->squares);
    return 0;
}

static void cloud_release(struct cloud *cloud) {
    free(cloud->squares);
    free(cloud->radii);
}

/* products becomes the squared distances of block i of a and block j of b. */
static void distances(struct gram *gram, const struct cloud *a, size_t i, const struct cloud *b, size_t j) {
    gram_distances(gram, a->points, a->squares, i, b->points, b->squares, j);
}

/* Keeps the NEIGHBOURS smallest, rising. */
static void keep_nearest(double nearest[NEIGHBOURS], double distance) {
    int i = NEIGHBOURS - 1;
    if (distance >= nearest[i]) return;
    for (; i > 0 && nearest[i - 1] > distance; i--) nearest[i] = nearest[i - 1];
    nearest[i] = distance;
}

/* Of block i of the cloud. */
static void find_radii(struct gram *gram, size_t i, void *context) {
    const struct cloud *cloud = context;
    size_t count = cloud->points->count, rows = gram_rows(i, count);
    double nearest[GRAM_BLOCK][NEIGHBOURS];
    for (size_t p = 0; p < rows; p++)
        for (int k = 0; k < NEIGHBOURS; k++) nearest[p][k] = INFINITY;
    for (size_t j = 0; j < gram_blocks(count); j++) {
        distances(gram, cloud, i, cloud, j);
        for (size_t p = 0; p < rows; p++)
            for (size_t q = 0; q < gram_rows(j, count); q++)
                if (i != j || p != q) keep_nearest(nearest[p], gram->products[p * GRAM_BLOCK + q]);
    }
    for (size_t p = 0; p < rows; p++) cloud->radii[gram_first(i) + p] = nearest[p][NEIGHBOURS - 1];
}

struct counts { /* all of them independent of the order of blocks */
    const struct cloud *samples, *reference;
    uint64_t inside;        /* samples in some reference ball */
    uint64_t balls;         /* pairs: sample inside a reference ball */
    unsigned char *reached; /* [reference]: in some sample's ball */
    unsigned char *covered; /* [reference]: some sample is inside its ball */
};

/* Block i of samples against all of the reference. */
static void count_block(struct gram *gram, size_t i, void *context) {
    struct counts *counts = context;
    const struct cloud *samples = counts->samples, *reference = counts->reference;
    size_t rows = gram_rows(i, samples->points->count), count = reference->points->count;
    unsigned char inside[GRAM_BLOCK] = {0};
    uint64_t balls = 0, samples_inside = 0;
    for (size_t j = 0; j < gram_blocks(count); j++) {
        distances(gram, samples, i, reference, j);
        for (size_t p = 0; p < rows; p++)
            for (size_t q = 0; q < gram_rows(j, count); q++) {
                size_t r = gram_first(j) + q;
                double distance = gram->products[p * GRAM_BLOCK + q];
                inside[p] |= distance <= reference->radii[r];
                balls += distance < reference->radii[r];
                if (distance < reference->radii[r]) {
#pragma omp atomic write
                    counts->covered[r] = 1;
                }
                if (distance <= samples->radii[gram_first(i) + p]) {
#pragma omp atomic write
                    counts->reached[r] = 1;
                }
            }
    }
    for (size_t p = 0; p < rows; p++) samples_inside += inside[p];
#pragma omp atomic
    counts->inside += samples_inside;
#pragma omp atomic
    counts->balls += balls;
}

static int check(const struct features *samples, const struct features *reference, struct error *err) {
    if (samples->dim != reference->dim)
        return error_set(err, CODE_DATA,
                         "prdc: cannot compare sets of %zu and %zu features: they come from different feature networks",
                         samples->dim, reference->dim);
    if (samples->count <= NEIGHBOURS || reference->count <= NEIGHBOURS)
        return error_set(err, CODE_DATA, "prdc needs more than %d samples on both sides, found %zu and %zu", NEIGHBOURS,
                         samples->count, reference->count);
    return 0;
}

int neighbours_prdc(const struct features *samples, const struct features *reference, struct prdc *prdc,
                    struct error *err) {
    struct cloud mine = {0}, theirs = {0};
    struct counts counts = {.samples = &mine, .reference = &theirs};
    size_t m = samples->count, n = reference->count, reached = 0, covered = 0;
    if (check(samples, reference, err) != 0) return -1;
    counts.reached = calloc(n, 1);
    counts.covered = calloc(n, 1);
    int rc = counts.reached && counts.covered ? 0 : error_memory(err);
    if (rc == 0) rc = cloud_init(&mine, samples, err);
    if (rc == 0) rc = cloud_init(&theirs, reference, err);
    if (rc == 0) rc = gram_each(gram_blocks(m), samples->dim, find_radii, &mine, err);
    if (rc == 0) rc = gram_each(gram_blocks(n), samples->dim, find_radii, &theirs, err);
    if (rc == 0) rc = gram_each(gram_blocks(m), samples->dim, count_block, &counts, err);
    for (size_t r = 0; rc == 0 && r < n; r++) {
        reached += counts.reached[r];
        covered += counts.covered[r];
    }
    *prdc = (struct prdc){(double)counts.inside / (double)m, (double)reached / (double)n,
                          (double)counts.balls / ((double)NEIGHBOURS * (double)m), (double)covered / (double)n};
    cloud_release(&mine);
    cloud_release(&theirs);
    free(counts.reached);
    free(counts.covered);
    return rc;
}
