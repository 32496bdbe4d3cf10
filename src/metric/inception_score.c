/* The Inception score. */
#include "metric/inception_score.h"

#include <math.h>
#include <stdlib.h>

/* log p of one row, by the logarithm of softmax. */
static void log_softmax(const float *logits, size_t classes, double *out) {
    double largest = logits[0], sum = 0;
    for (size_t c = 1; c < classes; c++) largest = fmax(largest, logits[c]);
    for (size_t c = 0; c < classes; c++) sum += exp(logits[c] - largest);
    for (size_t c = 0; c < classes; c++) out[c] = logits[c] - largest - log(sum);
}

/* exp(mean over rows of sum_c p log p - p log(mean p)); row and mean [classes] are work space. */
static double score_split(const float *rows, size_t count, size_t classes, double *row, double *mean) {
    double negative_entropy = 0, divergence = 0;
    for (size_t c = 0; c < classes; c++) mean[c] = 0;
    for (size_t i = 0; i < count; i++) {
        log_softmax(rows + i * classes, classes, row);
        for (size_t c = 0; c < classes; c++) {
            double p = exp(row[c]);
            negative_entropy += p * row[c];
            mean[c] += p / (double)count;
        }
    }
    divergence = negative_entropy / (double)count;
    for (size_t c = 0; c < classes; c++)
        if (mean[c] > 0) divergence -= mean[c] * log(mean[c]);
    return exp(divergence);
}

int inception_score(const struct features *logits, double *mean, double *deviation, struct error *err) {
    size_t count = logits->count, classes = logits->dim;
    double scores[INCEPTION_SPLITS], squares = 0;
    if (count < INCEPTION_SPLITS)
        return error_set(err, CODE_DATA, "is needs at least %d samples, found %zu", INCEPTION_SPLITS, count);
    double *row = malloc(2 * classes * sizeof *row);
    if (!row) return error_memory(err);
    *mean = 0;
    for (size_t i = 0; i < INCEPTION_SPLITS; i++) {
        size_t first = count * i / INCEPTION_SPLITS, end = count * (i + 1) / INCEPTION_SPLITS;
        scores[i] = score_split(logits->rows + first * classes, end - first, classes, row, row + classes);
        *mean += scores[i] / INCEPTION_SPLITS;
    }
    for (size_t i = 0; i < INCEPTION_SPLITS; i++) squares += (scores[i] - *mean) * (scores[i] - *mean);
    *deviation = sqrt(squares / INCEPTION_SPLITS);
    free(row);
    return 0;
}
