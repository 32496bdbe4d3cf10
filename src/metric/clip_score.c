/* CLIP score. */
#include "metric/clip_score.h"

#include <math.h>
#include <stdlib.h>

/* inverse: of lengths, [images->count] and behind them [texts->count]. */
static int add_up(const struct features *images, const struct features *texts, const uint64_t *rows,
                  const double *inverse, double sums[JACKKNIFE_BLOCKS], struct error *err) {
    for (size_t i = 0, block = 0; i < images->count; i++) {
        size_t row = rows ? (size_t)rows[i] : i;
        double product = 0;
        if (row >= texts->count)
            return error_set(err, CODE_DATA, "clip-score: sample %zu has text %zu, and there are %zu texts", i, row,
                             texts->count);
        for (size_t k = 0; k < images->dim; k++)
            product += (double)images->rows[i * images->dim + k] * texts->rows[row * texts->dim + k];
        while (i >= images->count * (block + 1) / JACKKNIFE_BLOCKS) block++;
        sums[block] += 100 * fmax(0, product * inverse[i] * inverse[images->count + row]);
    }
    return 0;
}

int clip_score_without_blocks(const struct features *images, const struct features *texts, const uint64_t *rows,
                              double scores[1 + JACKKNIFE_BLOCKS], struct error *err) {
    size_t count = images->count;
    double *inverse = malloc((count + texts->count) * sizeof *inverse), sums[JACKKNIFE_BLOCKS] = {0};
    int rc = inverse ? 0 : error_memory(err);
    if (rc == 0 && (rc = features_lengths(images, inverse, err)) != 0) error_prefix(err, "clip-score");
    if (rc == 0 && (rc = features_lengths(texts, inverse + count, err)) != 0) error_prefix(err, "clip-score: texts");
    if (rc == 0) rc = add_up(images, texts, rows, inverse, sums, err);
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
