/* Kernel distances: KID, CMMD. */
#include "metric/mmd.h"

#include "base/log.h"
#include "metric/gram.h"
#include "sample/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    double *inverse; /* [features->count]: 1 / |x|; NULL: not wanted */
};

static void pieces_release(struct pieces *pieces) {
    free(pieces->list);
    free(pieces->inverse);
}

/* blocks: 1, or JACKKNIFE_BLOCKS. unit: rows count as of length 1. pieces_release also after a failure. */
static int pieces_init(struct pieces *pieces, const struct features *features, size_t blocks, bool unit,
                       struct error *err) {
    size_t count = features->count;
    *pieces = (struct pieces){.features = features,
                              .list = malloc((gram_blocks(count) + blocks) * sizeof *pieces->list),
                              .inverse = unit ? malloc(count * sizeof *pieces->inverse) : NULL};
    if (!pieces->list || (unit && !pieces->inverse)) return error_memory(err);
    if (unit && features_lengths(features, pieces->inverse, err) != 0) return error_prefix(err, "cmmd");
    for (size_t block = 0; block < blocks; block++) {
        size_t end = count * (block + 1) / blocks;
        for (size_t first = count * block / blocks; first < end; first += GRAM_BLOCK)
            pieces->list[pieces->count++] = (struct piece){first, end - first < GRAM_BLOCK ? end - first : GRAM_BLOCK,
                                                           (int)block};
    }
    return 0;
}

/* ---- the kernels ---- */

/* The sum over the pairs of two pieces, whose products are there. */
typedef double kernel_sum(const struct gram *gram, const struct pieces *a, const struct piece *mine,
                          const struct pieces *b, const struct piece *theirs);

static double cube(double x) {
    return x * x * x;
}

/* A row with itself does not count: the estimate is unbiased. */
static double sum_cubic(const struct gram *gram, const struct pieces *a, const struct piece *mine,
                        const struct pieces *b, const struct piece *theirs) {
    double sum = 0, dim = (double)a->features->dim;
    bool same = a == b && mine == theirs;
    for (size_t i = 0; i < mine->count; i++) {
        double row = 0;
        for (size_t j = 0; j < theirs->count; j++)
            if (!same || i != j) row += cube(gram->products[i * GRAM_BLOCK + j] / dim + 1);
        sum += row;
    }
    return sum;
}

static double sum_gaussian(const struct gram *gram, const struct pieces *a, const struct piece *mine,
                           const struct pieces *b, const struct piece *theirs) {
    double sum = 0;
    for (size_t i = 0; i < mine->count; i++)
        for (size_t j = 0; j < theirs->count; j++) {
            double cosine = gram->products[i * GRAM_BLOCK + j] *
                            (a->inverse[mine->first + i] * b->inverse[theirs->first + j]);
            sum += exp((cosine - 1) / (CMMD_SIGMA * CMMD_SIGMA)); /* |x - y|^2 = 2 - 2 cosine */
        }
    return sum;
}

/* ---- sums over all pairs ---- */

struct tiling {
    const struct pieces *a, *b;
    kernel_sum *kernel;
    double *tiles;
};

static void sum_tile(struct gram *gram, size_t index, void *context) {
    const struct tiling *tiling = context;
    const struct pieces *a = tiling->a, *b = tiling->b;
    const struct piece *mine = &a->list[index / b->count], *theirs = &b->list[index % b->count];
    size_t dim = a->features->dim;
    if (a == b && mine > theirs) return;
    gram_block(gram, a->features->rows + mine->first * dim, mine->count, b->features->rows + theirs->first * dim,
               theirs->count, dim);
    tiling->tiles[index] = tiling->kernel(gram, a, mine, b, theirs);
}

/* *tiles [a->count][b->count], new: the sums of all pairs of pieces, of a set with itself (a == b) those where the
 * second is not before the first. */
static int sum_tiles(double **tiles, const struct pieces *a, const struct pieces *b, kernel_sum *kernel,
                     struct error *err) {
    size_t count = a->count * b->count;
    struct tiling tiling = {a, b, kernel, *tiles = calloc(count, sizeof **tiles)};
    if (!tiling.tiles) return error_memory(err);
    return gram_each(count, a->features->dim, sum_tile, &tiling, err);
}

/* All pairs; tiles are added up in their order: the bits do not depend on threads. */
static int sum_pairs(const struct pieces *a, const struct pieces *b, kernel_sum *kernel, double *sum,
                     struct error *err) {
    double *tiles;
    int rc = sum_tiles(&tiles, a, b, kernel, err);
    *sum = 0;
    for (size_t i = 0; rc == 0 && i < a->count * b->count; i++)
        *sum += (a == b && i / b->count < i % b->count ? 2 : 1) * tiles[i];
    free(tiles);
    return rc;
}

typedef double block_sums[JACKKNIFE_BLOCKS][JACKKNIFE_BLOCKS];

/* sums[k][l]: the pairs of block k of a and block l of b. */
static int sum_blocks(const struct pieces *a, const struct pieces *b, kernel_sum *kernel, block_sums sums,
                      struct error *err) {
    double *tiles;
    int rc = sum_tiles(&tiles, a, b, kernel, err);
    memset(sums, 0, sizeof(block_sums));
    for (size_t i = 0; rc == 0 && i < a->count * b->count; i++) {
        size_t mine = i / b->count, theirs = i % b->count;
        sums[a->list[mine].block][b->list[theirs].block] += a == b && mine > theirs ? tiles[theirs * b->count + mine]
                                                                                    : tiles[i];
    }
    free(tiles);
    return rc;
}

