/* Feature likelihood divergence: mixtures of Gaussians, their fit and their likelihood. */
#include "metric/fld.h"

#include "metric/gram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 10000, EPOCHS = 50, CHUNKS = 64 /* of a batch, added up in their order */ };
static const double RATE = 0.5, BETA1 = 0.9, BETA2 = 0.999, EPSILON = 1e-8, LARGEST = 40, ENOUGH = 5e-4;
static const double NEAREST = 1e-3, ORIGIN = 0.9 * 0.9;

struct mixture {
    size_t count, dim; /* Gaussians, features */
    double *log;       /* [count]: of the variances */
};

/* ---- distances ---- */

struct pairs {
    float *out; /* [a->count][b->count] */
    const struct features *a, *b;
    double *aa, *bb; /* gram_squares */
};

static void measure_block(struct gram *gram, size_t index, void *context) {
    const struct pairs *pairs = context;
    size_t columns = gram_blocks(pairs->b->count), i = index / columns, j = index % columns;
    gram_distances(gram, pairs->a, pairs->aa, i, pairs->b, pairs->bb, j);
    for (size_t r = 0; r < gram_rows(i, pairs->a->count); r++) {
        float *row = pairs->out + (gram_first(i) + r) * pairs->b->count + gram_first(j);
        for (size_t c = 0; c < gram_rows(j, pairs->b->count); c++) row[c] = (float)gram->products[r * GRAM_BLOCK + c];
    }
}

/* *out [a->count][b->count], new: |x - y|^2. */
static int distances(float **out, const struct features *a, const struct features *b, struct error *err) {
    struct pairs pairs = {malloc(a->count * b->count * sizeof **out), a, b, malloc(a->count * sizeof(double)),
                          malloc(b->count * sizeof(double))};
    *out = pairs.out;
    int rc = pairs.out && pairs.aa && pairs.bb ? 0 : error_memory(err);
    if (rc == 0) {
        gram_squares(a, pairs.aa);
        gram_squares(b, pairs.bb);
        rc = gram_each(gram_blocks(a->count) * gram_blocks(b->count), a->dim, measure_block, &pairs, err);
    }
    free(pairs.aa);
    free(pairs.bb);
    return rc;
}

/* ---- likelihoods ---- */

static double log_normal(double square, double log_variance, double dim) {
    return -0.5 * square * exp(-log_variance) - dim / 2 * (log_variance + log(2 * 3.14159265358979323846));
}

/* log of the sum of exp over terms [count]. */
static double log_sum(const double *terms, size_t count) {
    double most = terms[0], sum = 0;
    for (size_t i = 1; i < count; i++) most = fmax(most, terms[i]);
    for (size_t i = 0; i < count; i++) sum += exp(terms[i] - most);
    return most + log(sum);
}

/* terms [count]: the logs of what each Gaussian makes of a row's likelihood; square [count]: its distances. */
static void terms_of(const struct mixture *mixture, const double *scale, const double *constant, const float *square,
                     double *terms) {
    for (size_t j = 0; j < mixture->count; j++) terms[j] = constant[j] - scale[j] * (double)square[j];
}

/* scale and constant [count] of terms_of. */
static void prepare(const struct mixture *mixture, double *scale, double *constant) {
    double dim = (double)mixture->dim, share = log((double)mixture->count);
    for (size_t j = 0; j < mixture->count; j++) {
        scale[j] = 0.5 * exp(-mixture->log[j]);
        constant[j] = log_normal(0, mixture->log[j], dim) - share;
    }
}

/* *mean: of the negative log-likelihood a dimension. */
static int judge(const struct mixture *mixture, const struct features *centres, const struct features *rows,
                 double *mean, struct error *err) {
    float *square = NULL;
    size_t m = mixture->count;
    double *each = malloc(rows->count * sizeof *each), *scale = malloc(2 * m * sizeof *scale);
    int rc = each && scale ? distances(&square, rows, centres, err) : error_memory(err);
    bool failed = false;
    if (rc == 0) prepare(mixture, scale, scale + m);
#pragma omp parallel reduction(| : failed)
    if (rc == 0) {
        double *terms = malloc(m * sizeof *terms);
        failed = !terms;
#pragma omp for
        for (size_t i = 0; i < rows->count; i++) {
            if (failed) continue;
            terms_of(mixture, scale, scale + m, square + i * m, terms);
            each[i] = log_sum(terms, m);
        }
        free(terms);
    }
    if (rc == 0 && failed) rc = error_memory(err);
    *mean = 0;
    for (size_t i = 0; rc == 0 && i < rows->count; i++) *mean -= each[i] / (double)mixture->dim / (double)rows->count;
    free(square);
    free(scale);
    free(each);
    return rc;
}

/* ---- the fit ---- */

