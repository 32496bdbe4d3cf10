/* Networks that are no functions of their rows, each of which must be refused whatever the batch. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sample/noise.h"
#include "sample/proof.h"

#include <string.h>

enum { SIZE = 4, MOST = 64 }; /* numbers a row, rows */

struct network { /* proof.context */
    const char *kind;
    size_t batch, calls;
    double size; /* of what is wrong */
};

static double random_of(uint64_t seed) {
    double value;
    noise_normals(seed, NOISE_STREAM_INITIAL, 1, &value);
    return value;
}

static bool is(const struct network *network, const char *kind) {
    return strcmp(network->kind, kind) == 0;
}

/* What is wrong with row `row`. */
static double fault(const struct network *network, size_t time, size_t row, const double *x) {
    double mean = 0;
    for (size_t i = 0; i < network->batch; i++) mean += x[i] / (double)network->batch;
    size_t half = (row + network->batch / 2) % network->batch;
    if (is(network, "random")) return random_of(1000 + network->calls * MOST + row);
    if (is(network, "random in row 0")) return row == 0 ? random_of(1000 + network->calls) : 0;
    if (is(network, "random in the last row")) return row == network->batch - 1 ? random_of(1000 + network->calls) : 0;
    if (is(network, "random in the middle")) return time == 0 ? random_of(1000 + network->calls * MOST + row) : 0;
    if (is(network, "random, seeded in each call")) return random_of(1000 + row);
    if (is(network, "counts its calls")) return (double)network->calls;
    if (is(network, "row 0 sees row 1")) return row == 0 ? x[1 % network->batch] : 0;
    if (is(network, "rows see their neighbours")) return row % 2 == 0 ? x[(row + 1) % network->batch] : x[row - 1];
    if (is(network, "rows see the other half")) return x[half];
    if (is(network, "mean")) return mean;
    if (is(network, "mean in the middle")) return time == 0 ? mean : 0;
    if (is(network, "mean at the first time")) return time == 1 ? mean : 0;
    if (is(network, "place")) return (double)row;
    return 0;
}

static int call(void *context, size_t time, const uint64_t *seeds, float *out, struct error *err) {
    struct network *network = context;
    double x[MOST];
    (void)err;
    network->calls++;
    for (size_t row = 0; row < network->batch; row++) x[row] = random_of(seeds[row]);
    for (size_t row = 0; row < network->batch; row++)
        for (size_t i = 0; i < SIZE; i++)
            out[row * SIZE + i] = (float)(0.5 * x[row] + (double)i + network->size * fault(network, time, row, x));
    return 0;
}

static int prove(struct network *network, bool mixes, double *difference, struct error *err) {
    const struct proof proof = {.name = "the network",
                                .batch = network->batch,
                                .outputs = SIZE,
                                .times = 3,
                                .mixes = mixes,
                                .allow = "",
                                .call = call,
                                .context = network};
    return proof_rows(&proof, difference, err);
}

static const struct {
    const char *kind;
    bool random;     /* else it depends on the batch */
    size_t smallest; /* batch in which it is no function of the row */
} bad[] = {
    {"random", true, 1},
    {"random in row 0", true, 1},
    {"random in the last row", true, 1},
    {"random in the middle", true, 1},
    {"random, seeded in each call", false, 2},
    {"counts its calls", true, 1},
    {"row 0 sees row 1", false, 2},
    {"rows see their neighbours", false, 2},
    {"rows see the other half", false, 2},
    {"mean", false, 2},
    {"mean in the middle", false, 2},
    {"mean at the first time", false, 2},
    {"place", false, 2},
};
enum { BAD = sizeof bad / sizeof *bad };
static const size_t batches[] = {1, 2, 3, 4, 5, 8, 13, 64};
enum { BATCHES = sizeof batches / sizeof *batches };

static void bad_networks_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < BAD * BATCHES; i++) {
        struct network network = {.kind = bad[i / BATCHES].kind, .batch = batches[i % BATCHES], .size = 0.05};
        struct error err = {0};
        double difference;
        if (network.batch < bad[i / BATCHES].smallest) continue;
        int rc = prove(&network, false, &difference, &err);
        const char *word = bad[i / BATCHES].random ? "same input again" : "other samples of the batch";
        if (rc != -1 || err.code != CODE_DATA || !strstr(err.message, word))
            fail_msg("%s, batch %zu: rc %d, \"%s\"", network.kind, network.batch, rc, rc ? err.message : "");
    }
}

static void good_networks_take_five_calls(void **state) {
    (void)state;
    for (size_t i = 0; i < BATCHES; i++) {
        struct network network = {.kind = "good", .batch = batches[i]};
        struct error err;
        double difference = 1;
        assert_int_equal(prove(&network, false, &difference, &err), 0);
        assert_int_equal(network.calls, 5);
        assert_true(difference == 0);
    }
}

static void small_differences_are_told(void **state) {
    (void)state;
    struct network network = {.kind = "place", .batch = 8, .size = 2e-6};
    struct error err;
    double difference;
    assert_int_equal(prove(&network, false, &difference, &err), 0);
    assert_true(difference > 1e-7 && difference < 1e-5);
    assert_int_equal(network.calls, 7); /* one more at each of two times: the same again? */
}

static void networks_that_mix_may_not_be_random(void **state) {
    (void)state;
    for (size_t i = 0; i < BAD * BATCHES; i++) {
        struct network network = {.kind = bad[i / BATCHES].kind, .batch = batches[i % BATCHES], .size = 1e-4};
        struct error err = {0};
        double difference;
        int rc = prove(&network, true, &difference, &err);
        if (rc != (bad[i / BATCHES].random ? -1 : 0) || (rc && !strstr(err.message, "same input again")))
            fail_msg("%s, batch %zu: rc %d, \"%s\"", network.kind, network.batch, rc, rc ? err.message : "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_networks_are_refused),
        cmocka_unit_test(good_networks_take_five_calls),
        cmocka_unit_test(small_differences_are_told),
        cmocka_unit_test(networks_that_mix_may_not_be_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
