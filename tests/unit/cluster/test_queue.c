/* A rank's queue under real threads: each batch once, commits only of whole units, and news of all. */
#include "cluster/queue.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { UNITS = 40, BATCHES = 5, WORKERS = 4 };

/* What the units are told to do, and what was seen of them. */
static struct unit {
    enum code open_code, commit_code, batch_code[BATCHES];
    atomic_int opened, closed, committed, ran[BATCHES];
} units[UNITS];
static enum code start_code;
static atomic_int started, ended, misuse, told, begun; /* begun: batches */
static atomic_bool hold;                               /* batches wait while it is set */

static int answer(enum code code, struct error *err) {
    return code == CODE_OK ? 0 : error_set(err, code, "as the test wants it");
}

static int worker_start(void *context, int worker, struct error *err) {
    (void)context;
    started++;
    return answer(worker == 0 ? start_code : CODE_OK, err);
}

static void worker_end(void *context, int worker) {
    (void)context;
    (void)worker;
    ended++;
}

static int unit_open(void *context, uint64_t unit, const struct tally *needed, uint64_t *batches, struct error *err) {
    (void)context;
    if (needed->values[1] != (double)unit) misuse++;
    units[unit].opened++;
    *batches = BATCHES;
    return answer(units[unit].open_code, err);
}

static int batch(void *context, int worker, uint64_t unit, uint64_t number, struct error *err) {
    (void)context;
    (void)worker;
    begun++;
    while (hold) usleep(100);
    if (units[unit].opened != 1 || units[unit].closed) misuse++;
    units[unit].ran[number]++;
    return answer(units[unit].batch_code[number], err);
}

static int unit_commit(void *context, int worker, uint64_t unit, struct tally *tally, struct error *err) {
    (void)context;
    (void)worker;
    for (int i = 0; i < BATCHES; i++)
        if (units[unit].ran[i] != 1) misuse++;
    units[unit].committed++;
    if (tally->values[1] != 0) misuse++;
    tally->values[0] = 3. * (double)unit;
    return answer(units[unit].commit_code, err);
}

static void unit_close(void *context, uint64_t unit) {
    (void)context;
    units[unit].closed++;
}

static void unit_failed(void *context, uint64_t unit, const struct error *why) {
    (void)context;
    if (!units[unit].closed || why->code != CODE_DATA) misuse++;
    told++;
}

static const struct task task = {.unit_failed = unit_failed,
                                 .worker_start = worker_start,
                                 .worker_end = worker_end,
                                 .unit_open = unit_open,
                                 .batch = batch,
                                 .unit_commit = unit_commit,
                                 .unit_close = unit_close};
static struct queue *queue;
static pthread_t threads[WORKERS];

static void *work(void *worker) {
    queue_work(queue, (int)(intptr_t)worker);
    return NULL;
}

