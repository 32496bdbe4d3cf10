/* CLIP score. */
#include "metric/clip_score.h"

#include <math.h>
#include <stdlib.h>

static int check_rows(size_t images, size_t texts, const uint64_t *rows, struct error *err) {
    for (size_t i = 0; i < images; i++) {
        size_t row = rows ? (size_t)rows[i] : i;
        if (row >= texts)
            return error_set(err, CODE_DATA, "clip-score: sample %zu has text %zu, and there are %zu texts", i, row,
                             texts);
    }
    return 0;
}

/* inverse: of lengths, [images->count] and behind them [texts->count]. */
static void add_up(const struct features *images, const struct features *texts, const uint64_t *rows,
                   const double *inverse, double sums[JACKKNIFE_BLOCKS]) {
    for (size_t i = 0, block = 0; i < images->count; i++) {
        size_t row = rows ? (size_t)rows[i] : i;
        double product = 0;
        for (size_t k = 0; k < images->dim; k++)
            product += (double)images->rows[i * images->dim + k] * texts->rows[row * texts->dim + k];
        while (i >= images->count * (block + 1) / JACKKNIFE_BLOCKS) block++;
        sums[block] += 100 * fmax(0, product * inverse[i] * inverse[images->count + row]);
    }
}

int clip_score_without_blocks(const struct features *images, const struct features *texts, const uint64_t *rows,
                              double scores[1 + JACKKNIFE_BLOCKS], struct error *err) {
    size_t count = images->count;
    double *inverse = malloc((count + texts->count) * sizeof *inverse), sums[JACKKNIFE_BLOCKS] = {0};
    int rc = inverse ? check_rows(count, texts->count, rows, err) : error_memory(err);
    if (rc == 0 && (rc = features_lengths(images, inverse, err)) != 0) error_prefix(err, "clip-score");
    if (rc == 0 && (rc = features_lengths(texts, inverse + count, err)) != 0) error_prefix(err, "clip-score: texts");
    if (rc == 0) add_up(images, texts, rows, inverse, sums);
    for (int left = -1; rc == 0 && left < (count >= JACKKNIFE_LEAST ? JACKKNIFE_BLOCKS : 0); left++) {
        double sum = 0;
        size_t n = count;
        for (int k = 0; k < JACKKNIFE_BLOCKS; k++)
            if (k != left) sum += sums[k];
        if (left >= 0) n -= count * (size_t)(left + 1) / JACKKNIFE_BLOCKS - count * (size_t)left / JACKKNIFE_BLOCKS;
        scores[1 + left] = sum / (double)n;
    }
    free(inverse);
    return rc;
}