struct fit {
    const float *square;      /* [rows][count] */
    const double *origin;     /* [rows]: of the rows to their mean, shortened */
    size_t rows, batches;     /* batch b: rows b, b + batches, ... */
    double *log;              /* [count + 1]: of the variances, at the end the origin's */
    double *gradient;         /* [count + 1] */
    double *first, *second;   /* [count + 1]: Adam's moments */
    double *scale, *constant; /* [count] */
    double *parts;            /* [CHUNKS][count + 2]: gradients, and the sum of the losses */
    double *terms;            /* [CHUNKS][count + 1] */
    struct mixture mixture;   /* its log is this one */
    size_t steps;
};

/* Rows first, first + step, ... of a chunk into `part`. */
static void add_chunk(const struct fit *fit, size_t batch, size_t chunk, size_t rows) {
    const struct mixture *mixture = &fit->mixture;
    size_t m = mixture->count;
    double *part = fit->parts + chunk * (m + 2), *terms = fit->terms + chunk * (m + 1), dim = (double)mixture->dim;
    memset(part, 0, (m + 2) * sizeof *part);
    for (size_t k = rows * chunk / CHUNKS; k < rows * (chunk + 1) / CHUNKS; k++) {
        size_t i = batch + k * fit->batches;
        const float *square = fit->square + i * m;
        terms_of(mixture, fit->scale, fit->constant, square, terms);
        terms[m] = log_normal(fit->origin[i], fit->log[m], dim);
        double whole = log_sum(terms, m + 1);
        part[m + 1] += whole;
        for (size_t j = 0; j < m; j++) {
            double weight = exp(terms[j] - whole);
            if (weight > 0) part[j] += weight * (fit->scale[j] * (double)square[j] - dim / 2);
        }
        part[m] += exp(terms[m] - whole) * (0.5 * fit->origin[i] * exp(-fit->log[m]) - dim / 2);
    }
}

/* One step of Adam. Returns the batch's loss before it. */
static double step(struct fit *fit, size_t batch) {
    size_t m = fit->mixture.count, rows = (fit->rows - batch + fit->batches - 1) / fit->batches;
    double whole = (double)rows * (double)fit->mixture.dim, loss = 0;
    prepare(&fit->mixture, fit->scale, fit->constant);
#pragma omp parallel for schedule(dynamic)
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) add_chunk(fit, batch, chunk, rows);
    memset(fit->gradient, 0, (m + 1) * sizeof *fit->gradient);
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        const double *part = fit->parts + chunk * (m + 2);
        for (size_t j = 0; j <= m; j++) fit->gradient[j] -= part[j] / whole;
        loss -= part[m + 1] / whole;
    }
    fit->steps++;
    double one = 1 - pow(BETA1, (double)fit->steps), two = 1 - pow(BETA2, (double)fit->steps);
    for (size_t j = 0; j <= m; j++) {
        fit->first[j] = BETA1 * fit->first[j] + (1 - BETA1) * fit->gradient[j];
        fit->second[j] = BETA2 * fit->second[j] + (1 - BETA2) * fit->gradient[j] * fit->gradient[j];
        fit->log[j] -= RATE * (fit->first[j] / one) / (sqrt(fit->second[j] / two) + EPSILON);
        if (j < m) fit->log[j] = fmax(-LARGEST, fmin(LARGEST, fit->log[j]));
    }
    return loss;
}

static void run_epochs(struct fit *fit) {
    double losses[EPOCHS];
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        losses[epoch] = 0;
        for (size_t batch = 0; batch < fit->batches; batch++) losses[epoch] += step(fit, batch) / (double)fit->batches;
        bool settled = epoch > 5;
        for (int back = 1; settled && back < 5; back++) settled = fabs(losses[epoch] - losses[epoch - back]) < ENOUGH;
        if (settled) return;
    }
}

/* [rows->count], new: |x - mean|^2, shortened. */
static double *origins(const struct features *rows) {
    size_t dim = rows->dim;
    double *mean = calloc(dim, sizeof *mean), *out = calloc(rows->count, sizeof *out);
    for (size_t i = 0; mean && i < rows->count; i++)
        for (size_t k = 0; k < dim; k++) mean[k] += (double)rows->rows[i * dim + k] / (double)rows->count;
    for (size_t i = 0; mean && out && i < rows->count; i++)
        for (size_t k = 0; k < dim; k++) {
            double difference = (double)rows->rows[i * dim + k] - mean[k];
            out[i] += ORIGIN * difference * difference;
        }
    free(mean);
    return out;
}