static void begin(void) {
    struct error err;
    assert_int_equal(queue_new(&queue, &task, WORKERS, &err), 0);
    for (intptr_t i = 0; i < WORKERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
}

/* Waits until `count` units are over; their news by unit. */
static void collect(enum news_kind kinds[UNITS], int count) {
    struct news news;
    for (int looks = 0; count > 0; looks++) {
        if (queue_news(queue, &news)) {
            kinds[news.unit] = news.kind;
            if (news.kind == NEWS_DONE) assert_true(news.tally.values[0] == 3. * (double)news.unit);
            count--;
        } else {
            assert_true(looks < 100000); /* 10 s */
            usleep(100);
        }
    }
    assert_false(queue_news(queue, &news));
}

static void join(void) {
    queue_close(queue);
    for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    assert_true(queue_left(queue));
    assert_int_equal(started, WORKERS);
    assert_int_equal(ended, WORKERS);
    for (int i = 0; i < UNITS; i++) assert_int_equal(units[i].opened, units[i].closed);
    assert_int_equal(misuse, 0);
}

static void push(uint64_t unit) {
    struct error err;
    const struct tally needed = {.values = {0, (double)unit}};
    assert_int_equal(queue_push(queue, unit, &needed, &err), 0);
}

static int setup(void **state) {
    (void)state;
    memset(units, 0, sizeof units);
    start_code = CODE_OK;
    started = ended = misuse = told = 0;
    hold = false;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    queue_free(queue);
    return 0;
}

static void test_all_is_done_once(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    struct error failure;
    begin();
    for (uint64_t i = 0; i < UNITS; i++) push(i);
    collect(kinds, UNITS);
    join();
    for (int i = 0; i < UNITS; i++) {
        assert_int_equal(kinds[i], NEWS_DONE);
        assert_int_equal(units[i].committed, 1);
    }
    assert_false(queue_failure(queue, &failure));
    assert_int_equal(failure.code, CODE_OK);
}

static void test_failures_stay_with_their_units(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    struct error failure;
    units[3].open_code = CODE_DATA;
    units[5].batch_code[2] = CODE_DATA;
    units[7].commit_code = CODE_DATA;
    begin();
    for (uint64_t i = 0; i < UNITS; i++) push(i);
    collect(kinds, UNITS);
    assert_false(queue_failure(queue, &failure));
    assert_int_equal(failure.code, CODE_DATA);
    join();
    for (int i = 0; i < UNITS; i++) {
        bool fails = i == 3 || i == 5 || i == 7;
        assert_int_equal(kinds[i], fails ? NEWS_FAILED : NEWS_DONE);
        assert_int_equal(units[i].committed, i != 3 && i != 5);
    }
    assert_int_equal(told, 3);
}

static void test_interrupted_is_not_failed(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    struct error failure;
    units[0].batch_code[0] = CODE_AGAIN;
    begin();
    push(0);
    collect(kinds, 1);
    assert_int_equal(kinds[0], NEWS_DROPPED);
    assert_false(queue_failure(queue, &failure));
    assert_int_equal(failure.code, CODE_OK);
    join();
    assert_int_equal(units[0].committed, 0);
}

static void test_a_full_disk_breaks_the_queue(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    struct error failure;
    units[0].commit_code = CODE_IO;
    begin();
    push(0);
    collect(kinds, 1);
    assert_int_equal(kinds[0], NEWS_DROPPED);
    assert_true(queue_failure(queue, &failure));
    assert_int_equal(failure.code, CODE_IO);
    join();
    assert_int_equal(told, 0); /* not the unit's fault */
}

static void test_a_disk_that_cannot_be_read_breaks_the_queue(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    struct error failure;
    units[0].open_code = CODE_IO;
    begin();
    push(0);
    collect(kinds, 1);
    assert_int_equal(kinds[0], NEWS_DROPPED);
    assert_true(queue_failure(queue, &failure));
    join();
}

static void test_a_worker_that_does_not_start_breaks_the_queue(void **state) {
    (void)state;
    struct error failure;
    start_code = CODE_DATA;
    begin();
    while (!queue_failure(queue, &failure)) usleep(100);
    assert_int_equal(failure.code, CODE_DATA);
    join();
}

static void test_close_drops_what_is_unfinished(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    hold = true;
    begun = 0;
    begin();
    push(0); /* BATCHES > WORKERS: its last batch waits for a worker */
    push(1);
    while (begun == 0) usleep(100);
    queue_close(queue);
    assert_false(queue_wants_more(queue));
    hold = false;
    join();
    collect(kinds, 2);
    assert_int_equal(kinds[0], NEWS_DROPPED);
    assert_int_equal(kinds[1], NEWS_DROPPED);
    assert_int_equal(units[0].committed + units[1].committed, 0);
}

static void test_a_unit_that_is_there_is_not_begun_again(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    hold = true;
    begin();
    push(0);
    push(0);
    hold = false;
    collect(kinds, 1);
    join();
    assert_int_equal(units[0].opened, 1);
}

static void test_wants_more_before_it_runs_dry(void **state) {
    (void)state;
    enum news_kind kinds[UNITS];
    begin();
    assert_true(queue_wants_more(queue));
    hold = true;
    push(0);
    push(1);
    assert_false(queue_wants_more(queue)); /* 6 of 10 batches wait, or are not known yet */
    hold = false;
    collect(kinds, 2);
    assert_true(queue_wants_more(queue));
    join();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_all_is_done_once),
        TEST(test_failures_stay_with_their_units),
        TEST(test_interrupted_is_not_failed),
        TEST(test_a_full_disk_breaks_the_queue),
        TEST(test_a_disk_that_cannot_be_read_breaks_the_queue),
        TEST(test_a_worker_that_does_not_start_breaks_the_queue),
        TEST(test_close_drops_what_is_unfinished),
        TEST(test_a_unit_that_is_there_is_not_begun_again),
        TEST(test_wants_more_before_it_runs_dry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
