/* How a run ends: the coordinator says END when every rank has left or is lost, and how many are lost decides whether
 * the ranks may meet in MPI again. Under a clock of our own, with a comm that keeps the last END. */
#include "cluster/coordinator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { RANKS = 3, NOT_YET = -1 };
static const double LEASE = 10, STEP = 0.5; /* s */

struct comm {
    int lost[RANKS];
}; /* END's, as each rank got it */

int comm_size(const struct comm *comm) {
    (void)comm;
    return RANKS;
}

int comm_send(struct comm *comm, int rank, const void *bytes, size_t size, struct error *err) {
    const struct message *message = bytes;
    (void)err;
    assert_int_equal(size, sizeof *message);
    if (message->kind == MESSAGE_END) comm->lost[rank] = message->lost;
    return 0;
}

struct world {
    struct comm comm;
    struct coordinator *coordinator;
    double now;
};

static void say(struct world *world, int rank, enum message_kind kind, enum code code) {
    coordinator_hear(world->coordinator, rank, &(struct message){.kind = (int32_t)kind, .code = (int32_t)code},
                     world->now);
}

/* Time passes; of the ranks those in `alive` (bits) say so. Returns END's lost, the same to all. */
static int pass(struct world *world, double seconds, unsigned alive) {
    for (double until = world->now + seconds; world->now < until; world->now += STEP) {
        for (int rank = 0; rank < RANKS; rank++)
            if (alive >> rank & 1) say(world, rank, MESSAGE_ALIVE, CODE_OK);
        coordinator_turn(world->coordinator, world->now);
    }
    for (int rank = 1; rank < RANKS; rank++) assert_int_equal(world->comm.lost[rank], world->comm.lost[0]);
    return world->comm.lost[0];
}

/* One unit to do, and rank 0 has asked for a stop. */
static int set_up(void **state) {
    static const struct task task;
    static struct world world;
    struct error err;
    world = (struct world){.comm.lost = {NOT_YET, NOT_YET, NOT_YET}, .now = 1};
    if (coordinator_new(&world.coordinator, &world.comm, 1, 1, NULL, &task, LEASE, &err) != 0) return -1;
    pass(&world, 1, 7);
    say(&world, 0, MESSAGE_HALT, CODE_AGAIN);
    *state = &world;
    return 0;
}

static int tear_down(void **state) {
    coordinator_free(((struct world *)*state)->coordinator);
    return 0;
}

static void test_all_leave(void **state) {
    for (int rank = 0; rank < RANKS; rank++) {
        assert_int_equal(pass(*state, 2 * LEASE, 7), NOT_YET);
        say(*state, rank, MESSAGE_LEFT, CODE_OK);
    }
    assert_int_equal(pass(*state, STEP, 7), 0);
}

static void test_one_dies_before_it_has_left(void **state) {
    say(*state, 0, MESSAGE_LEFT, CODE_OK);
    say(*state, 1, MESSAGE_LEFT, CODE_OK);
    assert_int_equal(pass(*state, message_patience(LEASE, CODE_AGAIN) / 2, 3), NOT_YET);
    assert_int_equal(pass(*state, LEASE, 3), 1);
}

static void test_one_dies_after_it_has_left(void **state) {
    say(*state, 0, MESSAGE_LEFT, CODE_OK);
    say(*state, 2, MESSAGE_LEFT, CODE_OK);
    assert_int_equal(pass(*state, LEASE, 3), NOT_YET); /* rank 1 is at a long op */
    say(*state, 1, MESSAGE_LEFT, CODE_OK);
    assert_int_equal(pass(*state, STEP, 3), 1);
}

static void gives_up(void **state, bool had_left) {
    say(*state, 0, MESSAGE_LEFT, CODE_OK);
    say(*state, 1, MESSAGE_LEFT, CODE_OK);
    if (had_left) say(*state, 2, MESSAGE_LEFT, CODE_OK);
    say(*state, 2, MESSAGE_GONE, CODE_OK);
    assert_int_equal(pass(*state, message_patience(LEASE, CODE_AGAIN) / 2, 3), NOT_YET);
    assert_int_equal(pass(*state, LEASE, 3), 1);
}

static void test_one_gives_the_coordinator_up(void **state) {
    gives_up(state, false);
}

static void test_one_gives_the_coordinator_up_after_it_has_left(void **state) {
    gives_up(state, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_dies_before_it_has_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_dies_after_it_has_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_gives_the_coordinator_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_gives_the_coordinator_up_after_it_has_left, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