/* Fits the variances of Gaussians at `centres` to rows. mixture->log: new, also on failure (NULL: none). */
static int fit_mixture(struct mixture *mixture, const struct features *centres, const struct features *rows,
                       struct error *err) {
    size_t m = centres->count;
    float *square = NULL;
    double *origin = origins(rows), *space = calloc(6 * (m + 1) + CHUNKS * (2 * m + 3), sizeof *space);
    *mixture = (struct mixture){m, centres->dim, malloc((m + 1) * sizeof *mixture->log)};
    int rc = origin && space && mixture->log ? distances(&square, rows, centres, err) : error_memory(err);
    if (rc == 0) {
        struct fit fit = {.square = square,
                          .origin = origin,
                          .rows = rows->count,
                          .batches = (rows->count + BATCH - 1) / BATCH,
                          .log = mixture->log,
                          .gradient = space,
                          .first = space + (m + 1),
                          .second = space + 2 * (m + 1),
                          .scale = space + 3 * (m + 1),
                          .constant = space + 4 * (m + 1),
                          .parts = space + 5 * (m + 1),
                          .terms = space + 5 * (m + 1) + CHUNKS * (m + 2),
                          .mixture = *mixture};
        for (size_t j = 0; j < m; j++) {
            double least = square[j];
            for (size_t i = 1; i < rows->count; i++) least = fmin(least, square[i * m + j]);
            mixture->log[j] = log((least + NEAREST) / (double)centres->dim);
        }
        mixture->log[m] = 0;
        run_epochs(&fit);
    }
    free(square);
    free(origin);
    free(space);
    return rc;
}

/* ---- the sets ---- */

/* Rows of `from`, every one (parts 1), or those that are (rest) or are not among `size` evenly spaced ones; scaled, and
 * without features whose deviation is 0. */
static int take(struct features *to, const struct features *from, size_t size, bool rest, const double *mean,
                const double *deviation, size_t dim, struct error *err) {
    size_t count = rest ? from->count - size : size, next = 0, row = 0;
    *to = (struct features){count, dim, malloc((count ? count : 1) * dim * sizeof(float))};
    if (!to->rows) return error_memory(err);
    for (size_t i = 0; i < from->count; i++) {
        bool spaced = next < size && i == next * from->count / size;
        next += spaced;
        if (spaced == rest) continue;
        float *out = to->rows + row++ * dim;
        for (size_t k = 0; k < from->dim; k++)
            if (deviation[k] > 0) *out++ = (float)(((double)from->rows[i * from->dim + k] - mean[k]) / deviation[k]);
    }
    return 0;
}

/* Mean and deviation of each feature of the test set; returns how many vary. */
static size_t scales(const struct features *test, double *mean, double *deviation) {
    size_t dim = test->dim, varying = 0;
    for (size_t k = 0; k < dim; k++) {
        bool varies = false;
        mean[k] = deviation[k] = 0;
        for (size_t i = 0; i < test->count; i++) {
            mean[k] += (double)test->rows[i * dim + k] / (double)test->count;
            varies |= test->rows[i * dim + k] != test->rows[k];
        }
        for (size_t i = 0; varies && i < test->count; i++) {
            double difference = (double)test->rows[i * dim + k] - mean[k];
            deviation[k] += difference * difference / (double)(test->count - 1);
        }
        deviation[k] = sqrt(deviation[k]);
        varying += deviation[k] > 0;
    }
    return varying;
}

/* nll: of the test set; training NULL: not wanted. */
static int likelihood(const struct features *centres, const struct features *rows, const struct features *test,
                      double *nll, double *training, struct error *err) {
    struct mixture mixture;
    int rc = fit_mixture(&mixture, centres, rows, err);
    if (rc == 0) rc = judge(&mixture, centres, test, nll, err);
    if (rc == 0 && training) rc = judge(&mixture, centres, rows, training, err);
    free(mixture.log);
    return rc;
}

int fld_score(const struct features *samples, const struct features *training, const struct features *test,
              struct fld *fld, size_t *constant, struct error *err) {
    size_t dim = test->dim, most = samples->count < FLD_MOST ? samples->count : FLD_MOST;
    size_t half = training->count / 2 < most ? training->count / 2 : most;
    struct features first = {most, dim, samples->rows}, sets[5] = {{0}}; /* samples, training, test, halves */
    double *mean = malloc(2 * dim * sizeof *mean), nll, trained, base;
    if (!mean) return error_memory(err);
    size_t varying = scales(test, mean, mean + dim);
    *constant = dim - varying;
    int rc = varying > 0 ? 0 : error_set(err, CODE_DATA, "fld: no feature varies in the validation set");
    const struct {
        const struct features *from;
        size_t size;
        bool rest;
    } parts[] = {{&first, most, false},
                 {training, training->count, false},
                 {test, test->count, false},
                 {training, half, false},
                 {training, half, true}};
    for (size_t i = 0; rc == 0 && i < 5; i++)
        rc = take(&sets[i], parts[i].from, parts[i].size, parts[i].rest, mean, mean + dim, varying, err);
    if (rc == 0) rc = likelihood(&sets[0], &sets[1], &sets[2], &nll, &trained, err);
    if (rc == 0) rc = likelihood(&sets[3], &sets[4], &sets[2], &base, NULL, err);
    if (rc == 0) *fld = (struct fld){100 * (nll - base), 100 * (trained - nll)};
    for (size_t i = 0; i < 5; i++) features_release(&sets[i]);
    free(mean);
    return rc;
}
