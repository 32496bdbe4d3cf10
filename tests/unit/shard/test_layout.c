/* The arithmetic of batches and shards. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "shard/layout.h"

#include <stdio.h>
#include <string.h>

static const size_t MIB = (size_t)1 << 20;

static void default_shards(void **state) {
    (void)state;
    const struct {
        uint64_t batch;
        size_t sample_bytes;
        uint64_t rows;
    } cases[] = {
        {1, 64, 256},        {64, 64, 256},    {100, 64, 200},     {256, 64, 256},
        {257, 64, 257},      {64, MIB, 256},   {64, 2 * MIB, 128}, {64, MIB + 1, 192},
        {64, 256 * MIB, 64}, {1000, 64, 1000}, {1, 256 * MIB, 1},  {1, 300 * MIB, 1}, /* a batch is never split */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct layout layout;
        struct error err;
        assert_int_equal(layout_init(&layout, 50000, cases[i].batch, 0, cases[i].sample_bytes, &err), 0);
        assert_int_equal(layout.shard_rows, cases[i].rows);
    }
    struct layout layout;
    struct error err;
    assert_int_equal(layout_init(&layout, 50000, 64, 0, 3072, &err), 0);
    assert_int_equal(layout_shards(&layout), 196); /* 50k samples: some two hundred files */
}

/* Every position of the seed list is in exactly one batch of one shard, in order. */
static void batches_tile_the_seeds(void **state) {
    (void)state;
    for (uint64_t samples = 1; samples <= 40; samples++)
        for (uint64_t batch = 1; batch <= 9; batch++)
            for (uint64_t rows = batch; rows <= 45; rows += batch) {
                struct layout layout;
                struct error err;
                uint64_t position = 0;
                assert_int_equal(layout_init(&layout, samples, batch, rows, 1, &err), 0);
                for (uint64_t i = 0; i < layout_shards(&layout); i++) {
                    shard_id shard = {i};
                    assert_int_equal(layout_first(&layout, shard), position);
                    for (uint64_t b = 0; b < layout_batches(&layout, shard); b++) {
                        uint64_t count = layout_batch_rows(&layout, shard, b);
                        assert_int_equal(layout_first(&layout, shard) + layout_batch_first(&layout, b), position);
                        assert_int_equal(position % batch, 0);
                        assert_true(count >= 1 && count <= batch);
                        position += count;
                    }
                    assert_int_equal(layout_first(&layout, shard) + layout_rows(&layout, shard), position);
                }
                assert_int_equal(position, samples);
            }
}

static void mistakes_are_named(void **state) {
    (void)state;
    const struct {
        uint64_t samples, batch, rows;
        size_t sample_bytes;
        const char *message;
    } cases[] = {
        {0, 8, 8, 1, "seeds: expected at least one"},
        {10, 0, 8, 1, "batch: expected 1 to"},
        {10, UINT64_MAX, 0, 1, "batch: expected 1 to"},
        {10, 8, 20, 1, "whole batches of 8, found 20: say 16 or 24"},
        {10, 8, 5, 1, "whole batches of 8, found 5: say 8 or 16"},
        {10, 8, UINT64_MAX, 1, "output.samples_per_shard: expected 1 to"},
        {UINT64_MAX, (uint64_t)1 << 40, 0, (size_t)1 << 30, "fit memory"},
        {UINT64_MAX, 1, (uint64_t)1 << 53, (size_t)1 << 20, "fit memory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct layout layout;
        struct error err;
        assert_int_equal(layout_init(&layout, cases[i].samples, cases[i].batch, cases[i].rows, cases[i].sample_bytes,
                                     &err),
                         -1);
        assert_int_equal(err.code, CODE_DATA);
        if (!strstr(err.message, cases[i].message)) fail_msg("expected \"%s\" in: %s", cases[i].message, err.message);
    }
}

static void huge_sizes_do_not_wrap(void **state) {
    (void)state;
    struct layout layout;
    struct error err;
    uint64_t half = (uint64_t)1 << 52; /* samples = 2^64 - 1 = 4095 shards of 2^52 and a last one with one row less */
    assert_int_equal(layout_init(&layout, UINT64_MAX, half / 2, half, 1, &err), 0);
    assert_int_equal(layout_shards(&layout), 4096);
    shard_id last = {4095};
    assert_true(layout_first(&layout, last) == UINT64_MAX - half + 1);
    assert_true(layout_rows(&layout, last) == half - 1);
    assert_int_equal(layout_batches(&layout, last), 2);
    assert_true(layout_batch_rows(&layout, last, 1) == half / 2 - 1);
    assert_int_equal(layout_init(&layout, 5, half, half, SIZE_MAX / 64, &err), 0); /* only 5 rows will ever exist */
    assert_int_equal(layout_rows(&layout, (shard_id){0}), 5);
}

/* Against handing out the batches one by one to whoever has done least. */
static void idle_share(void **state) {
    (void)state;
    for (uint64_t batches = 1; batches <= 30; batches++)
        for (uint64_t workers = 1; workers <= 12; workers++) {
            int done[12] = {0}, most = 0;
            for (uint64_t b = 0; b < batches; b++) {
                int least = 0;
                for (int w = 1; w < (int)workers; w++)
                    if (done[w] < done[least]) least = w;
                if (++done[least] > most) most = done[least];
            }
            struct layout layout;
            struct error err;
            assert_int_equal(layout_init(&layout, 3 * batches - 1, 3, 6, 1, &err), 0);
            double used = (double)batches / ((double)workers * most);
            assert_true(layout_idle(&layout, workers) >= 1 - used - 1e-15);
            assert_true(layout_idle(&layout, workers) <= 1 - used + 1e-15);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_shards),     cmocka_unit_test(batches_tile_the_seeds),
        cmocka_unit_test(mistakes_are_named), cmocka_unit_test(huge_sizes_do_not_wrap),
        cmocka_unit_test(idle_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
