/* The coordinator's state machine under a small world of ranks that work, fail, fall silent, come back and die: every
 * sequence of events up to a length, and long random ones, without and with units that need others. After each event
 * the rules hold, and from every state the work still comes to its end. */
#include "world.h"

static struct world begin(int ranks, int units) {
    return begin_with(ranks, units, NONE);
}

struct move {
    enum action action;
    int rank;
};

/* False: these moves can't happen one after another. */
static bool play(int ranks, int units, const uint64_t *needs, const struct move *moves, int length) {
    struct world world = begin_with(ranks, units, needs);
    bool possible = true;
    for (int i = 0; i < length && possible; i++) possible = act(&world, moves[i].action, moves[i].rank);
    if (possible) finish(&world);
    dispatch_free(world.dispatch);
    return possible;
}

enum { LONGEST = 9 };

/* Every sequence of up to `longest` moves that begins with these; returns their number. */
static long explore(int ranks, int units, const uint64_t *needs, struct move moves[LONGEST], int length, int longest) {
    long played = 1;
    if (!play(ranks, units, needs, moves, length)) return 0;
    for (int i = 0; i < ACTIONS * ranks && length < longest; i++) {
        moves[length] = (struct move){(enum action)(i % ACTIONS), i / ACTIONS};
        played += explore(ranks, units, needs, moves, length + 1, longest);
    }
    return played;
}

static void test_every_sequence(void **state) {
    (void)state;
    const struct {
        int ranks, units, longest;
        const uint64_t *needs;
    } worlds[] = {{1, 2, LONGEST, NONE}, {2, 1, 7, NONE},        {2, 2, 7, NONE}, {3, 1, 5, NONE},  {3, 2, 5, NONE},
                  {1, 3, LONGEST, LAST}, {1, 3, LONGEST, CHAIN}, {2, 3, 7, LAST}, {2, 3, 7, CHAIN}, {3, 3, 5, LAST}};
    struct move moves[LONGEST];
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++) {
        long played = explore(worlds[i].ranks, worlds[i].units, worlds[i].needs, moves, 0, worlds[i].longest);
        printf("%d ranks, %d units%s, up to %d events: %ld sequences\n", worlds[i].ranks, worlds[i].units,
               worlds[i].needs == NONE ? "" : " that need others", worlds[i].longest, played);
        assert_true(played > 1000);
    }
}

static void test_random_sequences(void **state) {
    (void)state;
    unsigned seed = 5;
    for (int i = 0; i < 20000; i++) {
        const uint64_t *needs = NEEDS[(size_t)rand_r(&seed) % (sizeof NEEDS / sizeof *NEEDS)];
        struct world world = begin_with(1 + rand_r(&seed) % RANKS, 1 + rand_r(&seed) % UNITS, needs);
        for (int k = 0; k < 60; k++) {
            enum action action = (enum action)(rand_r(&seed) % ACTIONS);
            if (action >= SILENCE && rand_r(&seed) % 4) action = FINISH; /* or nobody gets far */
            act(&world, action, rand_r(&seed) % world.ranks);
        }
        finish(&world);
        dispatch_free(world.dispatch);
    }
}

static void test_units_go_out_in_order(void **state) {
    (void)state;
    struct world world = begin(2, 4);
    for (int unit = 0; unit < 4; unit++) {
        act(&world, ASK, unit % 2);
        assert_true(world.has[unit % 2][unit]);
    }
    act(&world, FAIL, 0); /* 0: the next to be given, and not to who failed */
    act(&world, ASK, 0);
    assert_false(world.has[0][0]);
    act(&world, ASK, 1);
    assert_true(world.has[1][0]);
    finish(&world);
    dispatch_free(world.dispatch);
}

static void test_back_with_a_request(void **state) {
    (void)state;
    struct world world = begin(2, 1);
    act(&world, ASK, 0);
    act(&world, ASK, 1); /* nothing is left: it waits */
    pass_time(&world, 1);
    assert_false(dispatch_alive(world.dispatch, 1));
    step(&world, EVENT_ALIVE, 1, 0);
    act(&world, FAIL, 0);
    assert_true(world.has[1][0]);
    finish(&world);
    dispatch_free(world.dispatch);
}

static void test_back_with_a_unit(void **state) {
    (void)state;
    struct world world = begin(2, 1);
    act(&world, ASK, 0);
    for (int i = 0; i < 3; i++) { /* no failure: nobody else took it */
        pass_time(&world, 0);
        step(&world, EVENT_ALIVE, 0, 0);
    }
    act(&world, ASK, 1);
    assert_false(world.has[1][0]);
    assert_int_equal(dispatch_quarantined(world.dispatch, NULL), 0);
    finish(&world);
    dispatch_free(world.dispatch);
}

static void test_late_news_of_a_failure(void **state) {
    (void)state;
    struct world world = begin(2, 1);
    act(&world, ASK, 0);
    pass_time(&world, 0);
    act(&world, ASK, 1);
    assert_true(world.has[1][0]);
    act(&world, FAIL, 0);
    assert_int_equal(dispatch_quarantined(world.dispatch, NULL), 0); /* rank 1 is still at it */
    finish(&world);
    dispatch_free(world.dispatch);
}