/* How many pairs the sum over m rows with themselves is of. */
static double own_pairs(double m, bool unbiased) {
    return m * (unbiased ? m - 1 : m);
}

/* Without block `left` of a; -1: of all. bb: the mean over b's own pairs. */
static double mmd_of(const block_sums aa, const block_sums ab, double bb, size_t count, double n, bool unbiased,
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
    return mine / own_pairs(m, unbiased) + bb - 2 * cross / (m * n);
}

/* Says where the difference of the kernel's means is but their rounding. name: of the metric; size: of the means. */
static void warn_lost(const char *name, const double numbers[1 + JACKKNIFE_BLOCKS], double size) {
    static const double lost = 1e-13; /* of the means */
    struct estimate estimate;
    jackknife(numbers[0], numbers + 1, &estimate);
    double value = fabs(numbers[0]), error = estimate.error;
    if (error > lost * size || value > 10 * lost * size || (value == 0 && error == 0)) return;
    log_warn(
        "%s: it and its error are the rounding of kernel values of %.2g, and mean nothing: all features lie in one "
        "direction, or far from 0",
        name, size);
}

static int without_blocks(const struct features *a, const struct features *b, kernel_sum *kernel, bool unit,
                          double numbers[1 + JACKKNIFE_BLOCKS], struct error *err) {
    block_sums aa, ab, bb;
    double theirs = 0, n = (double)b->count;
    struct pieces mine, other = {0};
    int rc = pieces_init(&mine, a, JACKKNIFE_BLOCKS, unit, err);
    if (rc == 0) rc = pieces_init(&other, b, JACKKNIFE_BLOCKS, unit, err);
    if (rc == 0) rc = sum_blocks(&mine, &mine, kernel, aa, err);
    if (rc == 0) rc = sum_blocks(&mine, &other, kernel, ab, err);
    if (rc == 0) rc = sum_blocks(&other, &other, kernel, bb, err);
    for (int k = 0; rc == 0 && k < JACKKNIFE_BLOCKS * JACKKNIFE_BLOCKS; k++)
        theirs += bb[k / JACKKNIFE_BLOCKS][k % JACKKNIFE_BLOCKS];
    for (int k = -1; rc == 0 && k < JACKKNIFE_BLOCKS; k++)
        numbers[k + 1] = mmd_of(aa, ab, theirs / own_pairs(n, !unit), a->count, n, !unit, k);
    if (rc == 0 && a->count >= JACKKNIFE_LEAST)
        warn_lost(unit ? "cmmd" : "kid", numbers, fabs(theirs / own_pairs(n, !unit)));
    pieces_release(&mine);
    pieces_release(&other);
    return rc;
}

/* ---- KID ---- */

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
    struct pieces mine, theirs = {0};
    if (check(a, b, err) != 0) return -1;
    int rc = pieces_init(&mine, a, 1, false, err);
    if (rc == 0) rc = pieces_init(&theirs, b, 1, false, err);
    if (rc == 0) rc = sum_pairs(&mine, &mine, sum_cubic, &aa, err);
    if (rc == 0) rc = sum_pairs(&theirs, &theirs, sum_cubic, &bb, err);
    if (rc == 0) rc = sum_pairs(&mine, &theirs, sum_cubic, &ab, err);
    if (rc == 0) *kid = aa / (m * (m - 1)) + bb / (n * (n - 1)) - 2 * ab / (m * n);
    pieces_release(&mine);
    pieces_release(&theirs);
    return rc;
}

int kid_without_blocks(const struct features *a, const struct features *b, double kids[1 + JACKKNIFE_BLOCKS],
                       struct error *err) {
    return check(a, b, err) == 0 ? without_blocks(a, b, sum_cubic, false, kids, err) : -1;
}

static int gather(struct features *subset, const struct features *from, const int64_t *indices, size_t size,
                  struct error *err) {
    *subset = (struct features){size, from->dim, malloc(size * from->dim * sizeof(float))};
    if (!subset->rows) return error_memory(err);
    for (size_t i = 0; i < size; i++)
        memcpy(subset->rows + i * from->dim, from->rows + (size_t)indices[i] * from->dim, from->dim * sizeof(float));
    return 0;
}

int kid_check(const int64_t *indices, size_t subsets, size_t size, size_t a_count, size_t b_count, struct error *err) {
    for (size_t i = 0; i < subsets * 2 * size; i++) {
        bool of_b = i / size % 2;
        size_t count = of_b ? b_count : a_count;
        if (indices[i] < 0 || (size_t)indices[i] >= count)
            return error_set(err, CODE_DATA, "kid: expected an index in 0..%zu, a row of %c, found %lld", count - 1,
                             of_b ? 'B' : 'A', (long long)indices[i]);
    }
    return 0;
}

int kid_subsets(const struct features *a, const struct features *b, const int64_t *indices, size_t subsets, size_t size,
                double *mean, double *deviation, struct error *err) {
    double sum = 0, squares = 0, *kids = malloc(subsets * sizeof *kids);
    int rc = kids ? kid_check(indices, subsets, size, a->count, b->count, err) : error_memory(err);
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

int cmmd_without_blocks(const struct features *a, const struct features *b, double cmmd[1 + JACKKNIFE_BLOCKS],
                        struct error *err) {
    int rc = without_blocks(a, b, sum_gaussian, true, cmmd, err);
    for (int k = 0; rc == 0 && k <= JACKKNIFE_BLOCKS; k++) cmmd[k] *= CMMD_SCALE;
    return rc;
}
