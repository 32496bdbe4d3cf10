/* The limit that generate is measured against: nothing but model calls through the same shim.
 *   bare_calls MODEL.pt C H W CLASSES BATCH CALLS WORKERS  ->  seconds, in steady state after warm-up */
#include "base/clock.h"
#include "job/card.h"
#include "job/model_file.h"
#include "sample/model.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    char error[SHIM_ERROR] = "", sha256[SHA256_HEX];
    struct error err = {.code = CODE_OK};
    struct shim_model *model;
    if (argc != 9) return 64;
    struct shim_shape shape = {
        .channels = atoi(argv[2]), .height = atoi(argv[3]), .width = atoi(argv[4]), .batch = atoi(argv[6])};
    int classes = atoi(argv[5]), calls = atoi(argv[7]), workers = atoi(argv[8]), failed = 0;
    size_t values = (size_t)shape.batch * (size_t)(shape.channels * shape.height * shape.width);
    struct card card;
    if (shim_start(0, error) != 0 || card_read(&card, argv[1], &err) != 0 ||
        model_file_digest(argv[1], sha256, &err) != 0 ||
        model_load(&model, "model", argv[1], sha256, SHIM_CPU, &err) != 0) {
        fprintf(stderr, "bare_calls: %s\n", err.code ? err.message : error);
        return 65;
    }
    double start = 0;
#pragma omp parallel num_threads(workers) reduction(| : failed)
    {
        char mine[SHIM_ERROR];
        float *x = calloc(values, sizeof *x), *out = calloc(values, sizeof *out);
        int64_t *labels = calloc((size_t)shape.batch, sizeof *labels);
        struct shim_condition condition = {
            .time = 0.5, .integer_time = card_takes_steps(&card), .labels = classes ? labels : NULL};
        failed = !x || !out || !labels || shim_thread_start(SHIM_CPU, mine) != 0;
        for (size_t i = 0; !failed && i < values; i++) x[i] = (float)(i % 17) / 8 - 1;
        for (int i = 0; !failed && i < 3; i++)
            failed = shim_model_run(model, x, shape, &condition, out, NULL, mine) != 0;
#pragma omp barrier
#pragma omp single
        start = clock_seconds();
#pragma omp for schedule(dynamic)
        for (int i = 0; i < calls; i++)
            if (!failed) failed = shim_model_run(model, x, shape, &condition, out, NULL, mine) != 0;
        free(labels);
        free(out);
        free(x);
    }
    printf("%.6f\n", clock_seconds() - start);
    shim_model_free(model);
    card_release(&card);
    return failed ? 70 : 0;
}
