/* The Monge distance (MIND). */
#include "metric/mind.h"

#include "base/blas.h"
#include "metric/gram.h"
#include "sample/noise.h"

#include <cblas.h>
#include <lapacke.h>
#include <stdlib.h>

enum { TOGETHER = 16 }; /* directions that one pass over the rows projects to */

struct point { /* a row, projected */
    double at;
    int block; /* of the jackknife */
};

struct space {             /* of one thread */
    double *rows;          /* [GRAM_BLOCK][dim] */
    double *mine, *theirs; /* [TOGETHER][count] projections */
    struct point *a, *b;   /* [count] of one direction */
    bool entered;
};

/* *directions [count][dim], new. Each group of min(dim, MIND_DIRECTIONS) is orthonormal. */
static int make_directions(size_t dim, double **directions, size_t *count, struct error *err) {
    size_t frame = dim < MIND_DIRECTIONS ? dim : MIND_DIRECTIONS, frames = (MIND_DIRECTIONS + frame - 1) / frame;
    double *tau = malloc(frame * sizeof *tau), *all = malloc(frames * frame * dim * sizeof *all);
    int rc = tau && all ? blas_enter(err) : error_memory(err);
    bool entered = rc == 0;
    for (size_t f = 0; rc == 0 && f < frames; f++) { /* the orthogonal factor of normals is uniform, but for signs */
        double *q = all + f * frame * dim;
        noise_normals(f, NOISE_STREAM_INITIAL, frame * dim, q);
        lapack_int n = (lapack_int)dim, k = (lapack_int)frame;
        lapack_int info = LAPACKE_dgeqrf(LAPACK_COL_MAJOR, n, k, q, n, tau);
        if (info == 0) info = LAPACKE_dorgqr(LAPACK_COL_MAJOR, n, k, k, q, n, tau);
        if (info != 0) rc = error_set(err, CODE_INTERNAL, "mind: LAPACK's QR failed with info %d", (int)info);
    }
    if (entered) blas_leave();
    free(tau);
    if (rc != 0) free(all);
    *directions = rc == 0 ? all : NULL;
    *count = frames * frame;
    return rc;
}

static void space_release(struct space *space) {
    if (space->entered) blas_leave();
    free(space->rows);
    free(space->mine);
    free(space->theirs);
    free(space->a);
    free(space->b);
}

static int space_init(struct space *space, const struct features *a, const struct features *b, struct error *err) {
    *space = (struct space){.rows = malloc(GRAM_BLOCK * a->dim * sizeof(double)),
                            .mine = malloc(TOGETHER * a->count * sizeof(double)),
                            .theirs = malloc(TOGETHER * b->count * sizeof(double)),
                            .a = malloc(a->count * sizeof *space->a),
                            .b = malloc(b->count * sizeof *space->b)};
    bool whole = space->rows && space->mine && space->theirs && space->a && space->b;
    int rc = whole ? blas_enter(err) : error_memory(err);
    space->entered = rc == 0;
    return rc;
}

/* out [many][count] */
static void project(const struct features *features, const double *directions, size_t many, double *rows, double *out) {
    size_t dim = features->dim, count = features->count;
    for (size_t b = 0; b < gram_blocks(count); b++) {
        size_t first = gram_first(b), here = gram_rows(b, count);
        for (size_t i = 0; i < here * dim; i++) rows[i] = features->rows[first * dim + i];
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)many, (int)here, (int)dim, 1.0, directions, (int)dim,
                    rows, (int)dim, 0.0, out + first, (int)count);
    }
}