static void test_the_silent_get_nothing(void **state) {
    (void)state;
    struct world world = begin(3, 1);
    for (int rank = 0; rank < 3; rank++) act(&world, ASK, rank);
    for (int i = 0; i < 3; i++) { /* more than half a lease without rank 1 */
        world.now += LEASE / 5;
        step(&world, EVENT_TICK, 0, 0);
        step(&world, EVENT_ALIVE, 0, 0);
        step(&world, EVENT_ALIVE, 2, 0);
    }
    assert_true(dispatch_alive(world.dispatch, 1));
    act(&world, FAIL, 0);
    assert_true(world.has[2][0]);
    finish(&world);
    dispatch_free(world.dispatch);
}

static void test_a_coordinator_that_was_away_loses_nobody(void **state) {
    (void)state;
    struct world world = begin(2, 2);
    act(&world, ASK, 1);
    world.now += 100 * LEASE;
    step(&world, EVENT_TICK, 0, 0);
    assert_true(dispatch_alive(world.dispatch, 1));
    world.now += LEASE / 5;
    step(&world, EVENT_TICK, 0, 0);
    assert_true(dispatch_alive(world.dispatch, 1));
    finish(&world);
    assert_int_equal(dispatch_quarantined(world.dispatch, NULL), 0);
    dispatch_free(world.dispatch);
}

/* Units 0 and 1 are needed by 2; 3 is later work. */
static void test_what_is_ready_goes_before_later_work(void **state) {
    (void)state;
    struct world world = begin_with(2, 4, LAST);
    act(&world, ASK, 0);
    act(&world, ASK, 1);
    act(&world, FINISH, 0);
    act(&world, ASK, 0);
    assert_true(world.has[0][3]); /* 1 is not done yet */
    world.has[0][3] = false;      /* handed back, as it were: */
    world.failures[3]++;
    step(&world, EVENT_FAILED, 0, 3);
    act(&world, FINISH, 1);
    act(&world, ASK, 1);
    assert_true(world.has[1][2]);
    finish(&world);
    dispatch_free(world.dispatch);
}

static void test_what_needs_a_quarantined_unit_is_skipped(void **state) {
    (void)state;
    struct world world = begin_with(2, 4, LAST);
    for (int rank = 0; rank < 2; rank++) { /* both fail at unit 0 */
        act(&world, ASK, rank);
        act(&world, FAIL, rank);
    }
    assert_int_equal(dispatch_quarantined(world.dispatch, NULL), 1);
    assert_int_equal(dispatch_skipped(world.dispatch), 1);
    finish(&world);
    assert_int_equal(dispatch_done(world.dispatch), 2);
    dispatch_free(world.dispatch);
}

static void test_quarantined_but_done_after_all(void **state) {
    (void)state;
    struct world world = begin_with(2, 4, LAST);
    act(&world, ASK, 0);
    pass_time(&world, 0); /* unit 0 is with both now, the first of which is lost */
    act(&world, ASK, 1);
    assert_true(world.has[1][0]);
    act(&world, FAIL, 1);
    assert_int_equal(dispatch_skipped(world.dispatch), 1);
    act(&world, FINISH, 0);
    assert_int_equal(dispatch_skipped(world.dispatch), 0);
    finish(&world);
    assert_int_equal(dispatch_done(world.dispatch), 4);
    dispatch_free(world.dispatch);
}

/* Units 0 to 2 are needed by 3; rank 1 is at unit 1 when the group is given up for unit 0, and fails once or finishes.
 */
static void check_given_up(enum action end, uint64_t quarantined, uint64_t skipped, uint64_t done) {
    struct world world = begin_with(2, 4, ALL);
    world.over = true; /* skipped are more than those that need what is quarantined */
    act(&world, ASK, 0);
    act(&world, ASK, 1);
    act(&world, FAIL, 0);
    dispatch_failed_before(world.dispatch, 0, 2);
    dispatch_give_up(world.dispatch, 0);
    assert_int_equal(dispatch_skipped(world.dispatch), 2); /* 2 and 3 */
    assert_false(dispatch_finished(world.dispatch));
    world.failures[0]++;
    act(&world, end, 1);
    assert_int_equal(dispatch_quarantined(world.dispatch, NULL), quarantined);
    assert_int_equal(dispatch_skipped(world.dispatch), skipped);
    assert_int_equal(dispatch_done(world.dispatch), done);
    assert_true(dispatch_finished(world.dispatch));
    act(&world, ASK, 0);
    assert_true(world.stopped[0]);
    dispatch_free(world.dispatch);
}

static void test_what_is_given_up_is_not_tried(void **state) {
    (void)state;
    check_given_up(FAIL, 1, 3, 0);
    check_given_up(FINISH, 1, 2, 1);
}

static void test_nothing_to_do(void **state) {
    (void)state;
    struct world world = begin(2, 0);
    act(&world, ASK, 1);
    assert_true(world.stopped[1]);
    dispatch_free(world.dispatch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sequence),
        cmocka_unit_test(test_random_sequences),
        cmocka_unit_test(test_units_go_out_in_order),
        cmocka_unit_test(test_back_with_a_request),
        cmocka_unit_test(test_back_with_a_unit),
        cmocka_unit_test(test_late_news_of_a_failure),
        cmocka_unit_test(test_the_silent_get_nothing),
        cmocka_unit_test(test_a_coordinator_that_was_away_loses_nobody),
        cmocka_unit_test(test_what_is_ready_goes_before_later_work),
        cmocka_unit_test(test_what_needs_a_quarantined_unit_is_skipped),
        cmocka_unit_test(test_quarantined_but_done_after_all),
        cmocka_unit_test(test_what_is_given_up_is_not_tried),
        cmocka_unit_test(test_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
