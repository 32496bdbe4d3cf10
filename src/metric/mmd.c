/* Kernel distances: KID, CMMD. */
#include "metric/mmd.h"

#include "metric/gram.h"
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

/* ---- CMMD ---- */

static const double CMMD_SIGMA = 10, CMMD_SCALE = 1000;

/* Rows that are added up together: at most GRAM_BLOCK, all of one block of the jackknife. */
struct piece {
    size_t first, count;
    int block;
};

struct pieces {
    const struct features *features;
    struct piece *list;
    size_t count;
    double *inverse; /* [features->count]: 1 / |x| */
};

static void pieces_release(struct pieces *pieces) {
    free(pieces->list);
    free(pieces->inverse);
}

/* pieces_release also after a failure. */
static int pieces_init(struct pieces *pieces, const struct features *features, struct error *err) {
    size_t count = features->count;
    *pieces = (struct pieces){.features = features,
                              .list = malloc((gram_blocks(count) + JACKKNIFE_BLOCKS) * sizeof *pieces->list),
                              .inverse = malloc(count * sizeof *pieces->inverse)};
    if (!pieces->list || !pieces->inverse) return error_memory(err);
    if (features_lengths(features, pieces->inverse, err) != 0) return error_prefix(err, "cmmd");
    for (size_t block = 0; block < JACKKNIFE_BLOCKS; block++) {
        size_t end = count * (block + 1) / JACKKNIFE_BLOCKS;
        for (size_t first = count * block / JACKKNIFE_BLOCKS; first < end; first += GRAM_BLOCK)
            pieces->list[pieces->count++] = (struct piece){first, end - first < GRAM_BLOCK ? end - first : GRAM_BLOCK,
                                                           (int)block};
    }
    return 0;
}

static double sum_gaussian(const struct gram *gram, const double *mine, size_t na, const double *theirs, size_t nb) {
    double sum = 0;
    for (size_t i = 0; i < na; i++)
        for (size_t j = 0; j < nb; j++) {
            double cosine = gram->products[i * GRAM_BLOCK + j] * (mine[i] * theirs[j]);
            sum += exp((cosine - 1) / (CMMD_SIGMA * CMMD_SIGMA)); /* |x - y|^2 = 2 - 2 cosine */
        }
    return sum;
}

/* sums[k][l]: the kernel over the pairs of block k of a and block l of b; a tile at a time, added up in their order:
 * the bits do not depend on threads. */
static int sum_blocks(const struct pieces *a, const struct pieces *b, double sums[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS],
                      struct error *err) {
    size_t dim = a->features->dim, tiles = a->count * b->count;
    double *tile = calloc(tiles, sizeof *tile);
    bool failed = false;
    if (!tile) return error_memory(err);
#pragma omp parallel reduction(| : failed)
    {
        struct gram gram;
        struct error one;
        failed = gram_init(&gram, dim, &one) != 0;
#pragma omp critical(gram_failure)
        if (failed) *err = one;
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < tiles; i++) {
            const struct piece *mine = &a->list[i / b->count], *theirs = &b->list[i % b->count];
            if (failed || (a == b && mine > theirs)) continue; /* symmetric */
            gram_block(&gram, a->features->rows + mine->first * dim, mine->count,
                       b->features->rows + theirs->first * dim, theirs->count, dim);
            tile[i] = sum_gaussian(&gram, a->inverse + mine->first, mine->count, b->inverse + theirs->first,
                                   theirs->count);
        }
        gram_release(&gram);
    }
    memset(sums, 0, sizeof(double[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS]));
    for (size_t i = 0; i < tiles; i++) {
        size_t mine = i / b->count, theirs = i % b->count;
        sums[a->list[mine].block][b->list[theirs].block] += a == b && mine > theirs ? tile[theirs * b->count + mine]
                                                                                    : tile[i];
    }
    free(tile);
    return failed ? -1 : 0;
}

/* Without block `left` of a; -1: of all. */
static double cmmd_of(const double aa[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS],
                      const double ab[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS], double bb, size_t count, double n,
                      int left) {
    double mine = 0, cross = 0, m = 0;
    for (int k = 0; k < JACKKNIFE_BLOCKS; k++) {
        if (k == left) continue;
        m += (double)(count * (size_t)(k + 1) / JACKKNIFE_BLOCKS - count * (size_t)k / JACKKNIFE_BLOCKS);
        for (int l = 0; l < JACKKNIFE_BLOCKS; l++) {
            if (l != left) mine += aa[k][l];
            cross += ab[k][l];
        }
    }
    return CMMD_SCALE * (mine / (m * m) + bb / (n * n) - 2 * cross / (m * n));
}

int cmmd_without_blocks(const struct features *a, const struct features *b, double cmmd[1 + JACKKNIFE_BLOCKS],
                        struct error *err) {
    double aa[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS], ab[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS],
        bb[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS], theirs = 0;
    struct pieces mine, other = {0};
    int rc = pieces_init(&mine, a, err);
    if (rc == 0) rc = pieces_init(&other, b, err);
    if (rc == 0) rc = sum_blocks(&mine, &mine, aa, err);
    if (rc == 0) rc = sum_blocks(&mine, &other, ab, err);
    if (rc == 0) rc = sum_blocks(&other, &other, bb, err);
    for (int k = 0; rc == 0 && k < JACKKNIFE_BLOCKS * JACKKNIFE_BLOCKS; k++)
        theirs += bb[k / JACKKNIFE_BLOCKS][k % JACKKNIFE_BLOCKS];
    for (int k = -1; rc == 0 && k < JACKKNIFE_BLOCKS; k++)
        cmmd[k + 1] = cmmd_of(aa, ab, theirs, a->count, (double)b->count, k);
    pieces_release(&mine);
    pieces_release(&other);
    return rc;
}
