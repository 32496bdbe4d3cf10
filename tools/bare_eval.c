/* What the metrics cost on one core, as JSON:
 *   bare_eval SAMPLES.npy REFERENCE.npz
 * distance: of the samples' statistics to the prepared reference; jackknife: the standard error, the time of the
 * moments left out; moments: of 50,000 x 2048 features; syrk: BLAS's own time for their scatter. Seconds.
 *   bare_eval A.npy B.npy cmmd
 * cmmd: of the two sets of as many features, blocks included; gemm: BLAS's own time for as many products of blocks of
 * 256 rows, those of a set with itself once a pair; megabytes: the most memory that the process held. Seconds of the
 * core. */
#include "base/clock.h"
#include "eval/frechet.h"
#include "eval/precision.h"
#include "metric/mmd.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { COUNT = 50000, DIM = 2048, PIECE = 2000 };

static double time_moments(const float *rows, double *syrk) {
    struct moments moments;
    struct error err;
    double start = clock_seconds(), *wide = malloc((size_t)PIECE * DIM * sizeof *wide);
    if (!wide || moments_init(&moments, DIM, &err) != 0) exit(70);
    for (int i = 0; i < COUNT; i += PIECE)
        if (moments_add(&moments, rows, PIECE, &err) != 0) exit(70);
    double taken = clock_seconds() - start;
    for (size_t i = 0; i < (size_t)PIECE * DIM; i++) wide[i] = rows[i];
    start = clock_seconds();
    for (int i = 0; i < COUNT; i += PIECE)
        cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, DIM, PIECE, 1.0, wide, DIM, 1.0, moments.scatter, DIM);
    *syrk = clock_seconds() - start;
    moments_release(&moments);
    free(wide);
    return taken;
}

static double core_seconds(void) {
    return (double)clock() / CLOCKS_PER_SEC;
}

static int time_cmmd(const char *const paths[2]) {
    struct features sets[2];
    struct features_origin origin;
    struct error err;
    double values[1 + JACKKNIFE_BLOCKS];
    struct rusage usage;
    for (int i = 0; i < 2; i++)
        if (features_read(&sets[i], &origin, paths[i], &err) != 0)
            return fprintf(stderr, "bare_eval: %s\n", err.message), 65;
    size_t count = sets[0].count, dim = sets[0].dim, side = 256, blocks = count / side;
    double start = core_seconds();
    if (cmmd_without_blocks(&sets[0], &sets[1], values, &err) != 0) return 70;
    double taken = core_seconds() - start;
    getrusage(RUSAGE_SELF, &usage);
    double *a = malloc(2 * side * dim * sizeof *a), *product = malloc(side * side * sizeof *product);
    if (!a || !product) return 70;
    for (size_t i = 0; i < 2 * side * dim; i++) a[i] = sets[0].rows[i];
    start = core_seconds();
    for (size_t pair = 0; pair < blocks * blocks / 16; pair++)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)side, (int)side, (int)dim, 1.0, a, (int)dim,
                    a + side * dim, (int)dim, 0.0, product, (int)side);
    double each = (core_seconds() - start) / (double)(blocks * blocks / 16), wide = (double)count / (double)side;
    double gemm = 2 * wide * wide * each; /* A and B, and half of A and A, of B and B */
    printf("{\"count\": %zu, \"cmmd\": %.6f, \"gemm\": %.6f, \"megabytes\": %.0f}\n", count, taken, gemm,
           (double)usage.ru_maxrss / 1024);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[3], "cmmd") == 0) return time_cmmd((const char *const[]){argv[1], argv[2]});
    struct features features;
    struct features_origin origin;
    struct moments moments;
    struct statistics samples, reference;
    struct frechet prepared;
    struct error err;
    double fids[1 + JACKKNIFE_BLOCKS], syrk;
    if (argc != 3) return 64;
    if (features_read(&features, &origin, argv[1], &err) != 0 || statistics_read(&reference, argv[2], "", &err) != 0 ||
        features_moments(&features, 0, features.count, &moments, &err) != 0 ||
        statistics_from_moments(&samples, &moments, &err) != 0 || frechet_prepare(&prepared, &reference, &err) != 0 ||
        features.dim != DIM || features.count < PIECE) {
        fprintf(stderr, "bare_eval: %s\n", err.message);
        return 65;
    }
    double start = clock_seconds(), distance, once;
    if (frechet_distance_to(&prepared, &samples, &distance, &err) != 0) return 70;
    double taken = clock_seconds() - start;
    start = clock_seconds();
    moments_release(&moments);
    if (features_moments(&features, 0, features.count, &moments, &err) != 0) return 70;
    once = clock_seconds() - start;
    start = clock_seconds();
    if (fid_without_blocks(&features, &prepared, fids, &err) != 0) return 70;
    double jackknife = clock_seconds() - start - 2 * once; /* of the whole, and of each block */
    double all = time_moments(features.rows, &syrk);
    printf("{\"fid\": %.17g, \"distance\": %.6f, \"jackknife\": %.6f, \"moments\": %.6f, \"syrk\": %.6f}\n", distance,
           taken, jackknife, all, syrk);
    return 0;
}
