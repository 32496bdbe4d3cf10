/* The kernel distance (KID). */
#include "eval/kid.h"

#include "eval/gram.h"
#include "sample/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double kernel(double product, double dim) {
    double base = product / dim + 1;
    return base * base * base;
}

/* The sum over a block's pairs; `same`: it is a block with itself, whose diagonal does not count. */
static double sum_block(const struct gram *gram, size_t na, size_t nb, double dim, bool same) {
    double sum = 0;
    for (size_t i = 0; i < na; i++) {
        double row = 0;
        for (size_t j = 0; j < nb; j++)
            if (!same || i != j) row += kernel(gram->products[i * GRAM_BLOCK + j], dim);
        sum += row;
    }
    return sum;
}

/* The kernel summed over all pairs (a == b: of different rows). Blocks are summed in their order: the bits do not
 * depend on threads. */
static int sum_pairs(const struct features *a, const struct features *b, double *sum, struct error *err) {
    size_t dim = a->dim, rows = gram_blocks(a->count), columns = gram_blocks(b->count);
    bool same = a == b, failed = false;
    double *sums = calloc(rows * columns, sizeof *sums);
    if (!sums) return error_memory(err);
#pragma omp parallel reduction(| : failed)
    {
        struct gram gram;
        struct error one;
        failed = gram_init(&gram, dim, &one) != 0;
#pragma omp critical(gram_failure)
        if (failed) *err = one;
#pragma omp for schedule(dynamic)
        for (size_t block = 0; block < rows * columns; block++) {
            size_t i = block / columns, j = block % columns;
            if (failed || (same && j < i)) continue;
            size_t na = gram_rows(i, a->count), nb = gram_rows(j, b->count);
            gram_block(&gram, a->rows + gram_first(i) * dim, na, b->rows + gram_first(j) * dim, nb, dim);
            sums[block] = (same && i < j ? 2 : 1) * sum_block(&gram, na, nb, (double)dim, same && i == j);
        }
        gram_release(&gram);
    }
    *sum = 0;
    for (size_t block = 0; block < rows * columns; block++) *sum += sums[block];
    free(sums);
    return failed ? -1 : 0;
}

static int check(const struct features *a, const struct features *b, struct error *err) {
    if (a->dim != b->dim)
        return error_set(err, CODE_DATA,
                         "kid: cannot compare sets of %zu and %zu features: they come from different feature networks",
                         a->dim, b->dim);
    if (a->count < 2 || b->count < 2)
        return error_set(err, CODE_DATA, "kid needs at least 2 samples on both sides, found %zu and %zu", a->count,
                         b->count);
    return 0;
}

int kid_full(const struct features *a, const struct features *b, double *kid, struct error *err) {
    double aa, bb, ab, m = (double)a->count, n = (double)b->count;
    if (check(a, b, err) != 0 || sum_pairs(a, a, &aa, err) != 0 || sum_pairs(b, b, &bb, err) != 0 ||
        sum_pairs(a, b, &ab, err) != 0)
        return -1;
    *kid = aa / (m * (m - 1)) + bb / (n * (n - 1)) - 2 * ab / (m * n);
    return 0;
}

static int gather(struct features *subset, const struct features *from, const int64_t *indices, size_t size,
                  struct error *err) {
    *subset = (struct features){size, from->dim, malloc(size * from->dim * sizeof(float))};
    if (!subset->rows) return error_memory(err);
    for (size_t i = 0; i < size; i++) {
        if (indices[i] < 0 || (size_t)indices[i] >= from->count)
            return error_set(err, CODE_DATA, "kid: expected an index in 0..%zu, found %lld", from->count - 1,
                             (long long)indices[i]);
        memcpy(subset->rows + i * from->dim, from->rows + (size_t)indices[i] * from->dim, from->dim * sizeof(float));
    }
    return 0;
}

int kid_subsets(const struct features *a, const struct features *b, const int64_t *indices, size_t subsets, size_t size,
                double *mean, double *deviation, struct error *err) {
    double sum = 0, squares = 0, *kids = malloc(subsets * sizeof *kids);
    int rc = kids ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < subsets; i++) {
        struct features mine = {0}, theirs = {0};
        rc = gather(&mine, a, indices + 2 * i * size, size, err);
        if (rc == 0) rc = gather(&theirs, b, indices + (2 * i + 1) * size, size, err);
        if (rc == 0) rc = kid_full(&mine, &theirs, &kids[i], err);
        if (rc == 0) sum += kids[i];
        features_release(&mine);
        features_release(&theirs);
    }
    *mean = sum / (double)subsets;
    for (size_t i = 0; rc == 0 && i < subsets; i++) squares += (kids[i] - *mean) * (kids[i] - *mean);
    *deviation = sqrt(squares / (double)subsets);
    free(kids);
    return rc;
}

/* The first `size` places of a shuffle of 0..count-1 (Fisher & Yates); deck [count] is work space. */
static void draw(uint64_t stream, size_t count, size_t size, int64_t *deck, int64_t *out) {
    for (size_t i = 0; i < count; i++) deck[i] = (int64_t)i;
    for (size_t i = 0; i < size; i++) {
        size_t k = i + (size_t)noise_label(stream << 32 | i, (int64_t)(count - i));
        int64_t drawn = deck[k];
        deck[k] = deck[i];
        out[i] = deck[i] = drawn;
    }
}

int kid_draw(size_t a_count, size_t b_count, int64_t **indices, size_t *size, struct error *err) {
    size_t least = a_count < b_count ? a_count : b_count, most = a_count + b_count - least;
    *size = least < KID_SUBSET_SIZE ? least : KID_SUBSET_SIZE;
    int64_t *deck = malloc(most * sizeof *deck);
    *indices = malloc(2 * KID_SUBSETS * *size * sizeof **indices);
    if (deck && *indices)
        for (size_t i = 0; i < 2 * KID_SUBSETS; i++)
            draw(i, i % 2 ? b_count : a_count, *size, deck, *indices + i * *size);
    free(deck);
    if (deck && *indices) return 0;
    free(*indices);
    *indices = NULL;
    return error_memory(err);
}