static int by_place(const void *a, const void *b) {
    const struct point *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static void sort_points(struct point *points, const double *places, size_t count) {
    for (size_t k = 0; k < JACKKNIFE_BLOCKS; k++) /* small sets have empty blocks */
        for (size_t i = count * k / JACKKNIFE_BLOCKS; i < count * (k + 1) / JACKKNIFE_BLOCKS; i++)
            points[i] = (struct point){places[i], (int)k};
    qsort(points, count, sizeof *points, by_place);
}

/* W2^2 on a line: the squared difference of quantiles, each level being where either set has a step. m of a's points
 * are not of the block `left_out`, n are b's. */
static double on_line(const struct point *a, size_t m, int left_out, const struct point *b, size_t n) {
    double sum = 0;
    uint64_t level = 0, mine = n, theirs = m; /* in parts of m n: where a's and b's next steps are */
    for (size_t j = 0; level < (uint64_t)m * n;) {
        while (a->block == left_out) a++;
        uint64_t next = mine < theirs ? mine : theirs;
        double difference = a->at - b[j].at;
        sum += difference * difference * (double)(next - level);
        level = next;
        if (mine == level) {
            mine += n;
            a++;
        }
        if (theirs == level) {
            theirs += m;
            j++;
        }
    }
    return sum / ((double)m * (double)n);
}

/* out[0], and where there are blocks out[1 + k], of direction d of those that space holds. */
static void of_direction(struct space *space, size_t d, size_t m, size_t n, double out[1 + JACKKNIFE_BLOCKS]) {
    sort_points(space->a, space->mine + d * m, m);
    sort_points(space->b, space->theirs + d * n, n);
    out[0] = on_line(space->a, m, -1, space->b, n);
    for (size_t k = 0; m >= JACKKNIFE_LEAST && k < JACKKNIFE_BLOCKS; k++) {
        size_t left_out = m * (k + 1) / JACKKNIFE_BLOCKS - m * k / JACKKNIFE_BLOCKS;
        out[1 + k] = on_line(space->a, m - left_out, (int)k, space->b, n);
    }
}

/* each [count][1 + JACKKNIFE_BLOCKS] */
static int of_directions(const struct features *a, const struct features *b, const double *directions, size_t count,
                         double (*each)[1 + JACKKNIFE_BLOCKS], struct error *err) {
    bool failed = false;
#pragma omp parallel reduction(| : failed)
    {
        struct space space;
        struct error one;
        failed = space_init(&space, a, b, &one) != 0;
#pragma omp critical(mind_failure)
        if (failed) *err = one;
#pragma omp for schedule(dynamic)
        for (size_t first = 0; first < count; first += TOGETHER) {
            size_t many = count - first < TOGETHER ? count - first : TOGETHER;
            if (failed) continue;
            project(a, directions + first * a->dim, many, space.rows, space.mine);
            project(b, directions + first * a->dim, many, space.rows, space.theirs);
            for (size_t d = 0; d < many; d++) of_direction(&space, d, a->count, b->count, each[first + d]);
        }
        space_release(&space);
    }
    return failed ? -1 : 0;
}

int mind_without_blocks(const struct features *a, const struct features *b, double minds[1 + JACKKNIFE_BLOCKS],
                        struct error *err) {
    double *directions = NULL, (*each)[1 + JACKKNIFE_BLOCKS] = NULL;
    size_t count, numbers = a->count >= JACKKNIFE_LEAST ? 1 + JACKKNIFE_BLOCKS : 1;
    if (a->dim != b->dim)
        return error_set(err, CODE_DATA,
                         "mind: cannot compare sets of %zu and %zu features: they come from different feature networks",
                         a->dim, b->dim);
    int rc = make_directions(a->dim, &directions, &count, err);
    if (rc == 0 && !(each = calloc(count, sizeof *each))) rc = error_memory(err);
    if (rc == 0) rc = of_directions(a, b, directions, count, each, err);
    for (size_t i = 0; rc == 0 && i < numbers; i++) {
        double sum = 0;
        for (size_t d = 0; d < count; d++) sum += each[d][i];
        minds[i] = 3 * (double)a->dim * sum / (double)count;
    }
    free(directions);
    free(each);
    return rc;
}
